"""The models that are loaded now: loaded on demand, kept warm, unloaded within a memory budget.

Everything here runs in one event loop, so state changes between two awaits need no lock; only making room,
which waits for processes to end, is done by one request at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event
from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from edge_agent.runtimes.llama_cpp import LlamaCppRuntime
from edge_agent.runtimes.runtime import LlmSpec, Runtime

BUSY_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory: requests it answers now, seconds since the last one ended (0 while it works)."""

    model_id: str
    ram_mb: int
    running: int
    idle_s: float


@dataclass(slots=True, eq=False)
class _Resident:
    spec: LlmSpec
    runtime: Runtime
    last_used: float
    running: int = 0
    leaving: asyncio.Task[None] | None = None


class Pool:
    """Runtimes by model id. `close` it.

    `spec_for` raises NotFound for an unknown or missing model. A model that has answered nothing for
    `keep_alive_s` seconds is unloaded; a negative number keeps it for ever.
    """

    def __init__(
        self,
        spec_for: Callable[[str], LlmSpec],
        ram_budget_mb: int,
        keep_alive_s: float,
        *,
        make: Callable[[LlmSpec], Runtime] = LlamaCppRuntime,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        busy_wait_s: float = BUSY_WAIT_S,
    ) -> None:
        self._spec_for = spec_for
        self._budget = ram_budget_mb
        self._keep_alive_s = keep_alive_s
        self._make = make
        self._clock = clock
        self._sleep = sleep
        self._busy_wait_s = busy_wait_s
        self._residents: dict[str, _Resident] = {}
        self._making_room = asyncio.Lock()
        self._changed = asyncio.Event()
        self._reaper: asyncio.Task[None] | None = None
        self._closed = False

    async def runtime(self, model_id: str) -> Runtime:
        """The model, loaded. What is returned stays good: where the model was unloaded since, it loads again.

        Raises InvalidRequest code "model_too_large" where it can never fit, Unavailable code "models_busy"
        where others that are at work take the memory, and as `Runtime.ensure_ready` does.
        """
        handle = _PooledRuntime(self, self._fitting_spec(model_id))
        await handle.ensure_ready()
        return handle

    def loaded(self) -> list[LoadedModel]:
        """What is in memory, or on its way there or out of it."""
        return [
            LoadedModel(
                model_id=model_id,
                ram_mb=each.spec.ram_mb,
                running=each.running,
                idle_s=0.0 if each.running else max(0.0, self._clock() - each.last_used),
            )
            for model_id, each in self._residents.items()
        ]

    async def unload_idle(self) -> None:
        """Unload what has been idle for `keep_alive_s` seconds. The pool does this by itself in time."""
        if self._keep_alive_s < 0:
            return
        now = self._clock()
        for each in list(self._residents.values()):
            if not each.running and not each.leaving and now - each.last_used >= self._keep_alive_s:
                await self._unload(each)

    async def unload(self, model_id: str) -> None:
        """Unload a model if it is loaded, whatever it is doing."""
        resident = self._residents.get(model_id)
        if resident is not None:
            await self._unload(resident)

    async def close(self) -> None:
        """Unload everything. Requests in flight get Unavailable code "model_stopped"."""
        self._closed = True
        reaper, self._reaper = self._reaper, None
        if reaper is not None:
            reaper.cancel()
            with suppress(asyncio.CancelledError):
                await reaper
        await asyncio.gather(*(self._unload(each) for each in list(self._residents.values())))

    @asynccontextmanager
    async def lease(self, spec: LlmSpec) -> AsyncIterator[Runtime]:
        """A runtime that stays loaded within the block."""
        resident = await self._take(spec)
        is_loaded = False
        try:
            await resident.runtime.ensure_ready()
            is_loaded = True
            yield resident.runtime
        finally:
            resident.running -= 1
            resident.last_used = self._clock()
            self._changed.set()
            if not is_loaded and not resident.running:
                await self._unload(resident)

    async def _take(self, spec: LlmSpec) -> _Resident:
        if self._closed:
            raise Unavailable(
                "The models are being unloaded.", code="model_stopped", hint="Send it when the daemon is up again."
            )
        resident = self._residents.get(spec.model_id)
        if resident is None or resident.leaving:
            async with self._making_room:
                resident = self._residents.get(spec.model_id)
                if resident is None or resident.leaving:
                    await self._make_room(spec)
                    resident = _Resident(spec, self._make(spec), self._clock())
                    self._residents[spec.model_id] = resident
        resident.running += 1
        if self._reaper is None or self._reaper.done():
            self._reaper = asyncio.create_task(self._reap())
        return resident

    async def _make_room(self, spec: LlmSpec) -> None:
        """Unload the least recently used idle models until `spec` fits; wait for busy ones, but not for ever."""
        try:
            async with asyncio.timeout(self._busy_wait_s):
                while self._taken_mb() + spec.ram_mb > self._budget or spec.model_id in self._residents:
                    idle = [each for each in self._residents.values() if not each.running and not each.leaving]
                    if idle:
                        await self._unload(min(idle, key=lambda each: each.last_used))
                        continue
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise Unavailable(
                f"The models at work take {self._taken_mb()} MiB of the {self._budget} MiB allowed.",
                code="models_busy",
                hint="Try again when they are done, or raise `models.ram_budget_mb`.",
                retry_after_s=self._busy_wait_s,
            ) from error

    async def _unload(self, resident: _Resident) -> None:
        """Whoever calls first starts it, and it ends whoever leaves."""
        if resident.leaving is None:
            resident.leaving = asyncio.create_task(self._end(resident))
        await asyncio.shield(resident.leaving)

    async def _end(self, resident: _Resident) -> None:
        try:
            await resident.runtime.close()
        finally:
            self._residents.pop(resident.spec.model_id, None)
            self._changed.set()

    def _taken_mb(self) -> int:
        return sum(each.spec.ram_mb for each in self._residents.values())

    def _fitting_spec(self, model_id: str) -> LlmSpec:
        spec = self._spec_for(model_id)
        if spec.ram_mb > self._budget:
            raise InvalidRequest(
                f"{model_id} takes {spec.ram_mb} MiB; {self._budget} MiB are allowed for models.",
                code="model_too_large",
                hint="Use a smaller model, or raise `models.ram_budget_mb`.",
                param="model",
            )
        return spec

    async def _reap(self) -> None:
        while self._keep_alive_s >= 0 and self._residents:
            due = min(
                (self._clock() if each.running else each.last_used) + self._keep_alive_s
                for each in self._residents.values()
            )
            await self._sleep(max(due - self._clock(), 0.05))
            await self.unload_idle()


