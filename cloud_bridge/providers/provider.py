"""One provider: sends a masked conversation and reads the answer while it streams."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress

import httpx

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.events import Event, Finish, Served
from cloud_bridge.protocol.provider_failures import read_object
from cloud_bridge.protocol.sse import SseDecoder
from cloud_bridge.protocol.trace import parse_traceparent
from cloud_bridge.providers.anthropic import AnthropicWire
from cloud_bridge.providers.config import Kind, ProviderConfig
from cloud_bridge.providers.failures import answer_too_large, no_api_key, status_failure, transport_failure
from cloud_bridge.providers.openai import OpenAiWire
from cloud_bridge.providers.wire import Wire

OnDeparture = Callable[[Departure], Awaitable[None]]
"""Told what is about to leave. Where it raises, nothing leaves."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
PROBE_TIMEOUT_S = 3.0
_DRAIN_S = 0.2

_WIRES: Mapping[Kind, Wire] = {"openai": OpenAiWire(), "anthropic": AnthropicWire()}


class Provider:
    """One provider over a shared HTTP client. The key is read from `environ` at each call and kept nowhere."""

    def __init__(
        self, config: ProviderConfig, http: httpx.AsyncClient, *, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.config = config
        self._http = http
        self._environ = environ
        self._wire = _WIRES[config.kind]
        self._url = self._wire.url(config.base_url)

    @property
    def served(self) -> Served:
        """Who answers, as the first event of its answers."""
        config = self.config
        return Served(config.name, config.model, config.region, config.usd_per_mtok_in, config.usd_per_mtok_out)

    @property
    def has_key(self) -> bool:
        """Whether there is a key to send, or none is wanted."""
        return not self.config.api_key_env or bool(self._key())

    def check(self, conversation: Conversation) -> None:
        """Raise InvalidRequest where this provider's format cannot say what is asked: `preview` and `stream` fail."""
        self._wire.check(conversation)

    def preview(self, conversation: Conversation) -> Departure:
        """Exactly what `stream` would send. Sends nothing. Raises as `check`."""
        body = self._wire.request(conversation, self.config.model, self.config.base_url)
        document = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return Departure(self.config.name, self._url, document.encode("utf-8", "replace"))

    async def stream(
        self,
        conversation: Conversation,
        *,
        idempotency_key: str,
        traceparent: str,
        on_departure: OnDeparture | None = None,
    ) -> AsyncGenerator[Event]:
        """The answer's events, `Finish` last. `on_departure` is awaited before the first byte leaves.

        Raises Unavailable where the provider does not answer, or not to the end; as `check`, before anything leaves.
        """
        headers = self._headers(idempotency_key, traceparent)
        departure = self.preview(conversation)
        if on_departure is not None:
            await on_departure(departure)
        try:
            async with self._http.stream(
                "POST", departure.url, content=departure.body, headers=headers, follow_redirects=False
            ) as response:
                if not response.is_success:
                    raise status_failure(self.config.name, response)
                async with aclosing(self._events(response, conversation.sampling.n)) as events:
                    async for event in events:
                        yield event
        except httpx.HTTPError as error:
            raise transport_failure(self.config.name, error) from error

    async def reachable(self) -> bool:
        """Whether a call could work now: there is a key, and the address answers anything at all."""
        if not self.has_key:
            return False
        try:
            await self._http.head(self._url, timeout=PROBE_TIMEOUT_S, follow_redirects=False)
        except httpx.HTTPError:
            return False
        return True

    async def _events(self, response: httpx.Response, choices: int) -> AsyncGenerator[Event]:
        if response.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
            whole = b"".join([chunk async for chunk in self._chunks(response)])
            for event in self._wire.whole(read_object(whole.decode("utf-8", "replace")), choices):
                yield event
            return
        frames, decoder = SseDecoder(), self._wire.decoder(choices)
        async with aclosing(self._chunks(response)) as chunks:
            async for chunk in chunks:
                for event in [event for frame in frames.feed(chunk) for event in decoder.feed(frame)]:
                    if isinstance(event, Finish):
                        await _drain(chunks)
                        yield event
                        return
                    yield event
        for event in decoder.end():
            yield event

    async def _chunks(self, response: httpx.Response) -> AsyncGenerator[bytes]:
        size = 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise answer_too_large(self.config.name, MAX_ANSWER_BYTES)
            yield chunk

    def _headers(self, idempotency_key: str, traceparent: str) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            # A compressed stream is held back until a block is full.
            "Accept-Encoding": "identity",
            "Idempotency-Key": idempotency_key,
            **self._wire.fields(),
        }
        if parse_traceparent(traceparent) is not None:
            headers["traceparent"] = traceparent
        if not self.config.api_key_env:
            return headers
        key = self._key()
        if not key:
            raise no_api_key(self.config.name, self.config.api_key_env)
        return headers | self._wire.credentials(key)

    def _key(self) -> str:
        """The key, or "" where there is none that a header could carry."""
        key = self._environ.get(self.config.api_key_env, "").strip()
        return key if key.isascii() and key.isprintable() else ""


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what is left after the last event, so that the connection can be used again; do not wait long for it."""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_DRAIN_S):
            async for _ in chunks:
                pass
