"""The outbox emptied through a real bridge into a recording upstream, by a clock that the test sets."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cloud_bridge.client import embedded_bridge
from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import Escalation, conversation_to_json
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import Conflict, InvalidRequest, Unavailable
from cloud_bridge.protocol.report import Report
from cloud_bridge.providers.config import ProviderConfig
from edge_agent.feed import Feed
from edge_agent.http.requests import edge_options
from edge_agent.outbox_gate import Gate, OutboxRules
from edge_agent.outbox_worker import OutboxWorker
from edge_agent.outcomes import Outcomes
from edge_agent.state.jobs import Job, Wish
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from edge_agent.turn import Request, Unsent
from tests.daemon.staged_agent import ROUTED, Stage
from tests.upstream import Answer, RecordingUpstream

pytestmark = pytest.mark.anyio

NOON = 1_800_014_400.0  # 2027-01-15T12:00:00Z
DAY = 86_400.0
COST_USD = 7.0  # of any answer, as this upstream counts tokens
HELLO = Conversation((Message("user", (Text("hello"),)),))


class Desk:
    """A state, a bridge and an upstream, and workers on them. `network`: how the machine is connected."""

    def __init__(self, state: State, stage: Stage, clock: list[float]) -> None:
        self.state, self.stage, self.cloud, self.clock = state, stage, stage.cloud, clock
        self.escalator: Any = stage.escalator
        self.network: Any = "online"
        self.trusts_clock = False
        self.feed = Feed()
        self._numbers = itertools.count()

    def queue(self, text: str, session: str = "", *, max_cost: float | None = None, **wish: Any) -> str:
        """A job whose decision is on record, as the agent leaves it."""
        number = next(self._numbers)
        session = session or f"s{number}"
        asked = Conversation((Message("user", (Text(text),)),))
        request = self.state.accept_request(session, conversation_to_json(asked))
        report = {"decision_id": f"d{number}", "session_id": session, "route": "queued", "cost_usd": 0.0}
        self.state.record_decision(report, request_id=request)
        escalation = Escalation(Masked(asked, {}), f"key-{number}", session, "", max_cost_usd=max_cost)
        return self.state.enqueue(
            escalation, "offline", request_id=request, decision_id=f"d{number}", wish=Wish(**wish)
        ).id

    def worker(
        self, *, day: float = 0.0, parallel: int = 1, state: Any = None, outcomes: Outcomes | None = None, **rules: Any
    ) -> OutboxWorker:
        gate = Gate(
            OutboxRules(usd_per_day=day, **rules),
            spent=self.state.spent_since,
            network=lambda: self.network,
            estimate=lambda _: 1.0,
            check_clock=(lambda: None) if self.trusts_clock else self.state.check_clock,
            now=self._now,
        )
        return OutboxWorker(
            state=state or self.state,
            escalator=self.escalator,
            feed=self.feed,
            gate=gate,
            outcomes=outcomes,
            parallel=parallel,
            now=self._now,
            sleep=self._sleep,
        )

    @asynccontextmanager
    async def running(self, worker: OutboxWorker) -> AsyncIterator[None]:
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 - what is waited for is in a database
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Some polls later."""
        slept = self._slept
        await self.until(lambda: self._slept >= slept + 4)

    def texts(self) -> list[str]:
        return [str(recorded.json["messages"][-1]["content"]) for recorded in self.cloud.requests]

    def keys(self) -> Counter[str]:
        return Counter(recorded.headers["idempotency-key"] for recorded in self.cloud.requests)

    def job(self, job_id: str) -> Job:
        return self.state.job(job_id)

    _slept = 0

    def _now(self) -> float:
        return self.clock[0]

    async def _sleep(self, _: float) -> None:
        self._slept += 1
        await asyncio.sleep(0.002)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = [NOON]
    async with AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(RecordingUpstream())
        cloud.will(Answer(text="done"))
        config = ProviderConfig("stand-in", "openai", cloud.url, "", "big", usd_per_mtok_out=1e6)
        bridge = await stack.enter_async_context(embedded_bridge([config], tmp_path / "calls.db"))
        state = State.open(tmp_path / "state.db", HomeKey(tmp_path).open(), now=lambda: clock[0])
        stack.enter_context(state)
        yield Desk(state, Stage(state, bridge, cloud), clock)


