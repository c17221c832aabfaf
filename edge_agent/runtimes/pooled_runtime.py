"""A model of the pool as its users hold it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event
from edge_agent.runtimes.runtime import Capabilities, ModelSpec, Runtime

_NONE = Capabilities(embeddings=False, structured_output=False, tools=False, shares_prefixes=False, batches=False)


class Lender(Protocol):
    """What has the models: see `Pool`."""

    def lease(self, spec: ModelSpec, keep_alive_s: float | None) -> AbstractAsyncContextManager[Runtime]:
        """A runtime that stays loaded within the block."""
        ...

    def reserve(self, model_id: str) -> None:
        """Keep it for its next request, for a moment."""
        ...

    async def unload(self, model_id: str) -> None:
        """Unload it now."""
        ...


class PooledRuntime:
    """See `Runtime`. The model is held in memory only while it is at work; where it left since, it is loaded again.

    Every method raises what `Pool.runtime` raises, too.
    """

    def __init__(self, lender: Lender, spec: ModelSpec, keep_alive_s: float | None) -> None:
        self._lender = lender
        self._spec = spec
        self._keep_alive_s = keep_alive_s
        self._context_length = spec.context_length
        self._capabilities = _NONE

    @property
    def model_id(self) -> str:
        """See `Runtime`."""
        return self._spec.model_id

    @property
    def context_length(self) -> int:
        """See `Runtime`."""
        return self._context_length

    @property
    def capabilities(self) -> Capabilities:
        """See `Runtime`. None at all before it was loaded."""
        return self._capabilities

    async def ensure_ready(self) -> None:
        """See `Runtime`."""
        async with self._lease() as runtime:
            self._context_length = runtime.context_length
            self._capabilities = runtime.capabilities
        self._lender.reserve(self.model_id)

    async def generate(self, conversation: Conversation) -> AsyncIterator[Event]:
        """See `Runtime`."""
        async with self._lease() as runtime, _closing(runtime.generate(conversation)) as events:
            async for event in events:
                yield event

    async def count(self, conversation: Conversation) -> int:
        """See `Runtime`."""
        async with self._lease() as runtime:
            return await runtime.count(conversation)

    async def tokenize(self, text: str) -> list[int]:
        """See `Runtime`."""
        async with self._lease() as runtime:
            return await runtime.tokenize(text)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Runtime`."""
        async with self._lease() as runtime:
            return await runtime.embed(texts)

    async def close(self) -> None:
        """Unload the model now, whatever it is doing."""
        await self._lender.unload(self.model_id)

    def _lease(self) -> AbstractAsyncContextManager[Runtime]:
        return self._lender.lease(self._spec, self._keep_alive_s)


@asynccontextmanager
async def _closing(events: AsyncIterator[Event]) -> AsyncIterator[AsyncIterator[Event]]:
    try:
        yield events
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
