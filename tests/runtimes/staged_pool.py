"""A pool on a stage: runtimes that do what a test tells them, and a clock that a test turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event, Finish, TextDelta
from cloud_bridge.protocol.problems import Broken, NotFound
from edge_agent.runtimes.pool import Pool
from edge_agent.runtimes.runtime import AdapterSpec, Capabilities, ModelSpec
from tests.runtimes.asking import spec


class Staged:
    """A runtime that answers when it is told to."""

    def __init__(self, found: ModelSpec, log: list[str]) -> None:
        self.spec = found
        self.log = log
        self.go = asyncio.Event()
        self.go.set()
        self.broken = False
        self.loads = asyncio.Event()
        self.loads.set()
        self.is_up = False

    @property
    def model_id(self) -> str:
        return self.spec.model_id

    @property
    def context_length(self) -> int:
        return self.spec.context_length

    async def ensure_ready(self) -> None:
        if self.broken:
            raise Broken("no", code="model_unreadable")
        await asyncio.sleep(0)
        await self.loads.wait()
        self.is_up = True

    async def generate(self, conversation: Conversation, adapter: AdapterSpec | None = None) -> AsyncIterator[Event]:
        self.is_up = True
        yield TextDelta("a")
        await self.go.wait()
        yield Finish()

    async def count(self, conversation: Conversation) -> int:
        return 1

    async def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    async def embed(self, texts: Sequence[str], adapter: AdapterSpec | None = None) -> list[list[float]]:
        return [[1.0] for _ in texts]

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(embeddings=True, structured_output=True, tools=True, batches=False)

    async def close(self) -> None:
        await asyncio.sleep(0)
        if self.is_up:
            self.is_up = False
            self.log.append(f"-{self.model_id}")


class Stage:
    """A pool of staged runtimes with a clock of its own. Those named in `broken` do not load, those in `slow` not until
    a test lets them.

    `busy_wait_s` is real time: a test that waits for its end makes it short, and no other one comes near it.
    """

    def __init__(self, *, budget: int = 100, keep_alive_s: float = 60, busy_wait_s: float = 60) -> None:
        self.now = 0.0
        self.clock_reads = 0
        self.asked: list[str] = []
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        self.log: list[str] = []
        self.made: dict[str, Staged] = {}
        self.adapters = {"x": 10, "y": 15}
        self.sizes = {"a": 40, "b": 40, "c": 40, "big": 90, "huge": 101}
        self.slept: asyncio.Queue[float] = asyncio.Queue()
        self.wake = asyncio.Semaphore(0)
        self.pool = Pool(
            self._spec, budget, keep_alive_s,
            make=self._make, clock=self._clock, sleep=self._sleep,
            busy_wait_s=busy_wait_s, patience_s=10, look_again_s=0.001,
        )  # fmt: skip

    def _spec(self, model_id: str) -> ModelSpec:
        base, _, adapter = model_id.partition("+")
        if base not in self.sizes:
            raise NotFound("no such model", code="unknown_model")
        self.asked.append(model_id)
        found = spec(Path("unused"), model_id=base, context_length=100, ram_mb=self.sizes[base])
        if not adapter:
            return found
        return replace(found, adapter=AdapterSpec(adapter, Path("unused"), self.adapters[adapter]))

    def _make(self, found: ModelSpec) -> Staged:
        self.log.append(f"+{found.model_id}")
        made = self.made[found.model_id] = Staged(found, self.log)
        made.broken = found.model_id in self.broken
        if found.model_id in self.slow:
            made.loads.clear()
        return made

    def _clock(self) -> float:
        self.clock_reads += 1
        return self.now

    async def _sleep(self, seconds: float) -> None:
        self.slept.put_nowait(seconds)
        await self.wake.acquire()

    async def looked_for_room(self) -> None:
        """Whoever waits for room has looked for it, and looked again: nobody else reads the clock so often."""
        seen = self.clock_reads
        await until(lambda: self.clock_reads >= seen + 20)

    def running(self, name: str) -> int:
        return sum(each.running for each in self.pool.loaded() if each.model_id == name)

    @property
    def names(self) -> set[str]:
        return {each.model_id for each in self.pool.loaded()}


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110 - the pool does it in its own time
            await asyncio.sleep(0.001)
