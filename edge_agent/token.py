"""The secret that local clients send: one line in `$EDGE_AGENT_HOME/token`, readable by its owner only."""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cloud_bridge.protocol.problems import Broken, NotAuthenticated


@dataclass(frozen=True, slots=True)
class Token:
    """The token's file. It is read anew at each check, so that a rotation takes effect at once."""

    path: Path

    @classmethod
    def ensure(cls, home: Path) -> Token:
        """The home's token, made now where there is none."""
        token = cls(home / "token")
        return token if token.value() else cls.rotate(home)

    def value(self) -> str:
        """The secret, or "" where there is none."""
        try:
            return self.path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise Broken(
                f"{self.path} is damaged.", code="token_damaged", hint="Make a new one: edge-agent token rotate"
            ) from error

    @classmethod
    def rotate(cls, home: Path) -> Token:
        """Replace the token; the old one stops working at once."""
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = home / "token"
        value = f"edge-{secrets.token_urlsafe(32)}"
        draft = path.with_name(f".token-{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(value + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        return cls(path)

    def check(self, authorization: str | None, api_key: str | None = None) -> None:
        """Raise NotAuthenticated unless `Authorization: Bearer` or `x-api-key` carries the token."""
        scheme, _, bearer = (authorization or "").partition(" ")
        offered = bearer.strip() if scheme.lower() == "bearer" else (api_key or "")
        value = self.value()
        if not value or not hmac.compare_digest(offered.encode(), value.encode()):
            raise NotAuthenticated(
                "The key is missing." if not offered else "The key is wrong.",
                code="invalid_api_key",
                hint=f"Send 'Authorization: Bearer <token>'; the token is in {self.path} (edge-agent token show).",
            )
