"""The models that are loaded now: loaded on demand, kept warm, unloaded within a memory budget.

Everything here runs in one event loop, so state changes between two awaits need no lock; only making room,
which waits for processes to end, is done by one request at a time, in the order in which they came.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from edge_agent.runtimes.pooled_runtime import PooledRuntime
from edge_agent.runtimes.resident import RESERVED_S, LoadedModel, Resident, first_to_go, to_be_emptied
from edge_agent.runtimes.runtime import ModelSpec, Runtime
from edge_agent.runtimes.worker_process import stopped
from edge_agent.runtimes.worker_runtime import WorkerRuntime

BUSY_WAIT_S = 30.0
PATIENCE_S = 10.0
"""So long whoever waits for room lets new requests for the models in its place go first."""

LOOK_AGAIN_S = 0.2
"""So often whoever waits for room looks at the clock, by which models become free without anything happening."""

_SHORTEST_SLEEP_S = 0.05


class Pool:
    """Runtimes by model id. `close` it.

    `spec_for` is called in a thread, and raises NotFound for an unknown or missing model. A model that has answered
    nothing for `keep_alive_s` seconds is unloaded; 0: as soon as it has answered; a negative number keeps it for ever.
    """

    def __init__(
        self,
        spec_for: Callable[[str], ModelSpec],
        ram_budget_mb: int,
        keep_alive_s: float,
        *,
        make: Callable[[ModelSpec], Runtime] = WorkerRuntime,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        busy_wait_s: float = BUSY_WAIT_S,
        patience_s: float = PATIENCE_S,
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self._spec_for = spec_for
        self._budget = ram_budget_mb
        self._keep_alive_s = keep_alive_s
        self._make = make
        self._clock = clock
        self._sleep = sleep
        self._busy_wait_s = busy_wait_s
        self._patience_s = patience_s
        self._look_again_s = look_again_s
        self._residents: dict[str, Resident] = {}
        # Those that did not load take no memory, and remember how often they tried.
        self._failed: dict[ModelSpec, Runtime] = {}
        self._making_room = asyncio.Lock()
        self._claimed: set[Resident] = set()
        self._changed = asyncio.Event()
        self._reaper: asyncio.Task[None] | None = None
        self._reaps_at = math.inf
        self._closed = False

    async def runtime(self, model_id: str) -> PooledRuntime:
        """The model, loaded. What is returned stays good: where the model was unloaded since, it loads again.

        Raises InvalidRequest code "model_too_large" where it can never fit, Unavailable code "models_busy"
        where others that are at work take the memory, and as `Runtime.ensure_ready` does.
        """
        spec = await asyncio.to_thread(self._spec_for, model_id)
        self._check_fits(spec)
        handle = PooledRuntime(spec, lease=partial(self._lease, spec), reserve=partial(self._reserve, spec.model_id))
        await handle.ensure_ready()
        return handle

    def loaded(self) -> list[LoadedModel]:
        """What is in memory, or on its way there or out of it."""
        now = self._clock()
        return [each.described(now) for each in self._residents.values()]

    async def unload_idle(self) -> None:
        """Unload what has been idle for long enough. The pool does this by itself in time."""
        now = self._clock()
        for each in list(self._residents.values()):
            if each.is_idle and each.due <= now:
                await self._unload(each)

    async def unload(self, model_id: str) -> None:
        """Unload a model if it is loaded, whatever it is doing. Its process is gone when this returns."""
        resident = self._residents.get(model_id)
        if resident is not None:
            await self._unload(resident)

    async def close(self) -> None:
        """Unload everything. Requests in flight, and those that wait, get Unavailable code "model_stopped"."""
        self._closed = True
        self._changed.set()
        reaper, self._reaper = self._reaper, None
        if reaper is not None:
            reaper.cancel()
            with suppress(asyncio.CancelledError):
                await reaper
        await asyncio.gather(*(self._unload(each) for each in list(self._residents.values())))

    @asynccontextmanager
    async def _lease(self, spec: ModelSpec) -> AsyncIterator[Runtime]:
        """A runtime that stays loaded within the block. See `runtime`."""
        resident = await self._take(spec)
        resident.reserved_until = -math.inf
        is_loaded = False
        try:
            await resident.runtime.ensure_ready()
            if resident.leaving:  # it was unloaded between its start and this line, and must not start again
                raise stopped()
            is_loaded = True
            yield resident.runtime
        finally:
            resident.running -= 1
            resident.last_used = self._clock()
            self._changed.set()
            if not resident.running and (resident.leaving or not is_loaded):
                await self._retire(resident, has_failed=not is_loaded)
            self._plan_reaping()

    def _reserve(self, model_id: str) -> None:
        """Keep a loaded model, for a moment, for whoever had it loaded and will use it now."""
        resident = self._residents.get(model_id)
        if resident is not None:
            resident.reserved_until = self._clock() + RESERVED_S

    async def _take(self, spec: ModelSpec) -> Resident:
        """The model's place in memory, with one more lease."""
        if self._closed:
            raise stopped()
        resident = self._residents.get(spec.model_id)
        if resident is None or resident.leaving or resident in self._claimed or resident.lacks(spec.adapter):
            resident = await self._admitted(spec)
        resident.running += 1
        return resident

    async def _admitted(self, spec: ModelSpec) -> Resident:
        """A place in memory for the model and its adapter, after all who wait for one already."""
        try:
            async with asyncio.timeout(self._busy_wait_s), self._making_room:
                await self._make_room(spec)
                resident = self._residents.get(spec.model_id)
                if resident is None:
                    plain = spec.plain
                    runtime = self._failed.pop(plain, None) or self._make(plain)
                    resident = Resident(plain, runtime, self._clock(), self._keep_alive_s)
                    self._residents[spec.model_id] = resident
                resident.add(spec.adapter)
                return resident
        except TimeoutError as error:
            raise self._busy() from error

    async def _make_room(self, spec: ModelSpec) -> None:
        """Unload the least recently used idle models until `spec` fits; wait for busy ones.

        After a while no new request may use those: otherwise a model that is always at work would never make room.
        A model that is there and lacks room for an adapter goes last, and comes again with that adapter alone.
        """
        since = self._clock()
        try:
            while not self._closed:
                own = self._residents.get(spec.model_id)
                needed = self._needed_mb(spec, own)
                if not (own and own.leaving) and (not needed or self._taken_mb() + needed <= self._budget):
                    return
                missing = self._staying_mb() + needed - self._budget
                others = [each for each in self._residents.values() if each is not own]
                idle = first_to_go(others, self._clock()) or (own and first_to_go([own], self._clock()))
                if missing > 0 and idle is not None:
                    await self._unload(idle)
                    continue
                if self._clock() - since >= self._patience_s:
                    self._claimed = to_be_emptied(others, missing)
                    if own and sum(each.ram_mb for each in self._claimed) < missing:
                        self._claimed.add(own)
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._look_again_s):
                        await self._changed.wait()
        finally:
            self._claimed = set()
        raise stopped()

    async def _unload(self, resident: Resident) -> None:
        """Whoever calls first starts it, and it ends whoever leaves."""
        if resident.leaving is None:
            resident.leaving = asyncio.create_task(self._end(resident))
        await asyncio.shield(resident.leaving)

    async def _end(self, resident: Resident) -> None:
        try:
            await resident.runtime.close()
        finally:
            self._residents.pop(resident.spec.model_id, None)
            self._changed.set()

    async def _retire(self, resident: Resident, *, has_failed: bool) -> None:
        """Its last user is gone, and it is to go, or gone: nothing of it may stay."""
        was_leaving = resident.leaving is not None
        if has_failed and not was_leaving:
            self._failed[resident.spec] = resident.runtime
        await self._unload(resident)
        if was_leaving:
            # A request between two calls may have started it again.
            await resident.runtime.close()

    def _needed_mb(self, spec: ModelSpec, own: Resident | None) -> int:
        """MiB that are still to be found for `spec`, whose model may be there already as `own`."""
        if own is None or own.leaving:
            return spec.whole_mb
        return spec.adapter.ram_mb if spec.adapter and own.lacks(spec.adapter) else 0

    def _taken_mb(self) -> int:
        return sum(each.ram_mb for each in self._residents.values())

    def _staying_mb(self) -> int:
        return sum(each.ram_mb for each in self._residents.values() if not each.leaving)

    def _check_fits(self, spec: ModelSpec) -> None:
        if spec.whole_mb > self._budget:
            raise InvalidRequest(
                f"{spec.asked_id} needs {spec.whole_mb} MiB with a context of {spec.context_length} tokens; "
                f"{self._budget} MiB are allowed for models.",
                code="model_too_large",
                hint=f"Use a smaller model, or set `models.ram_budget_mb` to {spec.whole_mb} or more.",
                param="model",
            )

    def _busy(self) -> Unavailable:
        return Unavailable(
            f"The models at work take {self._taken_mb()} MiB of the {self._budget} MiB allowed.",
            code="models_busy",
            hint="Try again when they are done, or raise `models.ram_budget_mb`.",
            retry_after_s=self._busy_wait_s,
        )

    def _plan_reaping(self) -> None:
        """See to it that somebody wakes when the next model is due."""
        due = self._next_due()
        if self._closed or due == math.inf:
            return
        if self._reaper is None or self._reaper.done() or due < self._reaps_at:
            if self._reaper is not None:
                self._reaper.cancel()
            self._reaps_at = due
            self._reaper = asyncio.create_task(self._reap())

    def _next_due(self) -> float:
        return min((each.due for each in self._residents.values() if each.is_idle), default=math.inf)

    async def _reap(self) -> None:
        while (due := self._next_due()) < math.inf:
            self._reaps_at = due
            await self._sleep(max(due - self._clock(), _SHORTEST_SLEEP_S))
            await self.unload_idle()
