"""Is the cloud there? Asked before each request, so the answer is kept for a few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

KEPT_S = 5.0


class Reachability:
    """A probe and its last result. `clock` is monotonic, in seconds. Belongs to one event loop."""

    def __init__(
        self, probe: Callable[[], Awaitable[bool]], *, clock: Callable[[], float], kept_s: float = KEPT_S
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._kept_s = kept_s
        self._lock = asyncio.Lock()
        self._result = False
        self._until: float | None = None

    async def now(self) -> bool:
        """The last result, or a new one where that is too old. Many askers cause one probe."""
        async with self._lock:
            if self._until is None or self._clock() >= self._until:
                self._result = await self._probe()
                self._until = self._clock() + self._kept_s
            return self._result


async def any_of(probes: list[Awaitable[bool]]) -> bool:
    """Whether one of them says yes; the others are then not waited for."""
    tasks = [asyncio.ensure_future(probe) for probe in probes]
    try:
        for finished in asyncio.as_completed(tasks):
            if await finished:
                return True
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
