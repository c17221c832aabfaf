"""A model of the pool as its users hold it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event
from edge_agent.runtimes.runtime import CAPABILITIES, Capabilities, ModelSpec, Runtime


class PooledRuntime:
    """A `Runtime`, but for `close`: unloading is the pool's. The model is held in memory only while it is at work;
    where it left since, it is loaded again. Every method raises what `Pool.runtime` raises, too.

    `lease` gives a runtime that stays loaded within the block; `reserve` keeps it loaded for the next request, for a
    moment.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        lease: Callable[[], AbstractAsyncContextManager[Runtime]],
        reserve: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._lease = lease
        self._reserve = reserve
        self._context_length = spec.context_length

    @property
    def model_id(self) -> str:
        """See `Runtime`; `BASE+ADAPTER` where it was asked for so."""
        return self._spec.asked_id

    @property
    def context_length(self) -> int:
        """See `Runtime`."""
        return self._context_length

    @property
    def capabilities(self) -> Capabilities:
        """See `Runtime`."""
        return CAPABILITIES[self._spec.format]

    async def ensure_ready(self) -> None:
        """See `Runtime`."""
        async with self._lease() as runtime:
            self._context_length = runtime.context_length
        self._reserve()

    async def generate(self, conversation: Conversation) -> AsyncIterator[Event]:
        """See `Runtime`."""
        async with self._lease() as runtime, _closing(runtime.generate(conversation, self._spec.adapter)) as events:
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
            return await runtime.embed(texts, self._spec.adapter)


@asynccontextmanager
async def _closing(events: AsyncIterator[Event]) -> AsyncIterator[AsyncIterator[Event]]:
    try:
        yield events
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
