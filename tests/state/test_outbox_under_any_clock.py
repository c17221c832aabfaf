"""Whatever the clock does, each job is sent once and in its session's order, and none is lost."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import Escalation, conversation_to_json
from cloud_bridge.protocol.masked import Masked
from edge_agent.state import outbox
from edge_agent.state.jobs import PRIORITIES, Priority, Wish
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State

RIGHT = 1.8e9
CLOCKS = [-1e10, 0.0, 1.0, RIGHT, RIGHT + 3600, 4.1e9, 253402300799.0, 1e13]
ASKED = Conversation((Message("user", (Text("q"),)),))


class Outbox(RuleBasedStateMachine):
    """Of ids that rise, and of who may be sent, the clock decides nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.now = RIGHT
        self.state = self._open()
        self.queued: dict[str, list[str]] = defaultdict(list)
        self.sending: list[str] = []
        self.failed: list[str] = []
        self.ended: set[str] = set()

    def _open(self, *, owner: bool = False) -> State:
        return State.open(self.home / "state.db", HomeKey(self.home).open(), owner=owner, now=lambda: self.now)

    @rule(session=st.sampled_from("abc"), priority=st.sampled_from(PRIORITIES))
    def queue(self, session: str, priority: Priority) -> None:
        request = self.state.accept_request(session, conversation_to_json(ASKED))
        key = f"{session}-{len(self.queued[session])}"
        job = self.state.enqueue(
            Escalation(Masked(ASKED, {}), key, session, ""), "offline", request_id=request, wish=Wish(priority)
        )
        self.queued[session].append(job.id)

    @rule(now=st.sampled_from(CLOCKS))
    def jump(self, now: float) -> None:
        self.now = now

    @rule(longest=st.booleans())
    def claim(self, longest: bool) -> None:
        job = outbox.claim_next(self.state.log, self.now, longest=longest)
        if job is not None:
            assert job.id not in self.sending
            self._is_its_sessions_turn(job.session_id, job.id)
            self.sending.append(job.id)

    @precondition(lambda self: self.sending)
    @rule(data=st.data(), wait_s=st.sampled_from([0.0, 300.0, 86_000.0]))
    def put_back(self, data: st.DataObject, wait_s: float) -> None:
        self.state.retry_job(self._one(data, self.sending), self.now + wait_s)

    @precondition(lambda self: self.sending)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        job_id = self._one(data, self.sending)
        self.state.finish_job(job_id, "x")
        self.ended.add(job_id)

    @precondition(lambda self: self.sending)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        job_id = self._one(data, self.sending)
        self.state.fail_job(job_id, "refused")
        self.ended.add(job_id)
        self.failed.append(job_id)

    @precondition(lambda self: self.failed)
    @rule(data=st.data())
    def send_after_all(self, data: st.DataObject) -> None:
        self.ended.remove(outbox.requeue(self.state.log, self._one(data, self.failed), self.now).id)

    @rule()
    def die_and_start_again(self) -> None:
        self.state.close()
        self.state = self._open(owner=True)
        self.sending.clear()

    @invariant()
    def nothing_is_lost(self) -> None:
        counted = self.state.count_jobs()
        assert counted["sending"] == len(self.sending)
        assert counted["failed"] == len(self.failed)
        assert sum(counted.values()) == sum(map(len, self.queued.values()))

    def teardown(self) -> None:
        """The clock is right from now on, and time passes: everything ends."""
        before = self.state.jobs(), self.state.count_jobs()
        self.state.rebuild()
        assert (self.state.jobs(), self.state.count_jobs()) == before
        for job_id in self.sending:
            self.state.retry_job(job_id, self.now)
        self.now = RIGHT
        left = before[1]["queued"] + before[1]["sending"]
        for _ in range(left + 1):
            self.now += outbox.LONGEST_WAIT_S + 1
            while (job := self.state.claim_next(self.now)) is not None:
                self._is_its_sessions_turn(job.session_id, job.id)
                self.state.finish_job(job.id, "x")
                self.ended.add(job.id)
        assert self.ended == {each for ids in self.queued.values() for each in ids}
        assert all(ids == sorted(ids) for ids in self.queued.values())
        self.state.close()
        shutil.rmtree(self.home)

    def _is_its_sessions_turn(self, session: str, job_id: str) -> None:
        assert next(each for each in self.queued[session] if each not in self.ended) == job_id

    def _one(self, data: st.DataObject, jobs: list[str]) -> str:
        return jobs.pop(data.draw(st.integers(0, len(jobs) - 1)))


TestOutbox = Outbox.TestCase
TestOutbox.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)
