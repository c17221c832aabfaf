"""One `[[bridge.providers]]` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from cloud_bridge.protocol.problems import InvalidRequest

Kind = Literal["openai", "anthropic"]


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """A provider, as written. `api_key_env` names the variable that holds the key; "" for a server that wants none.

    Prices are US dollars for a million tokens. Raises InvalidRequest code "bad_config".
    """

    name: str
    kind: Kind
    base_url: str
    api_key_env: str
    model: str
    region: str = ""
    usd_per_mtok_in: float = 0.0
    usd_per_mtok_out: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise self._wrong("kind", f"must be one of {', '.join(get_args(Kind))}")
        for key in ("name", "model"):
            if not getattr(self, key).strip():
                raise self._wrong(key, "must not be empty")
        try:
            url = urlsplit(self.base_url)
            usable = url.scheme in {"http", "https"} and url.hostname and url.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise self._wrong("base_url", "must be a URL that begins with https:// or http://")
        if url.username is not None or url.fragment:
            # A password in the URL would be shown wherever the URL is.
            raise self._wrong("base_url", "must hold neither a user nor a fragment; name the key in api_key_env")

    def _wrong(self, key: str, what: str) -> InvalidRequest:
        return InvalidRequest(
            f"Provider {self.name!r}: {key} {what}.",
            code="bad_config",
            hint="Mend [[bridge.providers]] on a device, [[providers]] at a bridge, in config.toml.",
            param=key,
        )
