"""When the daemon reconciles: soon after something was said, else now and then, and ever more seldom while it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloud_bridge.protocol.problems import Unavailable
from edge_agent.state.sync.keys import GroupKeys
from edge_agent.sync_worker import LONGEST_WAIT_S, LOOK_S
from tests.state.two_devices import Device, MemoryBridge

pytestmark = pytest.mark.anyio


class Clock:
    """Time that passes while the worker sleeps, and ends it after a while."""

    def __init__(self, device: Device, until: float) -> None:
        self.now, self._until = 0.0, until
        self.at: list[float] = []
        worker: Any = device.worker
        worker._clock, worker._sleep = (lambda: self.now), self.sleep
        self.said: dict[float, Any] = {}

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        for at in [at for at in self.said if at <= self.now]:
            self.said.pop(at)()
        if self.now >= self._until:
            raise asyncio.CancelledError


class CountingBridge(MemoryBridge):
    """Notes when it was asked."""

    clock: Any = SimpleNamespace(now=0.0)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    async def exchange(self, exchange: Any) -> Any:
        self.asked.append(self.clock.now)
        return await super().exchange(exchange)


@pytest.fixture
async def laptop(tmp_path: Path) -> AsyncIterator[Device]:
    device = Device(tmp_path / "laptop", CountingBridge(), GroupKeys.new())
    yield device
    device.state.close()


@asynccontextmanager
async def run_until(device: Device, until: float) -> AsyncIterator[Clock]:
    device.bridge.clock = clock = Clock(device, until)
    yield clock
    with pytest.raises(asyncio.CancelledError):
        await device.worker.run()


async def test_it_asks_now_and_then_and_tells_soon(laptop: Device) -> None:
    laptop.worker._interval_s = 60  # type: ignore[attr-defined]
    async with run_until(laptop, 200) as clock:
        clock.said[30.0] = lambda: laptop.ask("s", "Hello", answer="Hi.")
    assert {0.0, 30.0} <= set(laptop.bridge.asked)
    assert len({at for at in laptop.bridge.asked if at != 30.0}) in {3, 4}
    assert laptop.bridge.segments


async def test_it_asks_ever_more_seldom_while_nobody_answers(laptop: Device) -> None:
    laptop.worker._interval_s = 1  # type: ignore[attr-defined]
    laptop.bridge.is_cut = True
    async with run_until(laptop, 4 * LONGEST_WAIT_S):
        pass
    assert len(laptop.bridge.asked) < 4 * LONGEST_WAIT_S / LOOK_S / 4
    status = await laptop.worker.status()
    assert status is not None
    assert status["last_error"] == "cloud_unreachable"


async def test_a_bridge_that_takes_nothing_is_given_up_for_now(laptop: Device) -> None:
    laptop.ask("s", "Hello", answer="Hi.")
    laptop.bridge.have = dict
    with pytest.raises(Unavailable) as caught:
        await laptop.sync()
    assert caught.value.code == "sync_stuck"
