"""A daemon that is killed at any moment of a busy life, again and again, in one home.

python -m tests.crashes.killed_daemon --kills 60 [--bridge embedded|remote]

After each end it is started again, and held to what its clients were told: the answers, the jobs, what is forgotten.
The provider outlives it and counts. Prints what happened as JSON; fails where anything is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cloud_bridge.device_key import DeviceKey
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from tests.crashes.clients import PLANTED, Crowd, Memory
from tests.crashes.counting import Provider, provider
from tests.daemon.bridge_process import BridgeProcess
from tests.daemon.conftest import KEY, SMOL
from tests.daemon.running_daemon import MODULE, RunningDaemon, daemon
from tests.daemon.upstream_process import provider_config
from tests.model_files import small_models
from tests.state.acknowledged import views
from tests.upstream import Answer

CLIENTS = 5
WEATHERS = ("up", "slow", "down", "failing", "flapping")


@dataclass
class Report:
    """What happened."""

    bridge: str
    kills: int = 0
    answers: int = 0
    jobs: int = 0
    forgotten: int = 0
    provider_calls: int = 0
    repeated: int = 0
    integrity_checks: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Harness:
    """One home, its daemon, and the provider."""

    def __init__(self, running: RunningDaemon, there: Provider, bridge: str, random: Random) -> None:
        self._running = running
        self._there = there
        self._random = random
        self._checked = 0
        self.memory = Memory()
        self.report = Report(bridge)

    def warm(self) -> None:
        """Wait until the first answers are there: only then a life is busy."""
        for model in ("local", "cloud"):
            self._running.chat(f"Tell {PLANTED} hello.", model=model, edge={"cache": False}).raise_for_status()

    def life(self) -> None:
        """One busy life, its end, and what is found afterwards. The daemon runs before and after."""
        running = self._running
        weather = self._random.choice(WEATHERS)
        self._weather("up")
        self.warm()
        self._weather(weather)
        crowd = Crowd(running, self.memory, self._random, clients=CLIENTS)
        crowd.start()
        ends = time.monotonic() + self._random.uniform(0.05, 2.0)
        while time.monotonic() < ends:
            time.sleep(min(0.3, max(0.0, ends - time.monotonic())))
            if weather == "flapping":
                self._weather(self._random.choice(("up", "down")))
        running.stop(signal.SIGKILL)
        crowd.join()
        self.report.kills += 1
        running.start()
        with self._state() as state:
            self._check(state)

    def finish(self) -> Report:
        """Let the outbox empty, and hold all lives together to what was told."""
        self._weather("up")
        self._empty_outbox()
        self._running.stop()
        with self._state(owner=True) as state:
            self._checked = 0
            self._check(state)
            self._check_jobs(state)
            self._check_calls(state)
            self._check_ledger(state)
            before = views(state)
            state.rebuild()
            self._expect(views(state) == before, "the views are not what the log says")
        report, upstream = self.report, self._there.upstream
        report.answers = sum(told.text is not None for told in self.memory.told)
        report.forgotten = len(self.memory.forgotten)
        report.refused = dict(Counter(self.memory.problems))
        report.provider_calls = upstream.begun.total()
        return report

    def _weather(self, weather: str) -> None:
        slow = Answer(pieces="odd", piece_delay_s=0.02)
        match weather:
            case "down":
                self._there.down()
            case "failing":
                self._there.up(Answer(status=500), Answer(status=429), Answer(), Answer(status=500))
            case "slow":
                self._there.up(slow)
            case _:
                self._there.up(Answer(), Answer(), slow, Answer())

    @contextmanager
    def _state(self, *, owner: bool = False) -> Iterator[State]:
        home = self._running.home
        with State.open(home / "state.db", HomeKey(home).open(), owner=owner) as state:
            yield state

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.report.wrong.append(f"after {self.report.kills} kills: {otherwise}")

    def _check(self, state: State) -> None:
        """The file is whole, the ledger holds, and what was told in the newest life is there."""
        with state.log.reading() as tx:
            found = tx.db.execute("PRAGMA integrity_check").fetchall()
            count, first, last = tx.db.execute("SELECT count(*), min(seq), max(seq) FROM events").fetchone()
        self.report.integrity_checks += 1
        self._expect(found == [("ok",)], f"integrity_check: {found}")
        self._expect((first, last) == (1, count) or not count, f"{count} events, numbered {first} to {last}")
        state.verify_ledger()
        there = {session.id for session in state.sessions()}
        for told in self.memory.told[self._checked :]:
            if told.session_id in self.memory.forgotten:
                self._expect(told.session_id not in there, f"{told.session_id} was forgotten, and is there")
            elif told.session_id not in self.memory.forgetting:
                self._check_told(state, told.session_id, told.text, told.job_id)
        self._checked = len(self.memory.told)

    def _check_told(self, state: State, session_id: str, text: str | None, job_id: str | None) -> None:
        turns = state.session(session_id).turns
        answers = [answer.text for turn in turns for answer in turn.answers]
        self._expect(text is None or text in answers, f"{session_id}: an answer that was given is not there")
        if job_id is not None:
            job = state.job(job_id)
            self._expect(job.status in {"queued", "sending", "done"}, f"job {job_id}: {job.status}, {job.reason}")

    def _empty_outbox(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            self._running.http.post("/edge/v1/outbox/flush", json={})
            with self._state() as state:
                counts = state.count_jobs()
            if not counts["queued"] + counts["sending"]:
                return
            time.sleep(0.5)
        self.report.wrong.append(f"the outbox does not empty: {counts}")

    def _check_jobs(self, state: State) -> None:
        """What was accepted for later has its answer by now."""
        for told in self.memory.told:
            if told.job_id is None or told.session_id in self.memory.forgetting:
                continue
            job = state.job(told.job_id)
            self.report.jobs += 1
            self._expect(job.status == "done" and PLANTED in (job.answer or ""), f"job {job.id}: {job.status}")

    def _check_calls(self, state: State) -> None:
        """No call is made twice, but for one in flight when its process was killed, and then the record says so.

        Where the bridge lives on, not even then.
        """
        upstream, remote = self._there.upstream, self.report.bridge == "remote"
        jobs = {job.idempotency_key: job for job in state.jobs()}
        with state.log.reading() as tx:
            found = tx.db.execute("SELECT parent, count(*) FROM events WHERE kind = 'job.recovered' GROUP BY parent")
            recovered = dict(found.fetchall())
        self.report.repeated = sum(job.repeated for job in jobs.values())
        for sent, begun in upstream.begun.items():
            job = None if remote else jobs.get(sent)
            self._expect(remote or job is not None, f"the provider was called for {sent}, and there is no job")
            # One more for each kill that found the job being sent, and no other.
            again = 0 if job is None or not job.repeated else recovered.get(job.id, 0)
            self._expect(begun <= 1 + again, f"{sent}: called {begun} times")

    def _check_ledger(self, state: State) -> None:
        """What the provider got was in the ledger first, byte for byte; the bridge makes its own bytes."""
        if self.report.bridge == "remote":
            return
        entries = state.ledger()
        known = {entry.sha256 for entry in entries}
        forgotten = sum(entry.sha256 is None for entry in entries)
        unknown = [
            request
            for request in self._there.upstream.requests
            if hashlib.sha256(request.body).hexdigest() not in known
        ]
        self._expect(len(unknown) <= forgotten, f"{len(unknown)} requests are not in the ledger")
        self._expect(PLANTED.encode() not in self._there.upstream.received, "a name left the device")


@contextmanager
def _chain(home: Path, there: Provider, bridge: str, module: str) -> Iterator[RunningDaemon]:
    """The daemon, and between it and the provider its own bridge, or one in a process of its own that lives on."""
    there.up(Answer())
    url, environ = there.upstream.url, {"STAND_IN_KEY": KEY}
    with ExitStack() as stack:
        if bridge == "embedded":
            config = SMOL + provider_config(url) + "[cache]\nexact = false\n"
            yield stack.enter_context(daemon(home, small_models(), config, module=module, **environ))
            return
        folder = home.parent / "bridge"
        folder.mkdir()
        (folder / "config.toml").write_text(provider_config(url).replace("[[bridge.providers]]", "[[providers]]"))
        service = BridgeProcess(folder, environ={**os.environ, "CLOUD_BRIDGE_HOME": str(folder), **environ})
        stack.callback(service.kill)
        service.start()
        config = SMOL + f'[bridge]\nmode = "remote"\nurl = "http://127.0.0.1:{service.port}"\n[cache]\nexact = false\n'
        running = stack.enter_context(daemon(home, small_models(), config, module=module))
        device = DeviceKey.load_or_create(home / "keys" / "device.key")
        service.command("devices", "enroll", "laptop", "--public-key", device.public_id)
        yield running


def kill_daemons(folder: Path, kills: int, random: Random, *, bridge: str, light: bool) -> Report:
    """Kill so many; what came of it. `light`: with stand-ins for what takes seconds to load (light_daemon.py)."""
    module = "tests.crashes.light_daemon" if light else MODULE
    with provider() as there, _chain(folder / "edge", there, bridge, module) as running:
        harness = Harness(running, there, bridge, random)
        for _ in range(kills):
            harness.life()
        return harness.finish()


def main() -> None:
    """Kill daemons of one's own."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashes.killed_daemon")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--bridge", choices=("embedded", "remote"), default="embedded")
    parser.add_argument("--whole", action="store_true", help="with the real model and detector")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-kills-") as scratch:
        random = Random(given.seed)  # noqa: S311 - moments, not secrets
        report = kill_daemons(Path(scratch), given.kills, random, bridge=given.bridge, light=not given.whole)
    sys.stdout.write(json.dumps(report.__dict__, indent=2) + "\n")
    sys.exit(bool(report.wrong))


if __name__ == "__main__":
    main()