class _PooledRuntime:
    """A model of the pool: held in memory only while it is at work."""

    def __init__(self, pool: Pool, spec: LlmSpec) -> None:
        self._pool = pool
        self._spec = spec
        self._context_length = spec.context_length

    @property
    def model_id(self) -> str:
        """See `Runtime`."""
        return self._spec.model_id

    @property
    def context_length(self) -> int:
        """See `Runtime`."""
        return self._context_length

    async def ensure_ready(self) -> None:
        """See `Runtime`; and see `Pool.runtime`."""
        async with self._pool.lease(self._spec) as runtime:
            self._context_length = runtime.context_length

    async def generate(self, conversation: Conversation) -> AsyncIterator[Event]:
        """See `Runtime`; and see `Pool.runtime`."""
        async with self._pool.lease(self._spec) as runtime, _closing(runtime.generate(conversation)) as events:
            async for event in events:
                yield event

    async def count(self, conversation: Conversation) -> int:
        """See `Runtime`; and see `Pool.runtime`."""
        async with self._pool.lease(self._spec) as runtime:
            return await runtime.count(conversation)

    async def close(self) -> None:
        """Unload the model now, whatever it is doing."""
        await self._pool.unload(self.model_id)


@asynccontextmanager
async def _closing(events: AsyncIterator[Event]) -> AsyncIterator[AsyncIterator[Event]]:
    try:
        yield events
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
