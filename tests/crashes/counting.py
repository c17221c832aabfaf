"""A provider that outlives the daemons it serves, in a thread of its own, and knows whom it answered to the end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from tests.upstream import Answer, Recorded, RecordingUpstream


class CountingUpstream(RecordingUpstream):
    """By `Idempotency-Key`: `begun` calls that were to be answered, `refused` calls, and calls answered to the end.

    `on_call` is told of each when it has arrived.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.refused, self.whole = Counter[str](), Counter[str](), Counter[str]()
        self.on_call: Callable[[], None] = lambda: None

    async def _answer(self, request: Recorded, answer: Answer, *wires: Any) -> bool:
        key = request.headers["idempotency-key"]
        self.on_call()
        (self.begun if answer.status == 200 else self.refused)[key] += 1
        try:
            is_whole = await super()._answer(request, answer, *wires)
        except asyncio.CancelledError:  # this provider went down: no answer was made, nor paid for
            self.begun[key] -= 1
            self.refused[key] += 1
            raise
        self.whole[key] += is_whole and answer.status == 200
        return is_whole

    async def start(self) -> None:
        """Listen, unless it does."""
        if self._server is None:
            await super().start()


class Provider:
    """The upstream's thread, as other threads see it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, upstream: CountingUpstream) -> None:
        self._loop = loop
        self.upstream = upstream

    def up(self, *answers: Answer) -> None:
        """Be there, and answer so."""
        self.upstream.will(*answers)
        self._do(self.upstream.start())

    def down(self) -> None:
        """Close the port and all connections."""
        self._do(self.upstream.stop())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that is there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    there = Provider(loop, CountingUpstream())
    try:
        there.up(Answer())
        yield there
    finally:
        there.down()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
