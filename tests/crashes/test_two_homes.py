"""Two devices and a bridge through anything: nothing is lost, nothing is paid twice, all agree, what is forgotten is.

The suite takes a short walk; a long one: EDGE_AGENT_TEST_WALKS=500 python -m pytest tests/crashes/test_two_homes.py
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from cloud_bridge.protocol.problems import Problem
from edge_agent.state.sync import membership as memberships
from tests.crashes.two_homes import Home, two_homes

WALKS = int(os.environ.get("EDGE_AGENT_TEST_WALKS", "12"))
LONG = 100
STEPS = 30
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Kills are of processes here, not of the power: nothing need wait for a disk."""

SESSIONS = ("first", "second")
FATES = ("arrives", "lost", "answer lost", "answer cut", "twice", "late")
DAY_S = 86_400.0
JUMPS = (0.0, 30.0, -30.0, 2 * DAY_S, -2 * DAY_S, 1200 * DAY_S, -1200 * DAY_S, 9000 * DAY_S)

devices = st.sampled_from((0, 1))
sessions = st.sampled_from(SESSIONS)
fates = st.lists(st.sampled_from(FATES), max_size=3)
moments = st.sampled_from(("now", "before", "after"))


@dataclass(frozen=True)
class Accepted:
    """What the model knows of a turn: on which device, after which forgetting, what was said, and the job's key."""

    device: int
    session_id: str
    epoch: str
    question: str
    answer: str | None
    key: str | None