async def test_the_higher_priorities_go_first_and_the_low_ones_are_not_starved(desk: Desk) -> None:
    low = [desk.queue(f"low {n}", priority="low") for n in range(3)]
    for n in range(12):
        desk.queue(f"high {n}", priority="high")
    async with desk.running(desk.worker()):
        await desk.until(lambda: desk.state.count_jobs()["done"] == 15)
    texts = desk.texts()
    assert texts == ["low 0", *(f"high {n}" for n in range(7)), "low 1", *(f"high {n}" for n in range(7, 12)), "low 2"]
    assert {desk.job(job_id).answer for job_id in low} == {"done"}
    assert set(desk.keys().values()) == {1}


async def test_a_person_who_flushes_gets_everything_tried_once_the_higher_priorities_first(desk: Desk) -> None:
    for name in ("low", "normal", "high"):
        desk.queue(f"{name} 1", name, priority=name)
        desk.queue(f"{name} 2", name, priority=name)
    desk.cloud.will(Answer(status=500), Answer(text="done"))
    flushed = await desk.worker().flush()
    assert (flushed.sent, flushed.queued, flushed.failed) == (4, 1, 0)
    assert desk.texts() == ["high 1", "normal 1", "normal 2", "low 1", "low 2"]


async def test_a_flush_beside_the_worker_and_another_flush_sends_nothing_twice_and_keeps_the_order(desk: Desk) -> None:
    for n in range(12):
        desk.queue(f"{n}", f"session {n % 3}")
    worker = desk.worker(parallel=4)
    async with desk.running(worker):
        await asyncio.gather(worker.flush(), worker.flush())
        await desk.until(lambda: desk.state.count_jobs()["done"] == 12)
    assert set(desk.keys().values()) == {1}
    for session in range(3):
        assert [text for text in desk.texts() if int(text) % 3 == session] == [f"{n}" for n in range(session, 12, 3)]


async def test_what_came_to_be_worth_nothing_is_never_sent(desk: Desk) -> None:
    gone, behind = desk.queue("gone", "s", expires_s=60), desk.queue("behind", "s")
    desk.clock[0] += 61
    async with desk.running(desk.worker()):
        await desk.until(lambda: desk.job(behind).status == "done")
    assert (desk.job(gone).status, desk.job(gone).reason) == ("failed", "expired")
    assert desk.texts() == ["behind"]


async def test_what_comes_to_be_worth_nothing_while_others_are_sent_is_not_sent_either(desk: Desk) -> None:
    desk.queue("slow", priority="high")
    gone = desk.queue("gone", expires_s=60)
    real = desk.escalator

    def deliver(job: Job, record: Any) -> Any:
        desk.clock[0] += 61
        return real.deliver(job, record)

    desk.escalator = SimpleNamespace(deliver=deliver, record=real.record, reachable=real.reachable)
    assert (await desk.worker().flush()).failed == 1
    assert (desk.job(gone).reason, desk.texts()) == ("expired", ["slow"])


async def test_what_may_cost_too_much_is_set_aside(desk: Desk) -> None:
    dear, cheap = desk.queue("dear", "s", max_cost=0.9), desk.queue("cheap", "s", max_cost=1.1)
    assert (await desk.worker().flush()).failed == 1
    assert (desk.job(dear).status, desk.job(dear).reason) == ("failed", "cost_cap")
    assert "max_cost_usd" in desk.job(dear).advice
    assert (desk.job(cheap).status, desk.texts()) == ("done", ["cheap"])


