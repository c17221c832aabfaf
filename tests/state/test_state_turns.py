"""The life of a turn, and what a session shows of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.problems import Conflict, InvalidRequest, NotFound
from cloud_bridge.protocol.report import Report
from edge_agent.state.state import State


def test_a_turn_is_there_from_the_moment_it_is_accepted(state: State, open_at: Any, talk: Any, report: Any) -> None:
    request_id = state.accept_request("s", talk("What is 2+2?"), {"surface": "openai_chat"})
    (turn,) = open_at().session("s").turns
    assert (turn.id, turn.status, turn.answers) == (request_id, "open", ())
    assert turn.messages[0]["parts"][0]["text"] == "What is 2+2?"

    answer_id = state.finish_request(request_id, "4", report(cost_usd=0.25))
    (turn,) = open_at().session("s").turns
    assert (turn.status, turn.answers[0].id, turn.answers[0].text) == ("done", answer_id, "4")
    assert state.sessions()[0].turns == 1


def test_sessions_are_listed_page_by_page_the_newest_first(state: State, talk: Any) -> None:
    for name in ("a", "b", "c", "a"):
        state.accept_request(name, talk("hi"))
    listed = [session.id for session in state.sessions()]
    assert sorted(listed) == ["a", "b", "c"]
    first = state.sessions(limit=2)
    assert [session.id for session in first] == listed[:2]
    assert [session.id for session in state.sessions(limit=2, before=first[-1].id)] == listed[2:]
    with pytest.raises(NotFound):
        state.sessions(before="nobody")


def test_a_report_is_taken_as_it_is(state: State, talk: Any) -> None:
    request_id = state.accept_request("s", talk("hi"))
    decided = Report(state.new_id(), "s", "t" * 32, "cloud", ("requested",), cost_usd=0.5, provider="p")
    state.finish_request(request_id, "hello", decided)
    found = state.decision(decided.decision_id)
    assert {key: found[key] for key in decided.to_json()} == decided.to_json()
    assert state.decisions(limit=5) == [found]
    assert state.decisions(session_id="other") == []


def test_a_failed_turn_says_why(state: State, talk: Any) -> None:
    request_id = state.accept_request("s", talk("hi"))
    state.fail_request(request_id, "cloud_unreachable")
    (turn,) = state.session("s").turns
    assert (turn.status, turn.code) == ("failed", "cloud_unreachable")


def test_what_a_dead_daemon_left_open_is_interrupted_and_a_late_answer_still_counts(
    state: State, open_at: Any, talk: Any, report: Any
) -> None:
    request_id = state.accept_request("s", talk("hi"))
    assert open_at().session("s").turns[0].status == "open"  # a command does not recover
    owner = open_at(owner=True)
    assert owner.session("s").turns[0].status == "interrupted"
    assert owner.sessions()[0].interrupted == 1
    state.finish_request(request_id, "hello", report())
    assert owner.session("s").turns[0].status == "done"
    owner.fail_request(request_id, "late")
    assert owner.session("s").turns[0].status == "done"


def test_only_what_is_new_is_stored_and_the_history_comes_back_whole(state: State, talk: Any, report: Any) -> None:
    first = state.accept_request("s", talk("one", system="Be kind."))
    answer = state.finish_request(first, "1", report())
    second = state.accept_request("s", talk("one", " 1\n", "two", system="Be brief."))  # clients trim and pad
    state.finish_request(second, "2", report())
    _, turn = state.session("s").turns
    assert turn.parent == answer
    assert [message["parts"][0]["text"] for message in turn.messages] == ["Be brief.", "two"]
    assert [message["parts"][0]["text"] for message in state.history("s")] == ["Be brief.", "one", "1", "two", "2"]


def test_continuing_an_earlier_answer_makes_a_branch_and_overwrites_nothing(
    state: State, talk: Any, report: Any
) -> None:
    state.finish_request(state.accept_request("s", talk("a")), "A", report())
    state.finish_request(state.accept_request("s", talk("a", "A", "b")), "B", report())
    state.finish_request(state.accept_request("s", talk("a", "A", "c")), "C", report())
    root, b, c = state.session("s").turns
    assert b.parent == c.parent == root.answers[0].id
    assert [root.branch, b.branch, c.branch] == [0, 0, 1]
    assert [message["parts"][0]["text"] for message in state.history("s")] == ["a", "A", "c", "C"]


def test_a_history_of_somebody_else_is_kept_whole(state: State, talk: Any, report: Any) -> None:
    state.finish_request(state.accept_request("s", talk("a")), "A", report())
    state.accept_request("s", talk("x", "X", "y"))
    turn = state.session("s").turns[-1]
    assert turn.parent is None
    assert len(turn.messages) == 3


def test_a_late_answer_stands_beside_the_provisional_one(state: State, talk: Any, report: Any, escalation: Any) -> None:
    request_id = state.accept_request("s", talk("hard"))
    job = state.enqueue(escalation("k"), "cloud_unreachable", request_id=request_id)
    local = state.finish_request(request_id, "maybe 5", report(provisional=True, job_id=job.id))
    state.accept_request("s", talk("hard", "maybe 5", "and then?"))
    assert state.claim_next(time.time()).id == job.id
    done = state.finish_job(job.id, "it is 7", report(route="cloud", cost_usd=0.01))
    assert (done.status, done.answer) == ("done", "it is 7")
    turn, continued = state.session("s").turns
    assert [(a.text, a.provisional, a.revises) for a in turn.answers] == [
        ("maybe 5", True, None),
        ("it is 7", False, local),
    ]
    assert continued.parent == local
    # Whoever now continues from the revision is on a branch.
    state.accept_request("s", talk("hard", "it is 7", "and then?"))
    assert [turn.branch for turn in state.session("s").turns] == [0, 0, 1]


def test_a_deferred_turn_waits_until_its_job_is_done(state: State, talk: Any, report: Any, escalation: Any) -> None:
    outcomes = {}
    for name in ("done", "failed", "dropped"):
        request_id = state.accept_request(name, talk("later"))
        job = state.enqueue(escalation(name, name), "deferred", request_id=request_id)
        assert state.finish_request(request_id, None, report(name, "queued", job_id=job.id)) is None
        assert state.session(name).turns[0].status == "queued"
        outcomes[name] = job.id
    state.finish_job(outcomes["done"], "here")
    state.fail_job(outcomes["failed"], "content_filter")
    state.drop_job(outcomes["dropped"])
    assert [state.session(name).turns[0].status for name in outcomes] == ["done", "failed", "dropped"]
    assert state.session("failed").turns[0].code == "content_filter"


def test_tool_calls_are_kept(state: State, talk: Any, report: Any) -> None:
    call = {"id": "c1", "name": "look_up", "arguments": '{"who": "Ada"}'}
    state.finish_request(state.accept_request("s", talk("who?")), {"text": "", "tool_calls": [call]}, report())
    (answer,) = state.session("s").turns[0].answers
    assert answer.message["parts"] == [{"type": "tool_call", **call}]
    assert "look_up" in "".join(state.export("s", "markdown"))


def test_spending_is_summed_from_a_moment_on(state: State, open_at: Any, talk: Any, report: Any) -> None:
    times = [1000.0]
    clocked = open_at(now=lambda: times[0])
    for at, cost in ((1000.0, 1.0), (2000.0, 0.25), (2500.0, 0.5), (10**9, 8.0)):
        times[0] = at
        clocked.record_decision(report(cost_usd=cost))
    times[0] = 3000.0  # the clock was wrong for a while; its far future does not use up the budget
    assert clocked.spent_since(2000.0) == 0.75
    assert clocked.spent_since(0) == 1.75


def test_a_clock_that_goes_back_keeps_the_order(state: State, open_at: Any, talk: Any) -> None:
    times = iter([4e9, 1e9, 0.0, -5.0, 2e9] * 20)
    clocked = open_at(now=lambda: next(times))
    ids = [clocked.accept_request("s", talk(f"q{index}")) for index in range(10)]
    assert ids == sorted(ids)
    assert [turn.id for turn in state.session("s").turns] == ids
    assert [event.seq for event in state.events("s")] == list(range(1, 11))


@pytest.mark.parametrize("session_id", ["", "x" * 300, "a\nb", "\x00"])
def test_a_bad_session_id_is_refused(state: State, talk: Any, session_id: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        state.accept_request(session_id, talk("hi"))
    assert caught.value.code == "bad_session_id"


def test_what_does_not_exist_is_said_so(state: State, report: Any) -> None:
    for call, code in (
        (lambda: state.session("s"), "unknown_session"),
        (lambda: state.forget("s"), "unknown_session"),
        (lambda: state.finish_request("01", "x", report()), "unknown_request"),
        (lambda: state.decision("01"), "unknown_decision"),
        (lambda: state.ledger_entry("01"), "unknown_entry"),
        (lambda: state.job("01"), "unknown_job"),
    ):
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.code == code
        assert caught.value.hint


def test_rebuilding_gives_the_same_views(state: State, talk: Any, report: Any, escalation: Any, tables: Any) -> None:
    for session_id in ("a", "b", "gone"):
        request_id = state.accept_request(session_id, talk("q"))
        state.enqueue(escalation(session_id, session_id), "offline", request_id=request_id)
        state.finish_request(request_id, "local", report(session_id, provisional=True, cost_usd=0.5))
        state.record_departure(session_id, None, Departure("p", "http://p", b"body"))
        state.fail_request(state.accept_request(session_id, talk("q", "local", "r")), "oops")
    state.finish_job(state.claim_next(9e9).id, "late", report("a", "cloud"))
    state.retry_job(state.claim_next(9e9).id, 10e9, "cloud_unreachable")
    state.append("opinion", "b", {"good": True})
    state.forget("gone")
    before = tables(state)
    assert all(before.values())
    state.rebuild()
    assert tables(state) == before
    assert state.verify_ledger() == 3


def test_nothing_is_recorded_for_a_session_that_was_forgotten_meanwhile(state: State, talk: Any, report: Any) -> None:
    request_id = state.accept_request("s", talk("hi"))
    state.forget("s")
    for late in (lambda: state.finish_request(request_id, "x", report()), lambda: state.fail_request(request_id, "x")):
        with pytest.raises(Conflict) as caught:
            late()
        assert caught.value.code == "session_forgotten"
    state.accept_request("s", talk("a new life"))  # the same name may be used again
    assert len(state.session("s").turns) == 1
    with pytest.raises(Conflict):
        state.finish_request(request_id, "x", report())
