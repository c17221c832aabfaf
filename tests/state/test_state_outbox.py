"""The outbox: in order within a session, in parallel across sessions, by one claimer each, and never lost."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.protocol.problems import Conflict, NotFound
from edge_agent.state import jobs, outbox
from edge_agent.state.jobs import Wish
from edge_agent.state.state import State
from tests.state.outbox_rows import fill, steps

CLAIMER = Path(__file__).with_name("claimer.py")


@pytest.fixture
def queue(state: State, talk: Any, escalation: Any) -> Any:
    numbers = itertools.count()

    def add(session_id: str, **options: Any) -> str:
        request_id = state.accept_request(session_id, talk("q"))
        key = f"key-{next(numbers)}"
        return state.enqueue(escalation(key, session_id), "cloud_unreachable", request_id=request_id, **options).id

    return add


def test_sessions_go_in_parallel_and_each_in_order(state: State, queue: Any) -> None:
    a1, a2, b1 = queue("a"), queue("a"), queue("b")
    assert [state.claim_next(1e9).id, state.claim_next(1e9).id, state.claim_next(1e9)] == [a1, b1, None]
    state.finish_job(a1, "answer")
    assert state.claim_next(1e9).id == a2


def test_a_retried_job_waits_and_holds_its_session_back_but_no_other(state: State, queue: Any) -> None:
    a1, a2, b1 = queue("a"), queue("a"), queue("b")
    state.claim_next(1e9)
    job = state.retry_job(a1, not_before=1e9 + 60, reason="rate_limited")
    assert (job.status, job.reason, job.attempts) == ("queued", "rate_limited", 1)
    assert state.claim_next(1e9).id == b1
    assert state.claim_next(1e9) is None
    assert state.claim_next(1e9 + 60).id == a1
    assert state.job(a1).attempts == 2
    assert state.job(a2).status == "queued"


def test_a_poison_job_is_set_aside_with_its_reason_and_blocks_nothing(state: State, queue: Any) -> None:
    a1, a2 = queue("a"), queue("a")
    state.claim_next(1e9)
    assert state.fail_job(a1, "content_filter").to_json()["reason"] == "content_filter"
    assert state.claim_next(1e9).id == a2
    assert [job.id for job in state.jobs("failed")] == [a1]
    assert state.count_jobs() == {"queued": 0, "sending": 1, "done": 0, "failed": 1, "dropped": 0}


def test_deferred_jobs_are_listed_page_by_page_the_newest_first(state: State, escalation: Any, talk: Any) -> None:
    request = state.accept_request("s", talk("hi"))
    ids = [
        state.enqueue(escalation(f"k{n}"), "in_flight" if n == 1 else "offline", request_id=request, sending=n == 1).id
        for n in range(4)
    ]
    a, _answered_at_once, b, c = ids
    assert [job.id for job in state.newest_deferred_jobs(2)] == [c, b]
    assert [job.id for job in state.newest_deferred_jobs(2, before=b)] == [a]
    assert state.newest_deferred_jobs(2, before=a) == []


def test_a_job_can_be_dropped_unless_it_is_on_its_way_or_done(state: State, queue: Any) -> None:
    a1, a2, a3 = queue("a"), queue("a"), queue("a")
    state.drop_job(a2)
    state.claim_next(1e9)
    with pytest.raises(Conflict) as caught:
        state.drop_job(a1)
    assert caught.value.code == "job_sending"
    state.finish_job(a1, "x")
    with pytest.raises(Conflict) as caught:
        state.drop_job(a1)
    assert caught.value.code == "job_done"
    assert state.claim_next(1e9).id == a3
    assert state.drop_job(a2).status == "dropped"


def test_what_is_sent_is_what_was_accepted(state: State, open_at: Any, talk: Any, escalation: Any) -> None:
    asked = escalation("k", "s", "Mail <EMAIL_ADDRESS_1> about ünïcode \u2028 and emoji 🎈.")
    job = state.enqueue(asked, "offline", request_id=state.accept_request("s", talk("q")), decision_id="d")
    assert open_at().escalation(job.id) == asked
    assert (job.idempotency_key, job.decision_id, job.repeated) == ("k", "d", False)


def test_the_same_key_is_one_job(state: State, talk: Any, escalation: Any) -> None:
    request_id = state.accept_request("s", talk("q"))
    first = state.enqueue(escalation("k"), "offline", request_id=request_id)
    assert state.enqueue(escalation("k"), "again", request_id=request_id) == first


def test_an_escalation_that_a_client_waits_for_is_claimed_as_it_is_accepted(
    state: State, open_at: Any, queue: Any, report: Any
) -> None:
    waiting = queue("a", not_before=1e9 + 60)
    direct = state.job(queue("a", sending=True, decision_id="d"))
    assert (direct.status, direct.attempts) == ("sending", 1)
    assert state.claim_next(1e9) is None
    done = state.finish_job(direct.id, "from the cloud")
    assert done.answer == "from the cloud"
    # The waiting client's side records the same answer with its report: still one answer.
    state.finish_request(direct.request_id, "from the cloud", report("a", "cloud"))
    answers = state.session("a").turns[1].answers
    assert [(answer.text, answer.decision_id) for answer in answers] == [("from the cloud", "d")]
    assert state.claim_next(1e9 + 60).id == waiting

    lost = queue("a", sending=True)
    recovered = open_at(owner=True).job(lost)
    assert (recovered.status, recovered.repeated) == ("queued", True)


def test_an_answer_counts_once(state: State, queue: Any) -> None:
    job_id = queue("a")
    state.finish_job(job_id, "first")
    assert state.finish_job(job_id, "second").answer == "first"
    assert state.fail_job(job_id, "late").status == "done"
    assert len(state.session("a").turns[0].answers) == 1


def test_a_job_in_flight_when_the_daemon_died_is_repeated_with_its_key(state: State, open_at: Any, queue: Any) -> None:
    job_id = queue("a")
    key = state.claim_next(1e9).idempotency_key
    assert open_at().job(job_id).status == "sending"
    job = open_at(owner=True).job(job_id)
    assert (job.status, job.repeated, job.idempotency_key) == ("queued", True, key)
    assert job.to_json()["repeated"] is True
    assert state.claim_next(1e9).id == job_id


def test_forgetting_a_session_drops_what_it_queued(state: State, queue: Any) -> None:
    a1, a2, b1 = queue("a"), queue("a"), queue("b")
    state.claim_next(1e9)
    state.forget("a")
    assert [(state.job(job).status, state.job(job).reason) for job in (a1, a2)] == [
        ("dropped", "session_forgotten")
    ] * 2
    assert state.finish_job(a1, "too late").status == "dropped"
    with pytest.raises(NotFound) as caught:
        state.escalation(a1)
    assert caught.value.code == "session_forgotten"
    assert state.claim_next(1e9).id == b1
    queue("a")
    assert state.claim_next(1e9).session_id == "a"


def test_threads_never_claim_the_same_job(state: State, queue: Any) -> None:
    queued = {queue(f"s{index}") for index in range(24)}
    with ThreadPoolExecutor(8) as threads:
        claimed = [job.id for job in threads.map(lambda _: state.claim_next(1e9), range(30)) if job is not None]
    assert len(claimed) == 24
    assert set(claimed) == queued


@pytest.mark.slow
def test_two_processes_never_claim_the_same_job(state: State, home: Path, queue: Any) -> None:
    queued = {queue(f"s{index % 7}") for index in range(60)}
    claimers = [
        subprocess.Popen([sys.executable, CLAIMER, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for claimer in claimers:
        assert claimer.stdout.readline() == "ready\n"
    outputs = []
    for claimer in claimers:
        claimer.stdin.write("go\n")
        claimer.stdin.flush()
    for claimer in claimers:
        output, _ = claimer.communicate(timeout=120)
        assert claimer.returncode == 0
        outputs.append(output.split())
    assert sorted(outputs[0] + outputs[1]) == sorted(queued)
    per_session = defaultdict(list)
    for index in range(7):
        for event in state.events(f"s{index}"):
            if event.kind in {"job.sending", "job.done"}:
                per_session[index].append((event.kind, event.parent))
    for happened in per_session.values():
        jobs = [job for kind, job in happened if kind == "job.sending"]
        assert jobs == sorted(jobs)
        assert happened == [(kind, job) for job in jobs for kind in ("job.sending", "job.done")]


def test_the_higher_priority_goes_first_and_lifts_its_whole_session(state: State, queue: Any) -> None:
    low, normal = queue("low", wish=Wish("low")), queue("normal")
    first, second = queue("mixed", wish=Wish("low")), queue("mixed", wish=Wish("high"))
    assert state.claim_next(1e9).id == first  # the high one behind it lifts it
    assert state.claim_next(1e9).id == normal
    state.finish_job(first, "answer")
    assert [state.claim_next(1e9).id, state.claim_next(1e9).id] == [second, low]


def test_a_session_sinks_again_when_what_lifted_it_is_dropped(state: State, queue: Any) -> None:
    queue("a", wish=Wish("low"))
    lifting = queue("a", wish=Wish("high"))
    normal = queue("b")
    state.drop_job(lifting)
    assert state.claim_next(1e9).id == normal


def test_who_has_been_due_the_longest_can_be_asked_for(state: State, queue: Any) -> None:
    low = queue("low", wish=Wish("low"), not_before=5)
    queue("high", wish=Wish("high"), not_before=10)
    assert outbox.claim_next(state.log, 1e9, longest=True).id == low


def test_what_was_put_back_while_the_clock_was_years_ahead_is_due(state: State, queue: Any) -> None:
    waiting, ahead = queue("a", not_before=1e9 + 60), queue("b", not_before=9e9)
    assert state.claim_next(1e9).id == ahead
    assert state.claim_next(1e9) is None
    assert state.job(waiting).status == "queued"


def test_what_is_worth_nothing_any_more_is_set_aside(state: State, queue: Any) -> None:
    job_id = queue("a", wish=Wish(expires_s=60))
    behind = queue("a")
    accepted = state.job(job_id).expires_at - 60
    assert outbox.expire(state.log, accepted + 59) == []
    assert outbox.expire(state.log, accepted - 1e9) == []  # a clock set back
    (gone,) = outbox.expire(state.log, accepted + 60)
    assert (gone.id, gone.status, gone.reason) == (job_id, "failed", "expired")
    assert state.claim_next(1e9).id == behind


def test_a_failed_job_is_put_back_with_its_key_and_before_what_came_later(state: State, queue: Any) -> None:
    job_id, behind = queue("a", wish=Wish("high", expires_s=60)), queue("a")
    key = state.job(job_id).idempotency_key
    state.fail_job(job_id, "expired")
    assert state.session("a").turns[0].status != "queued"
    job = outbox.requeue(state.log, job_id, 1e9)
    assert (job.status, job.reason, job.idempotency_key, job.expires_at) == ("queued", "retry_asked", key, None)
    assert state.claim_next(1e9).id == job_id
    with pytest.raises(Conflict) as caught:
        outbox.requeue(state.log, behind, 1e9)
    assert caught.value.code == "job_not_failed"
    assert "outbox flush" in caught.value.hint


def test_a_job_put_back_while_its_session_sends_waits_for_that(state: State, queue: Any) -> None:
    first, second, third = queue("a"), queue("a"), queue("a")
    state.fail_job(first, "provider_rejected")
    assert state.claim_next(1e9).id == second
    outbox.requeue(state.log, first, 1e9)
    assert state.claim_next(1e9) is None
    state.finish_job(second, "answer")
    assert state.claim_next(1e9).id == first
    state.finish_job(first, "answer")
    assert state.claim_next(1e9).id == third


def test_jobs_are_listed_page_by_page_and_a_damaged_answer_hides_none(state: State, queue: Any) -> None:
    ids = [queue(f"s{n}") for n in range(6)]
    state.fail_job(ids[1], "provider_rejected")
    state.drop_job(ids[2])
    state.finish_job(ids[3], "answer")
    answer_id = state.session("s3").turns[0].answers[0].id
    with state.log.transaction() as tx:
        tx.db.execute("DROP TRIGGER events_are_immutable")
        tx.db.execute("UPDATE events SET body = zeroblob(64) WHERE id = ?", (answer_id,))
    assert [job.id for job in jobs.page(state.log, jobs.OPEN, 2, None)] == ids[:2]
    assert [job.id for job in jobs.page(state.log, jobs.OPEN, 9, ids[1])] == ids[4:]
    assert [job.id for job in jobs.page(state.log, ("done", "failed"), 9, None)] == [ids[1], ids[3]]
    assert (
        state.job(ids[1]).to_json()["advice"] == "Every provider refused it. Check base_url and model, then retry it."
    )
    assert "outbox retry" in state.fail_job(ids[4], "never_heard_of").advice


def test_refusals_are_counted_for_good(state: State, open_at: Any, queue: Any) -> None:
    job_id = queue("a")
    for refused in (True, False, True):
        state.claim_next(1e9)
        outbox.retry(state.log, job_id, 0, "x", refused=refused)
    assert open_at().job(job_id).refusals == 2
    assert open_at().job(job_id).attempts == 3


def test_a_hundred_thousand_that_wait_make_nothing_slower(state: State, queue: Any) -> None:
    """Due, not yet due, and dated by a clock that was ahead."""
    looks = (
        lambda: outbox.claim_next(state.log, 2e9 - 60),
        lambda: outbox.claim_next(state.log, 2e9 - 60, longest=True),
        lambda: outbox.claim_waiting(state.log, "low", "0"),
        lambda: outbox.is_waiting(state.log),
        lambda: outbox.expire(state.log, 1),
        lambda: jobs.page(state.log, jobs.OPEN, 10, None),
        lambda: queue("a", wish=Wish("high")),
    )
    _fill(state, 4)
    few = [steps(state, look) for look in looks]
    with state.log.transaction() as tx:
        tx.db.execute("DELETE FROM jobs")
    _fill(state, 33_334)
    many = [steps(state, look) for look in looks]
    assert all(much <= 2 * little + 500 for much, little in zip(many, few, strict=True)), (few, many)


def test_a_hundred_thousand_that_were_answered_make_looking_no_slower(state: State, queue: Any) -> None:
    looks = (
        lambda: state.newest_deferred_jobs(10),
        lambda: jobs.page(state.log, jobs.OPEN, 10, None),
        state.count_jobs,
    )
    queue("a")
    few = [steps(state, look) for look in looks]
    fill(state, 100_000, status="done", reason="in_flight", not_before=0, level=1)
    many = [steps(state, look) for look in looks]
    assert all(much <= 2 * little + 500 for much, little in zip(many, few, strict=True)), (few, many)


def _fill(state: State, number: int) -> None:
    for level, waits in enumerate((0.0, 2e9 - 1, 1e12)):
        fill(state, number, status="queued", reason="x", not_before=waits, level=level)


def test_a_job_that_is_put_back_stands_behind_an_older_one_that_came_back_meanwhile(state: State, queue: Any) -> None:
    first, second = queue("a"), queue("a")
    state.fail_job(state.claim_next(1e9).id, "provider_rejected")
    assert state.claim_next(1e9).id == second
    outbox.requeue(state.log, first, 1e9)
    state.retry_job(second, 1e9)
    assert [state.claim_next(2e9).id, state.claim_next(2e9)] == [first, None]


def test_after_a_restart_too_the_older_job_goes_first(state: State, open_at: Any, queue: Any) -> None:
    first, second = queue("a"), queue("a")
    state.fail_job(state.claim_next(1e9).id, "provider_rejected")
    state.claim_next(1e9)
    outbox.requeue(state.log, first, 1e9)
    again = open_at(owner=True)
    assert again.job(second).status == "queued"
    assert again.claim_next(2e9).id == first


def test_what_was_accepted_by_a_clock_of_1970_does_not_end_when_it_is_set_right(
    open_at: Any, talk: Any, escalation: Any
):
    with open_at(now=lambda: 100.0) as state:
        request_id = state.accept_request("a", talk("q"))
        wish = Wish(expires_s=3600)
        job = state.enqueue(escalation("key", "a"), "clock_wrong", request_id=request_id, wish=wish)
        assert outbox.expire(state.log, 1.8e9) == []
        assert state.claim_next(1.8e9).id == job.id