async def test_a_spent_budget_holds_the_outbox_until_the_next_day(desk: Desk) -> None:
    first, second, third = (desk.queue(f"{n}") for n in range(3))
    worker = desk.worker(day=1.5)  # less than one answer
    async with desk.running(worker):
        await desk.until(lambda: desk.job(second).reason == "budget_spent")
        await desk.settled()
        attempts = [desk.job(each).attempts for each in (second, third)]
        await desk.settled()
        assert [desk.job(each).attempts for each in (second, third)] == attempts  # not tried again and again
        assert [desk.job(each).status for each in (first, second, third)] == ["done", "queued", "queued"]
        assert desk.texts() == ["0"]
        desk.clock[0] += DAY / 2 + 10
        await desk.until(lambda: desk.state.count_jobs()["done"] == 2)
        desk.clock[0] += DAY
        await desk.until(lambda: desk.state.count_jobs()["done"] == 3)
    assert sorted(desk.texts()) == ["0", "1", "2"]


async def test_a_flush_does_not_spend_more_than_the_budget_and_says_so(desk: Desk) -> None:
    for n in range(3):
        desk.queue(f"{n}")
    worker = desk.worker(day=1.0)
    flushed = await worker.flush()
    assert (flushed.sent, flushed.queued) == (1, 2)
    again = await worker.flush()
    assert (again.held, again.sent, again.queued) == ("budget_spent", 0, 2)
    assert len(desk.texts()) == 1


async def test_a_raised_budget_counts_from_the_next_start(desk: Desk) -> None:
    desk.queue("0")
    late = desk.queue("1")
    await desk.worker(day=1.0).flush()
    assert desk.job(late).reason == "budget_spent"
    assert desk.job(late).not_before >= NOON + DAY / 2
    async with desk.running(desk.worker(day=9.0)):
        await desk.until(lambda: desk.job(late).status == "done")


async def test_a_metered_network_is_waited_out_unless_a_person_says_otherwise(desk: Desk) -> None:
    desk.network = "metered"
    desk.queue("0")
    worker = desk.worker()
    async with desk.running(worker):
        await desk.until(lambda: worker.held == "metered")
        await desk.settled()
        assert desk.texts() == []
        assert (await worker.flush()).sent == 1
        later = desk.queue("1")
        await desk.settled()
        assert desk.job(later).status == "queued"
        desk.network = "online"
        await desk.until(lambda: desk.job(later).status == "done")
    last = desk.queue("2")
    desk.network = "metered"
    async with desk.running(desk.worker(metered="send")):
        await desk.until(lambda: desk.job(last).status == "done")


async def test_while_the_clock_is_wrong_nothing_is_tried(desk: Desk) -> None:
    job_id = desk.queue("0")
    desk.clock[0] -= 30 * DAY
    worker = desk.worker()
    async with desk.running(worker):
        await desk.until(lambda: worker.held == "clock_wrong")
        await desk.settled()
        assert (await worker.flush()).held == "clock_wrong"
        assert desk.job(job_id).attempts == 0
        desk.clock[0] += 30 * DAY
        await desk.until(lambda: desk.job(job_id).status == "done")


async def test_a_provider_that_only_fails_is_given_a_rest_by_all_that_waits(desk: Desk) -> None:
    desk.cloud.will(Answer(status=429, headers=(("Retry-After", "60"),)))
    for n in range(5):
        desk.queue(f"{n}")
    async with desk.running(desk.worker(parallel=4)):
        await desk.cloud.wait_for_requests(1)
        for _ in range(5):
            await desk.settled()
    assert len(desk.cloud.requests) == 1
    desk.cloud.will(Answer(text="done"))
    assert (await desk.worker().flush()).sent == 5


