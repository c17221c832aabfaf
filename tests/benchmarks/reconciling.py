"""Telling a person's other device what was queued while there was no network, through a real bridge on loopback.

python -m tests.benchmarks.reconciling TURNS FOLDER    one size, in a process of its own
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloud_bridge.device_key import DeviceKey
from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import Escalation, conversation_to_json
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.sync_client import open_sync_client
from edge_agent.feed import Feed
from edge_agent.group import Group
from edge_agent.privacy.adopted import adoptable
from edge_agent.privacy.second_check import SecondCheck
from edge_agent.privacy.vault import Vault
from edge_agent.reconciliation import Parts, Synced
from edge_agent.sharing import Sharing
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from edge_agent.state.sync import membership as memberships
from edge_agent.state.sync.replica import Replica
from edge_agent.sync_worker import SyncWorker
from tests.benchmarks.figure import Figure

SIZES = (1_000, 10_000, 100_000)
SESSIONS = 100
QUESTION = "question {}: what does {} want to do about the delay of the train to Zurich on Monday?"


def measure(models: Path, scratch: Path, sizes: tuple[int, ...] = SIZES) -> list[Figure]:
    """Turns queued offline in a hundred sessions, told to the bridge and taken in by the other device, each size once.

    The baseline is the same for a tenth of the turns, ten times: 1 is a cost that grows as the turns do.
    """
    figures: list[Figure] = []
    before: dict[str, float] | None = None
    for turns in sizes:
        folder = scratch / f"turns-{turns}"
        command = [sys.executable, "-m", "tests.benchmarks.reconciling", str(turns), str(folder)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        taken = found["told_s"] + found["heard_s"]
        figures.append(
            Figure(
                f"{turns:,} queued turns told and taken in",
                f"{found['told_s']:.1f} s + {found['heard_s']:.1f} s, {found['peak_mb']:.0f} MiB at most",
                "" if before is None else f"{10 * (before['told_s'] + before['heard_s']):.1f} s",
                "" if before is None else "ten times a tenth of them",
                None if before is None else taken / (10 * (before["told_s"] + before["heard_s"])),
            )
        )
        before = found
    return figures


class _Nothing:
    """Masking is measured elsewhere: what is queued is masked already."""

    def detect(self, *_: Any) -> list[Any]:
        return []


def _worker(state: State, home: Path, url: str) -> SyncWorker:
    vault = Vault(state)
    detector: Any = _Nothing()
    sharing = Sharing(state=state, detector=detector, vault=vault, check=SecondCheck(), never_leave=frozenset())
    return SyncWorker(
        Parts(state, Replica(state.log, adoptable), sharing, vault, Feed(), url),
        lambda: open_sync_client(url, home / "keys" / "device.key"),
        interval_s=1,
    )


def _queue(state: State, turns: int) -> None:
    """Turns as they are recorded without a network; not waiting for the disk, which is measured elsewhere."""
    state.log._db.execute("PRAGMA synchronous = OFF")
    for number in range(SESSIONS):
        state.add(f"session-{number}", [StoredMapping("<PERSON_1>", "PERSON", "Ada Lovelace")])
    for number in range(turns):
        session_id = f"session-{number % SESSIONS}"
        said, masked = (
            Conversation((Message("user", (Text(QUESTION.format(number, name)),)),))
            for name in ("Ada Lovelace", "<PERSON_1>")
        )
        request = state.accept_request(session_id, conversation_to_json(said))
        escalation = Escalation(Masked(masked, {"PERSON": 1}), state.new_id(), session_id, "")
        state.enqueue(escalation, "cloud_unreachable", request_id=request)
    state.log._db.execute("PRAGMA synchronous = FULL")


async def _reconcile(first: Path, second: Path, url: str, turns: int) -> dict[str, float]:
    with State.open(first / "state.db", HomeKey(first).open()) as one:
        with State.open(second / "state.db", HomeKey(second).open()) as other:
            await _join(one, first, other, second, url)
        _queue(one, turns)
        told, told_s = await _timed(_worker(one, first, url))
    with State.open(second / "state.db", HomeKey(second).open()) as other:
        heard, heard_s = await _timed(_worker(other, second, url))
        if (told.told, heard.heard) != (turns, turns):
            raise RuntimeError(f"{told.told} told, {heard.heard} taken in, of {turns}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"told_s": told_s, "heard_s": heard_s, "peak_mb": peak_mb}


async def _timed(worker: SyncWorker) -> tuple[Synced, float]:
    started = time.perf_counter()
    return await worker.once(), time.perf_counter() - started


async def _join(one: State, first: Path, other: State, second: Path, url: str) -> None:
    async with (
        open_sync_client(url, first / "keys" / "device.key") as here,
        open_sync_client(url, second / "keys" / "device.key") as there,
    ):
        founder, joiner = Group(one.log, here, url), Group(other.log, there, url)
        await founder.start()
        await joiner.join(await founder.invite(1))
    if memberships.load(other.log) is None:
        raise RuntimeError("the second device did not join")


@contextmanager
def _bridge(home: Path, devices: dict[str, str]) -> Iterator[str]:
    """A real bridge process that knows these devices."""
    home.mkdir(parents=True)
    (home / "config.toml").write_text("[sync]\nmax_mb_per_group = 10000\n")
    environ = {**os.environ, "CLOUD_BRIDGE_HOME": str(home)}
    command = [sys.executable, "-m", "cloud_bridge.cli"]
    for name, key in devices.items():
        subprocess.run([*command, "devices", "enroll", name, "--public-key", key], env=environ, check=True, stdout=2)
    process = subprocess.Popen(
        [*command, "serve", "--json", "--port", "0"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait()


def _main(turns: int, folder: Path) -> None:
    first, second = folder / "first", folder / "second"
    devices = {home.name: DeviceKey.load_or_create(home / "keys" / "device.key").public_id for home in (first, second)}
    with _bridge(folder / "bridge", devices) as url:
        sys.stdout.write(json.dumps(asyncio.run(_reconcile(first, second, url, turns))) + "\n")


if __name__ == "__main__":
    _main(int(sys.argv[1]), Path(sys.argv[2]))
