"""What happens in the daemon, as a stream for whoever watches (`/edge/v1/events`). Never carries text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from edge_agent.state.jobs import Job

BACKLOG = 256


class Feed:
    """Each watcher gets every happening from the moment it subscribes; a slow one loses the oldest."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[dict[str, Any]]] = set()

    def publish(self, kind: str, **fields: Any) -> None:
        """Tell all watchers. Never blocks."""
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait({"type": kind, **fields})

    def publish_job(self, job: Job, status: str | None = None) -> None:
        """Tell what became of a job of the outbox; `status`: what happened, where its own would not show it."""
        self.publish("job", job_id=job.id, session_id=job.session_id, status=status or job.status, reason=job.reason)

    async def subscribe(self) -> AsyncGenerator[dict[str, Any]]:
        """Happenings from now on, without end; close it to stop watching."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(BACKLOG)
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)