async def test_only_refusals_count_and_they_count_across_restarts(desk: Desk) -> None:
    refused, behind = desk.queue("refused", "s"), desk.queue("behind", "s")
    statuses = [400, 500, 400, 500, 400, 500, 400]
    for status in statuses:
        desk.cloud.will(Answer(status=status))
        await desk.worker().flush()
    assert (desk.job(refused).status, desk.job(refused).refusals) == ("queued", 4)
    desk.cloud.will(Answer(status=400), Answer(text="done"))
    await desk.worker().flush()
    assert (desk.job(refused).status, desk.job(refused).reason) == ("failed", "provider_rejected")
    await desk.worker().flush()
    assert desk.job(behind).status == "done"
    await desk.worker().retry(refused)
    await desk.worker().flush()
    assert desk.job(refused).answer == "done"
    assert set(desk.keys()) == {"key-0", "key-1"}


async def test_jobs_that_cannot_be_read_are_set_aside_and_the_others_go_on(desk: Desk) -> None:
    altered, emptied, torn = (desk.queue(name, name) for name in ("altered", "emptied", "torn"))
    whole = desk.queue("whole", "torn")
    with desk.state.log.transaction() as tx:
        tx.db.execute("DROP TRIGGER events_are_immutable")
        tx.db.execute("UPDATE events SET body = zeroblob(90) WHERE id = ?", (altered,))
        tx.db.execute("UPDATE events SET body = x'' WHERE id = ?", (emptied,))
        tx.db.execute("UPDATE events SET meta = '{' WHERE id = ?", (torn,))
    flushed = await desk.worker().flush()
    assert (flushed.sent, flushed.failed) == (1, 3)
    assert all(desk.job(each).status == "failed" and desk.job(each).advice for each in (altered, emptied, torn))
    assert desk.job(whole).status == "done"


async def test_a_crash_of_our_own_on_one_job_is_its_own_affair(desk: Desk) -> None:
    bad, good = desk.queue("bad", "s"), desk.queue("good", "s")
    real = desk.escalator

    def deliver(job: Job, record: Any) -> Any:
        if job.id == bad:
            raise ZeroDivisionError
        return real.deliver(job, record)

    desk.escalator = SimpleNamespace(deliver=deliver, record=real.record, reachable=real.reachable)
    async with desk.running(desk.worker()):
        await desk.until(lambda: desk.job(good).status == "done")
    assert (desk.job(bad).status, desk.job(bad).reason) == ("failed", "internal_error")


async def test_what_was_paid_counts_though_the_decision_never_was_recorded(desk: Desk) -> None:
    request = desk.state.accept_request("s", conversation_to_json(HELLO))
    escalation = Escalation(Masked(HELLO, {"PERSON": 1}), "key", "s", f"00-{'1' * 32}-{'2' * 16}-01")
    desk.state.enqueue(escalation, "offline", request_id=request, decision_id="lost")
    await desk.worker(day=5).flush()
    assert desk.state.spent_since(NOON - DAY) == COST_USD
    decided = desk.state.decision("lost")
    assert (decided["reasons"], decided["trace_id"]) == (["interrupted"], "1" * 32)
    assert decided["privacy"]["entities"] == {"PERSON": 1}


