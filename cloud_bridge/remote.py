"""A `cloud-bridge serve` elsewhere, as the device speaks to it: signed, and told back as the same events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from cloud_bridge.device_key import DeviceKey
from cloud_bridge.protocol.envelope import Departure, Escalation, encode_escalation, event_from_json
from cloud_bridge.protocol.events import Event, Finish
from cloud_bridge.protocol.problem_json import problem_from_json
from cloud_bridge.protocol.problems import Conflict, InvalidRequest, Problem, Unavailable
from cloud_bridge.protocol.residency import RESIDENCY, Residency
from cloud_bridge.protocol.signatures import MAX_AGE_S, HttpRequest, sign_request
from cloud_bridge.protocol.sse import SseDecoder
from cloud_bridge.protocol.trace import parse_traceparent
from cloud_bridge.providers.provider import OnDeparture
from cloud_bridge.reachability import Reachability

PROVIDER = "cloud-bridge"
_PATH = "/bridge/v1/escalations"
_PROBE_TIMEOUT_S = 3.0
_MAX_ERROR_BYTES = 64 * 1024


class RemoteBridge:
    """A bridge at `url`, which knows this device by `key`. The HTTP client is the caller's to close.

    `now`: Unix time in seconds; `clock`: monotonic seconds; `nonce`: new at each call.
    """

    configured = True

    def __init__(
        self,
        url: str,
        key: DeviceKey,
        http: httpx.AsyncClient,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        nonce: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self._base = _checked(url)
        self._url = self._base + _PATH
        self._key = key
        self._http = http
        self._now = now
        self._nonce = nonce
        self._ahead_s = 0.0
        self._reachability = Reachability(self._probe, clock=clock)

    def preview(self, escalation: Escalation) -> Departure:
        """The envelope's bytes, to the bridge. A client may choose its session's id, so that stays here."""
        return Departure(PROVIDER, self._url, encode_escalation(replace(escalation, session_id="")))

    async def escalate(self, escalation: Escalation, on_departure: OnDeparture | None = None) -> AsyncGenerator[Event]:
        """As `BridgeClient.escalate`. Where the iterator is closed early, the answer waits at the bridge.

        Raises Unavailable code "clock_wrong", and sends nothing, where the bridge would refuse the signature's date.
        """
        if abs(self._ahead_s) > MAX_AGE_S:
            raise Unavailable(
                "This device's clock differs too much from the bridge's.",
                code="clock_wrong",
                hint=f"Nothing was sent. {_set_clock(self._ahead_s)}",
            )
        departure = self.preview(escalation)
        request = self._signed(departure, escalation)
        if on_departure is not None:
            await on_departure(departure)
        heard = False
        try:
            response = await self._http.send(request, stream=True, follow_redirects=False)
            try:
                if response.status_code != 200:
                    raise await self._refusal(response)
                async with aclosing(_events(response)) as events:
                    async for event in events:
                        heard = True
                        yield event
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise _cut() if heard else _unreachable(error) from error

    def serves(self, residency: Residency | None) -> bool:
        """The bridge knows its providers' regions, and refuses where none fits; here only "nowhere" is known."""
        return residency is None or bool(residency)

    async def reachable(self) -> bool:
        """Whether the bridge lives."""
        return await self._reachability.now()

    async def close(self) -> None:
        """Nothing to give up: calls run at the bridge."""

    async def _probe(self) -> bool:
        try:
            response = await self._http.get(f"{self._base}/healthz", timeout=_PROBE_TIMEOUT_S, follow_redirects=False)
        except httpx.HTTPError:
            return False
        self._ahead_s = self._ahead_of(response) or 0.0
        return response.is_success

    def _signed(self, departure: Departure, escalation: Escalation) -> httpx.Request:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Idempotency-Key": escalation.idempotency_key,
        }
        unsigned = HttpRequest("POST", departure.url, tuple(headers.items()), departure.body)
        headers |= sign_request(
            unsigned, key_id=self._key.public_id, sign=self._key.sign, created=int(self._now()), nonce=self._nonce()
        )
        if parse_traceparent(escalation.traceparent) is not None:
            headers["traceparent"] = escalation.traceparent
        return self._http.build_request("POST", departure.url, content=departure.body, headers=headers)

    async def _refusal(self, response: httpx.Response) -> Problem:
        """The problem that the bridge tells of, or one for an answer that is no bridge's."""
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _MAX_ERROR_BYTES:
                return _no_bridge(response.status_code)
        try:
            problem = _told(json.loads(bytes(body))["error"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return _no_bridge(response.status_code)
        if problem.code == "signature_expired":
            problem.hint = self._clock_hint(response) or problem.hint
        return problem

    def _clock_hint(self, response: httpx.Response) -> str | None:
        """How wrong this device's clock is, by the bridge's."""
        ahead_s = self._ahead_of(response)
        return None if ahead_s is None else _set_clock(ahead_s)

    def _ahead_of(self, response: httpx.Response) -> float | None:
        """By how many seconds this device's clock is ahead of the bridge's; None where the bridge does not tell."""
        try:
            return self._now() - parsedate_to_datetime(response.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return None


def _set_clock(ahead_s: float) -> str:
    side = "ahead of" if ahead_s > 0 else "behind"
    return f"Set this device's clock: it is {abs(round(ahead_s))} s {side} the bridge's."


async def _events(response: httpx.Response) -> AsyncGenerator[Event]:
    frames = SseDecoder()
    async for chunk in response.aiter_bytes():
        for frame in frames.feed(chunk):
            event = _event(frame.data)
            yield event
            if isinstance(event, Finish):
                return
    raise _cut()


def _event(data: str) -> Event:
    """One event. Raises the Problem that the bridge tells of."""
    try:
        document = json.loads(data)
        if "error" in document:
            raise _told(document["error"])
        return event_from_json(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(
            "The bridge's answer could not be read.", code="bridge_malformed", hint="Upgrade the older of the two."
        ) from error


def _told(document: dict[str, Any]) -> Problem:
    """What the bridge tells of, as it is for this device: but for a request that can never work, it may work later.

    A key that the bridge does not know is no wrong key of a client here, and a job must not be lost over it.
    """
    problem = problem_from_json(document)
    if isinstance(problem, InvalidRequest | Conflict | Unavailable) or problem.code == RESIDENCY:
        return problem
    return Unavailable(problem.message, code=problem.code, hint=problem.hint)


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


def _unreachable(error: httpx.HTTPError) -> Unavailable:
    what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "could not be reached"
    return Unavailable(
        f"The bridge {what}.", code="cloud_unreachable", hint="Check the network, and url in [bridge] of config.toml."
    )


def _cut() -> Unavailable:
    return Unavailable(
        "The bridge stopped in the middle of the answer.", code="bridge_cut", hint="Send the request again."
    )


def _no_bridge(status: int) -> Unavailable:
    return Unavailable(
        f"What answers at the bridge's address is no bridge ({status}).",
        code="cloud_unreachable",
        hint="Check url in [bridge] of config.toml, and proxies on the way.",
    )
