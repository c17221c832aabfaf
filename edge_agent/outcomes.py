"""What becomes of a job that somebody claimed and could not send. Remembered until it is on record."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio.to_thread

from edge_agent.feed import Feed
from edge_agent.state.jobs import Job
from edge_agent.state.state import State

log = logging.getLogger(__name__)


class Outcomes:
    """Puts claimed jobs back or sets them aside, and tells the feed. One for all who claim jobs of a state.

    Where the state cannot be written now (busy, a full disk), the job would be "sending" until the next start: so what
    is to become of it is kept until `settle` could write it. Belongs to one event loop.
    """

    def __init__(self, state: State, feed: Feed) -> None:
        self._state = state
        self._feed = feed
        self._open: dict[str, Callable[[], Job]] = {}

    async def put_back(self, job_id: str, not_before: float, reason: str | None = None) -> None:
        """It is to be sent at `not_before` or later. Never raises but cancellation."""
        await self._settled_if_possible(job_id, lambda: self._state.retry_job(job_id, not_before, reason))

    async def set_aside(self, job_id: str, reason: str) -> None:
        """It is not to be sent. Never raises but cancellation."""
        await self._settled_if_possible(job_id, lambda: self._state.fail_job(job_id, reason))

    async def settle(self) -> None:
        """Write what could not be written. Raises where it still cannot; nothing is forgotten then."""
        for job_id in list(self._open):
            await self._settle(job_id)

    async def _settled_if_possible(self, job_id: str, outcome: Callable[[], Job]) -> None:
        self._open[job_id] = outcome
        try:
            await self._settle(job_id)
        except Exception as error:  # noqa: BLE001 `settle` tries it again
            log.error("job %s could not be recorded: %s", job_id, type(error).__name__)

    async def _settle(self, job_id: str) -> None:
        job = await anyio.to_thread.run_sync(self._write, job_id)
        if job is not None:
            self._feed.publish_job(job)

    def _write(self, job_id: str) -> Job | None:
        """Taken first, so that two at once do not write it twice. None where another one has it."""
        outcome = self._open.pop(job_id, None)
        if outcome is None:
            return None
        try:
            return outcome()
        except BaseException:
            self._open.setdefault(job_id, outcome)  # unless a newer one came meanwhile
            raise