async def test_what_a_client_wishes_reaches_the_job(desk: Desk) -> None:
    edge = edge_options({"defer": "always", "priority": "high", "expires_s": 90, "session_id": "s"})
    desk.stage.situation = replace(ROUTED, cloud_policy="always", cloud_available=False)
    (report,) = await desk.stage.answer(Request(HELLO, edge=edge))
    assert isinstance(report, Report)
    job = desk.job(report.job_id or "")
    assert (job.status, job.priority, job.expires_at) == ("queued", "high", NOON + 90)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"priority": "urgent"}, "edge.priority"),
        ({"priority": 1}, "edge.priority"),
        ({"expires_s": 0}, "edge.expires_s"),
        ({"expires_s": "soon"}, "edge.expires_s"),
        ({"expires_s": 1e300}, "edge.expires_s"),
        ({"expires_s": float("nan")}, "edge.expires_s"),
    ],
)
async def test_a_wish_that_is_none_is_refused_by_its_name(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        edge_options(wrong)
    assert caught.value.param == param


async def test_after_an_outage_one_goes_first_and_the_others_when_it_was_answered(desk: Desk) -> None:
    there = False
    real = desk.escalator

    async def reachable() -> bool:
        return there

    desk.escalator = SimpleNamespace(deliver=real.deliver, record=real.record, reachable=reachable)
    desk.cloud.will(Answer(text="done", hold_after=0))
    for n in range(9):
        desk.queue(f"{n}")
    worker = desk.worker(parallel=4)
    async with desk.running(worker):
        await desk.until(lambda: worker.held == "cloud_unreachable")
        there = True
        await desk.cloud.wait_for_requests(1)
        await desk.settled()
        assert len(desk.cloud.requests) == 1
        desk.cloud.release()
        await desk.until(lambda: desk.state.count_jobs()["done"] == 9)
    assert worker.held is None


async def test_an_answer_that_could_not_be_recorded_is_asked_for_again_and_not_paid_twice(desk: Desk) -> None:
    job_id = desk.queue("0")
    log = _Failing(desk.state.log, {})
    failing = _Failing(desk.state, {"finish_job": 1}, log=log)
    failing.then = lambda: log.left.update(transaction=2)  # nor can it be put back, at first
    async with desk.running(desk.worker(state=failing)):
        await desk.until(lambda: desk.job(job_id).status == "done")
    assert (failing.left, log.left) == ({"finish_job": 0}, {"transaction": 0})
    assert len(desk.cloud.requests) == 1


async def test_the_outbox_outlives_a_state_that_fails_for_a_while(desk: Desk) -> None:
    job_id = desk.queue("0")
    log: Any = _Failing(desk.state.log, {"reading": 2, "transaction": 1})
    state: Any = _Failing(desk.state, {}, log=log)
    async with desk.running(desk.worker(state=state)):
        await desk.until(lambda: desk.job(job_id).status == "done")
    assert log.left == {"reading": 0, "transaction": 0}


async def test_whoever_watches_is_told_what_becomes_of_a_job(desk: Desk) -> None:
    told: list[tuple[str, str]] = []

    async def watch() -> None:
        async for happening in desk.feed.subscribe():
            assert set(happening) == {"type", "job_id", "session_id", "status", "reason"}
            told.append((happening["job_id"], happening["status"]))

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    worker = desk.worker()
    kept, gone = desk.queue("kept", "a"), desk.queue("gone", "b")
    desk.cloud.will(Answer(status=500), Answer(status=500), Answer(text="done"))
    await worker.flush()
    await worker.drop(gone)
    desk.state.fail_job(kept, "x")
    await worker.retry(kept)
    await worker.flush()
    await asyncio.sleep(0.01)
    watching.cancel()
    assert [status for job, status in told if job == kept] == ["sending", "queued", "retried", "sending", "done"]
    assert [status for job, status in told if job == gone] == ["sending", "queued", "dropped"]
    with pytest.raises(Conflict):
        await worker.drop(kept)


async def test_whoever_watches_is_told_what_is_put_back_released_or_given_up_too(desk: Desk) -> None:
    told: list[tuple[str, str, str]] = []
    desk.feed.publish_job = lambda job, status=None: told.append((job.id, status or job.status, job.reason))  # type: ignore[method-assign]
    outcomes = Outcomes(desk.state, desk.feed)
    given_up, put_back = (desk.queue(name) for name in ("given up", "put back"))
    desk.state.claim_next(NOON)
    desk.state.claim_next(NOON)
    await outcomes.set_aside(given_up, "client_gone")
    await outcomes.put_back(put_back, NOON + DAY, "budget_spent")
    async with desk.running(desk.worker(outcomes=outcomes)):
        await desk.until(lambda: told[-1][1] == "done")
    assert told[:3] == [
        (given_up, "failed", "client_gone"),
        (put_back, "queued", "budget_spent"),
        (put_back, "queued", "budget_spent"),
    ]
    assert [status for _, status, _ in told[3:]] == ["sending", "done"]


@pytest.mark.parametrize("jump", [-3e8, -1.8e9, 253402300799 - NOON])
async def test_whatever_the_clock_shows_everything_is_sent_once_it_is_right(desk: Desk, jump: float) -> None:
    desk.cloud.will(Answer(status=500))
    queued = [desk.queue(f"{n}") for n in range(3)]
    desk.clock[0] = NOON + jump
    await desk.worker(day=100).flush()
    queued.append(desk.queue("later"))
    await desk.worker(day=100).flush()
    desk.clock[0] = NOON + 1
    desk.cloud.will(Answer(text="done"))
    # As whoever set the clock right says: what was recorded ahead of it is no reason to doubt it.
    desk.trusts_clock = True
    desk.escalator._rules = replace(desk.escalator._rules, trusts_clock=True)
    for _ in range(6):
        await _drained(desk)
        desk.clock[0] += 300
    assert [desk.job(each).status for each in queued] == ["done"] * 4
    assert desk.state.count_jobs()["queued"] == 0


async def test_what_no_days_budget_covers_is_set_aside_and_its_session_goes_on(desk: Desk) -> None:
    dear, behind = desk.queue("dear", "s"), desk.queue("behind", "s", max_cost=0.5)
    flushed = await desk.worker(day=0.75).flush()
    assert (flushed.sent, flushed.failed) == (0, 2)
    assert (desk.job(dear).status, desk.job(dear).reason) == ("failed", "over_budget")
    assert "usd_per_day" in desk.job(dear).advice
    assert desk.job(behind).reason == "cost_cap"
    await desk.worker(day=9.0).retry(dear)
    assert (await desk.worker(day=9.0).flush()).sent == 1


async def test_giving_back_what_was_promised_waits_for_no_look_at_the_state() -> None:
    looked, go_on = threading.Event(), threading.Event()
    go_on.set()

    def spent(_: float) -> float:
        looked.set()
        go_on.wait(5)
        return 0.0

    gate = Gate(
        OutboxRules(usd_per_day=5.0),
        spent=spent,
        network=lambda: None,
        estimate=lambda _: 3.0,
        check_clock=lambda: None,
        now=lambda: NOON,
    )
    escalation = Escalation(Masked(HELLO, {}), "key", "s", "")
    first, second = gate.admitted(escalation), gate.admitted(escalation)
    first.__enter__()
    looked.clear()
    go_on.clear()
    entering = asyncio.create_task(asyncio.to_thread(second.__enter__))
    await asyncio.to_thread(looked.wait, 5)
    leaving = asyncio.create_task(asyncio.to_thread(first.__exit__, None, None, None))
    done, _ = await asyncio.wait([leaving], timeout=2)
    go_on.set()
    await leaving
    assert done
    with pytest.raises(Unavailable):  # the first one's was promised still when the second one looked
        await entering
    with gate.admitted(escalation):
        pass


async def test_a_flush_where_nobody_is_there_tries_nothing_and_says_so(desk: Desk) -> None:
    for n in range(3):
        desk.queue(f"{n}")
    real, there = desk.escalator, [False]

    async def reachable() -> bool:
        return there[0]

    desk.escalator = SimpleNamespace(deliver=real.deliver, record=real.record, reachable=reachable)
    flushed = await desk.worker().flush()
    assert (flushed.held, flushed.sent, flushed.queued, flushed.job_ids) == ("cloud_unreachable", 0, 3, [])
    assert (desk.cloud.requests, desk.state.ledger(10)) == ([], [])
    there[0] = True
    assert (await desk.worker().flush()).sent == 3


@pytest.mark.parametrize(("stays", "tried"), [(False, 1), (True, 5)])
async def test_a_flush_ends_where_nobody_answers_any_more(desk: Desk, stays: bool, tried: int) -> None:
    for n in range(9):
        desk.queue(f"{n}")
    desk.cloud.will(Answer(status=503))
    real = desk.escalator

    async def reachable() -> bool:
        return stays or not desk.cloud.requests

    desk.escalator = SimpleNamespace(deliver=real.deliver, record=real.record, reachable=reachable)
    worker = desk.worker()
    flushed = await worker.flush()
    assert (flushed.held, flushed.queued, len(flushed.job_ids)) == ("cloud_unreachable", 9, tried)
    assert len(desk.cloud.requests) == tried
    stays = True
    desk.cloud.will(Answer(text="done"))
    assert (await worker.flush()).sent == 9


async def test_what_was_tried_in_a_flush_and_comes_again_is_no_refusal(desk: Desk) -> None:
    first, lift = desk.queue("first", "s", priority="low"), desk.queue("lift", "s", priority="high")
    desk.cloud.will(Answer(status=400))
    real = desk.escalator

    def deliver(job: Job, record: Any) -> Any:
        desk.state.drop_job(lift)
        return real.deliver(job, record)

    desk.escalator = SimpleNamespace(deliver=deliver, record=real.record, reachable=real.reachable)
    await desk.worker().flush()
    job = desk.job(first)
    assert (job.status, job.reason, job.refusals) == ("queued", "provider_rejected", 1)
    assert len(desk.cloud.requests) == 1


@pytest.mark.parametrize("write", ["retry_job", "fail_job"])
async def test_what_became_of_a_clients_job_is_recorded_once_the_state_can_be_written(desk: Desk, write: str) -> None:
    job_id = desk.queue("0")
    claimed = desk.state.claim_next(NOON)
    assert claimed is not None
    turn: Any = SimpleNamespace(unsent=Unsent(claimed, "offline", NOON + 60), in_flight_job_id=None)
    outcomes = desk.escalator.outcomes
    outcomes._state = _Failing(desk.state, {write: 2})
    await (desk.escalator.release(turn) if write == "retry_job" else desk.escalator.give_up(turn, "refused"))
    assert (turn.unsent, desk.job(job_id).status) == (None, "sending")
    worker = desk.worker(outcomes=outcomes)
    with pytest.raises(Unavailable):
        await worker.flush()
    async with desk.running(worker):
        await desk.settled()
    job = desk.job(job_id)
    expected = ("queued", "offline", NOON + 60) if write == "retry_job" else ("failed", "refused", 0)
    assert (job.status, job.reason, job.not_before) == expected
    assert desk.cloud.requests == []


async def test_what_could_not_be_recorded_is_recorded_once_whoever_else_looks(desk: Desk) -> None:
    ids = [desk.queue(f"{n}") for n in range(3)]
    for _ in ids:
        desk.state.claim_next(NOON)
    failing: Any = _Failing(desk.state, {"retry_job": 2})
    outcomes = Outcomes(failing, desk.feed)
    await outcomes.put_back(ids[0], NOON)
    await outcomes.put_back(ids[1], NOON)
    real = failing.retry_job

    def slow(*arguments: Any) -> Job:
        time.sleep(0.02)
        return cast("Job", real(*arguments))

    failing._others["retry_job"] = slow
    await asyncio.gather(outcomes.settle(), outcomes.settle(), outcomes.put_back(ids[2], NOON))
    await outcomes.settle()
    assert [desk.job(each).status for each in ids] == ["queued"] * 3


async def _drained(desk: Desk) -> None:
    worker = desk.worker(day=100)
    async with desk.running(worker):
        await desk.settled()
        await desk.until(lambda: desk.state.count_jobs()["sending"] == 0)


class _Failing:
    """What it stands before, but for the first calls of some of its methods: then the disk is full."""

    def __init__(self, real: Any, left: dict[str, int], **others: Any) -> None:
        self.left = left
        self.then: Callable[[], object] = lambda: None
        self._real = real
        self._others = others

    def __getattr__(self, name: str) -> Any:
        if name in self._others:
            return self._others[name]
        if self.left.get(name):
            self.left[name] -= 1
            self.then()
            return _full
        return getattr(self._real, name)


def _full(*_: Any, **__: Any) -> Awaitable[None]:
    raise Unavailable("It is full.", code="disk_full", hint="Free some space.")
