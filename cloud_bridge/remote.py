"""A `cloud-bridge serve` elsewhere, as the device speaks to it: signed, and told back as the same events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

import httpx

from cloud_bridge.device_key import DeviceKey
from cloud_bridge.link import BridgeLink, set_clock, told, unreachable, unreadable
from cloud_bridge.protocol.envelope import Departure, Escalation, encode_escalation, event_from_json
from cloud_bridge.protocol.events import Event, Finish
from cloud_bridge.protocol.problems import Unavailable
from cloud_bridge.protocol.residency import Residency
from cloud_bridge.protocol.signatures import MAX_AGE_S
from cloud_bridge.protocol.sse import SseDecoder
from cloud_bridge.protocol.trace import parse_traceparent
from cloud_bridge.providers.provider import OnDeparture
from cloud_bridge.reachability import Reachability

PROVIDER = "cloud-bridge"
_PATH = "/bridge/v1/escalations"
_PROBE_TIMEOUT_S = 3.0


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
        self._link = BridgeLink(url, key, http, now=now, nonce=nonce)
        self._url = self._link.base + _PATH
        self._http = http
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
                hint=f"Nothing was sent. {set_clock(self._ahead_s)}",
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
                    raise await self._link.refusal(response)
                async with aclosing(_events(response)) as events:
                    async for event in events:
                        heard = True
                        yield event
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise _cut() if heard else unreachable(error) from error

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
            url = f"{self._link.base}/healthz"
            response = await self._http.get(url, timeout=_PROBE_TIMEOUT_S, follow_redirects=False)
        except httpx.HTTPError:
            return False
        self._ahead_s = self._link.ahead_of(response) or 0.0
        return response.is_success

    def _signed(self, departure: Departure, escalation: Escalation) -> httpx.Request:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Idempotency-Key": escalation.idempotency_key,
        }
        request = self._link.signed(departure.url, departure.body, headers)
        if parse_traceparent(escalation.traceparent) is not None:
            # Not signed: proxies may rewrite it.
            request.headers["traceparent"] = escalation.traceparent
        return request


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
            raise told(document["error"])
        return event_from_json(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable() from error


def _cut() -> Unavailable:
    return Unavailable(
        "The bridge stopped in the middle of the answer.", code="bridge_cut", hint="Send the request again."
    )
