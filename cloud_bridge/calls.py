"""A provider call while it runs: whoever asks for the same key listens to the same call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from cloud_bridge.protocol.events import Event, Served


class RunningCall:
    """The events so far, and whoever listens. Belongs to one event loop."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.task: asyncio.Task[None] | None = None
        self.listeners = 0
        self.heard: list[Event] = []
        self._ended = False
        self._failure: Exception | None = None
        self._changed = asyncio.Event()

    def emit(self, event: Event) -> None:
        """Pass an event on to all listeners."""
        self.heard.append(event)
        self._wake()

    def end(self, failure: Exception | None = None) -> None:
        """No more events; `failure` is raised to all listeners after the events that came."""
        self._ended = True
        self._failure = failure
        self._wake()

    async def events(self) -> AsyncGenerator[Event]:
        """All events from the first on, as they come. Raises what the call ended with."""
        position = 0
        while True:
            changed = self._changed
            while position < len(self.heard):
                position += 1
                yield self.heard[position - 1]
            if self._ended and position == len(self.heard):
                break
            if changed is self._changed:
                await changed.wait()
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def replayed(event: Event) -> Event:
    """The event as it is told a second time."""
    return replace(event, replayed=True) if isinstance(event, Served) else event