class TwoHomes(RuleBasedStateMachine):
    """The model: a table of what was accepted. Everything else is the product."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = tempfile.TemporaryDirectory(prefix="edge-walk-", dir=MEMORY)
        self.accepted: dict[str, Accepted] = {}
        self.said = 0

    @initialize()
    def begin(self) -> None:
        found = self.run(self.stack.enter_async_context(two_homes(Path(self.folder.name) / "homes")))
        one, other, self.bridge, self.upstream = found
        self.homes: tuple[Home, Home] = (one, other)

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    # What a person does

    @rule(device=devices, session_id=sessions, goes_on=st.none() | st.integers(0, 5), queued=st.booleans())
    def ask(self, device: int, session_id: str, goes_on: int | None, queued: bool) -> None:
        home = self.homes[device]
        self.said += 1
        name = f"Nora Quill{self.said}"
        question, answer = f"Question{self.said} to {name}", f"Answer{self.said} of {name}"
        history = [] if goes_on is None else home.history_to(session_id, goes_on)
        epoch = home.forgotten_at(session_id)
        request_id, conversation = home.accept(session_id, history, question)
        decision_id = home.state.new_id()
        job_id = self.run(home.queue(request_id, session_id, conversation, decision_id)) if queued else None
        home.answer_here(request_id, session_id, answer, decision_id, provisional=queued)
        if job_id is not None:
            home.state.retry_job(job_id, 0)
        key = decision_id if queued else None
        self.accepted[request_id] = Accepted(device, session_id, epoch, question, answer, key)

    @rule(device=devices, session_id=sessions)
    def ask_and_be_killed(self, device: int, session_id: str) -> None:
        """Between being accepted and being answered."""
        home = self.homes[device]
        self.said += 1
        question, epoch = f"Question{self.said} to Nora Quill{self.said}", home.forgotten_at(session_id)
        request_id, _ = home.accept(session_id, [], question)
        home.kill()
        self.accepted[request_id] = Accepted(device, session_id, epoch, question, None, None)

    @rule(device=devices, session_id=sessions)
    def forget(self, device: int, session_id: str) -> None:
        with suppress(Problem):
            self.homes[device].state.forget(session_id)

    @rule(device=devices, session_id=sessions, number=st.integers(0, 5))
    def choose(self, device: int, session_id: str, number: int) -> None:
        home = self.homes[device]
        answers = [answer.id for turn in home.turns(session_id) for answer in turn.answers]
        if answers:
            home.state.choose(session_id, answers[number % len(answers)])

    # What the world does

    @rule(device=devices, fates=fates)
    def sync(self, device: int, fates: list[str]) -> None:
        home = self.homes[device]
        home.wire.fates = list(fates)
        with suppress(Problem):
            self.run(home.sync())

    @rule(device=devices, fates=fates)
    def flush(self, device: int, fates: list[str]) -> None:
        home = self.homes[device]
        home.wire.fates = list(fates)
        self.run(home.outbox.flush())

    @rule()
    def an_hour_of_good_network(self) -> None:
        for home in (*self.homes, *self.homes):
            home.wire.is_cut = False
            self.run(home.outbox.flush())
            with suppress(Problem):
                self.run(home.sync())

    @rule(device=devices)
    def cut(self, device: int) -> None:
        self.homes[device].wire.is_cut = True

    @rule(device=devices)
    def what_was_late_arrives(self, device: int) -> None:
        self.run(self.homes[device].wire.deliver_late())

    @rule(device=devices, moment=moments, flushes=st.booleans())
    def kill_device(self, device: int, moment: str, flushes: bool) -> None:
        home = self.homes[device]
        if moment == "now":
            home.kill()
        else:
            self.run(home.killed_in(moment, home.outbox.flush if flushes else home.sync))
        self.check_own(device)

    @rule(at_call=st.booleans())
    def kill_bridge(self, at_call: bool) -> None:
        self.bridge.dies_at_call = at_call
        if not at_call:
            self.run(self.bridge.restart())

    @rule()
    def start_bridge(self) -> None:
        if self.bridge.left is not None:
            self.run(self.bridge.restart())

    @rule(device=devices, ahead_s=st.sampled_from(JUMPS))
    def clock_jumps(self, device: int, ahead_s: float) -> None:
        self.homes[device].ahead_s = ahead_s

    # What must hold

    def check_own(self, device: int) -> None:
        """All that was accepted here is here, but for what this device knows to be forgotten."""
        home = self.homes[device]
        for request_id, was in self.accepted.items():
            if was.device == device and was.epoch == home.forgotten_at(was.session_id):
                self.check_turn(home, request_id, was)

    def check_turn(self, home: Home, request_id: str, was: Accepted) -> None:
        turn = next(turn for turn in home.turns(was.session_id) if turn.id == request_id)
        assert turn.messages[-1]["parts"][0]["text"] == was.question
        if was.answer is not None:
            assert turn.answers[0].text == was.answer

    def teardown(self) -> None:
        try:
            if hasattr(self, "homes"):
                self.heal()
                self.check_converged()
                self.check_calls()
                self.check_forgotten()
        finally:
            self.run(self.stack.aclose())
            self.runner.close()
            self.folder.cleanup()

    def heal(self) -> None:
        """Everything works again; reconcile until all is quiet."""
        self.run(self.bridge.restart())
        for home in self.homes:
            home.wire.is_cut, home.wire.fates, home.ahead_s = False, [], 0.0
            self.run(home.wire.deliver_late())
            self.run(home.remote.reachable())
        for _ in range(10):
            moved = 0
            for home in self.homes:
                flushed = self.run(home.outbox.flush())
                synced = self.run(home.sync())
                moved += flushed.sent + flushed.queued + synced.told + synced.heard
            if not moved:
                return
        raise AssertionError("it does not come to rest")

    def check_converged(self) -> None:
        one, other = self.homes
        assert one.shown() == other.shown()
        newest = {session_id: one.forgotten_at(session_id) for session_id in SESSIONS}
        alive = {request_id: was for request_id, was in self.accepted.items() if was.epoch == newest[was.session_id]}
        for home in self.homes:
            assert newest == {session_id: home.forgotten_at(session_id) for session_id in SESSIONS}
            assert {turn.id for session_id in SESSIONS for turn in home.turns(session_id)} == set(alive)
            for request_id, was in alive.items():
                self.check_turn(home, request_id, was)
            shown = home.shown()
            home.state.verify_ledger()
            home.state.check()
            home.state.rebuild()
            assert home.shown() == shown
        for session_id in SESSIONS:
            assert one.state.history(session_id) == other.state.history(session_id)

    def check_calls(self) -> None:
        """Each key was called once, and answered; a second call is one that was in flight when the bridge died."""
        newest = {session_id: self.homes[0].forgotten_at(session_id) for session_id in SESSIONS}
        called = dict(self.upstream.begun)
        for request_id, was in self.accepted.items():
            if was.key is None:
                continue
            home = self.homes[was.device]
            calls = called.pop(hashlib.sha256(f"{home.name}\n{was.key}".encode()).hexdigest(), 0)
            record = self.bridge.service.store.call(home.name, was.key)
            assert calls <= 1 or (record is not None and record.repeated), f"called {calls} times"
            if was.epoch == newest[was.session_id]:
                assert calls >= 1
                turn = next(turn for turn in home.turns(was.session_id) if turn.id == request_id)
                provisional, late = turn.answers[0], turn.answers[-1]
                assert (late.text, late.revises) == (was.question, provisional.id)
        assert not called

    def check_forgotten(self) -> None:
        """What was forgotten has no key anywhere, and nobody's words are in any file."""
        newest = {session_id: self.homes[0].forgotten_at(session_id) for session_id in SESSIONS}
        group = memberships.load(self.homes[0].state.log)
        assert group is not None
        living = {group.keys.subject(session_id, epoch) for session_id, epoch in newest.items()}
        with self.bridge.database.transaction() as db:
            subjects = {row["subject"] for row in db.query("SELECT subject FROM sync_keys")}
        assert subjects <= living
        there = {session_id for session_id in SESSIONS if self.homes[0].turns(session_id)}
        for home in self.homes:
            with home.state.log.reading() as tx:
                keys = {session_id for (session_id,) in tx.db.execute("SELECT session_id FROM session_keys")}
            assert keys & set(SESSIONS) <= there | {s for s in SESSIONS if not newest[s]}
            content = b"".join(file.read_bytes() for file in home.home.glob("state.db*"))
            assert b"Quill" not in content
            assert b"Question" not in content
        assert not any(b"Quill" in file.read_bytes() for file in self.bridge.path.parent.iterdir())


@pytest.mark.slow
def test_two_devices_and_a_bridge_through_anything() -> None:
    run_state_machine_as_test(
        TwoHomes,
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=WALKS < LONG,
            suppress_health_check=list(HealthCheck),
            # To find the shortest way to a failure takes minutes: the long walk does.
            phases=(Phase.generate, Phase.shrink) if WALKS >= LONG else (Phase.generate,),
        ),
    )
