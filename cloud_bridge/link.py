"""The way from a device to a bridge elsewhere: requests signed with the device's key, and what refusals mean here."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from cloud_bridge.device_key import DeviceKey
from cloud_bridge.protocol.problem_json import problem_from_json
from cloud_bridge.protocol.problems import Conflict, InvalidRequest, Problem, Unavailable
from cloud_bridge.protocol.residency import RESIDENCY
from cloud_bridge.protocol.signatures import HttpRequest, sign_request

_MAX_ERROR_BYTES = 64 * 1024


class BridgeLink:
    """To the bridge at `url`, which knows this device by `key`. The HTTP client is the caller's to close.

    `now`: Unix time in seconds; `nonce`: new at each call. Raises InvalidRequest where `url` is none.
    """

    def __init__(
        self,
        url: str,
        key: DeviceKey,
        http: httpx.AsyncClient,
        *,
        now: Callable[[], float] = time.time,
        nonce: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self.base = _checked(url)
        self._key = key
        self._http = http
        self._now = now
        self._nonce = nonce

    def signed(self, url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Request:
        """A POST of `body`, good for once and for a few minutes."""
        unsigned = HttpRequest("POST", url, tuple(headers.items()), body)
        signature = sign_request(
            unsigned, key_id=self._key.public_id, sign=self._key.sign, created=int(self._now()), nonce=self._nonce()
        )
        return self._http.build_request("POST", url, content=body, headers={**headers, **signature})

    async def refusal(self, response: httpx.Response) -> Problem:
        """The problem that the bridge tells of, or one for an answer that is no bridge's. Reads the response."""
        try:
            document = json.loads(await read_limited(response, _MAX_ERROR_BYTES))
            problem = told(document["error"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return _no_bridge(response.status_code)
        if problem.code == "signature_expired":
            ahead_s = self.ahead_of(response)
            problem.hint = problem.hint if ahead_s is None else set_clock(ahead_s)
        return problem

    def ahead_of(self, response: httpx.Response) -> float | None:
        """By how many seconds this device's clock is ahead of the bridge's; None where the bridge does not tell."""
        try:
            return self._now() - parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return None


async def read_limited(response: httpx.Response, max_bytes: int) -> bytes:
    """The body of a streamed response. Raises ValueError where it is larger."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise ValueError("too large")
    return bytes(body)


def told(document: dict[str, Any]) -> Problem:
    """What the bridge tells of, as it is for this device: but for a request that can never work, it may work later.

    A key that the bridge does not know is no wrong key of a client here, and a job must not be lost over it.
    """
    problem = problem_from_json(document)
    if isinstance(problem, InvalidRequest | Conflict | Unavailable) or problem.code == RESIDENCY:
        return problem
    if problem.code.startswith("sync_"):
        return problem  # between devices and groups: a person reads it as it is
    return Unavailable(problem.message, code=problem.code, hint=problem.hint)


def set_clock(ahead_s: float) -> str:
    """What to do about a clock that is ahead of the bridge's, or behind."""
    side = "ahead of" if ahead_s > 0 else "behind"
    return f"Set this device's clock: it is {abs(round(ahead_s))} s {side} the bridge's."


def unreachable(error: httpx.HTTPError) -> Unavailable:
    """The network's failure, as a person is told of it."""
    what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "could not be reached"
    return Unavailable(
        f"The bridge {what}.", code="cloud_unreachable", hint="Check the network, and url in [bridge] of config.toml."
    )


def unreadable() -> Unavailable:
    """An answer that is no answer of a bridge that this version knows."""
    return Unavailable(
        "The bridge's answer could not be read.", code="bridge_malformed", hint="Upgrade the older of the two."
    )


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if not usable:
        raise InvalidRequest(
            "The bridge's url must begin with https:// or http://.",
            code="bad_config",
            hint="Mend url in the [bridge] section of config.toml.",
            param="bridge.url",
        )
    return url.rstrip("/")


def _no_bridge(status: int) -> Unavailable:
    return Unavailable(
        f"What answers at the bridge's address is no bridge ({status}).",
        code="cloud_unreachable",
        hint="Check url in [bridge] of config.toml, and proxies on the way.",
    )
