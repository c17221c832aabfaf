"""Forgets sessions that nothing happened in for as long as the settings say; a task of the daemon."""

from __future__ import annotations

import asyncio
import logging

import anyio.to_thread

from edge_agent.state.log import Log
from edge_agent.state.retention import STEP, forget_untouched, lived_until_ms
from edge_agent.state.sessions import erase

EVERY_S = 3600.0
PAUSE_S = 1.0
"""Between two steps, in which the database is others'."""

log = logging.getLogger(__name__)


class Retention:
    """Looks at its start, and then every hour. `days` 0: sessions are kept for ever."""

    def __init__(self, state: Log, days: int, *, every_s: float = EVERY_S, pause_s: float = PAUSE_S) -> None:
        self._log = state
        self._age_ms = days * 86_400_000
        self._every_s = every_s
        self._pause_s = pause_s

    async def run(self) -> None:
        """Until cancelled. A state that fails now is asked again later."""
        while self._age_ms:
            try:
                await self.forget_due()
            except Exception as error:  # noqa: BLE001 it must outlive a full disk
                log.error("old sessions could not be forgotten: %s", type(error).__name__)
            await asyncio.sleep(self._every_s)

    async def forget_due(self) -> int:
        """Forget all that is due now, some at a time. Returns how many. Raises as `forget_untouched`.

        What is left of anything forgotten earlier, because another process read on or this one died, is removed first.
        """
        await anyio.to_thread.run_sync(erase, self._log)
        lived_until = await anyio.to_thread.run_sync(lived_until_ms, self._log)
        if not self._age_ms or lived_until is None:
            return 0
        until, total = lived_until - self._age_ms, 0
        while True:
            forgotten = await anyio.to_thread.run_sync(forget_untouched, self._log, until, STEP)
            total += len(forgotten)
            if len(forgotten) < STEP:
                break
            await asyncio.sleep(self._pause_s)
        if total:
            log.info("%d sessions forgotten that were not touched for %d days", total, self._age_ms // 86_400_000)
        return total
