"""A session that has branches goes on from the answer that a person chose, or from its newest turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloud_bridge.protocol.problems import NotFound
from edge_agent.cli import sessions
from edge_agent.state import projection
from edge_agent.state.state import State
from edge_agent.state.sync.keys import GroupKeys
from tests.state.two_devices import Device, MemoryBridge


def _said(state: State) -> list[str]:
    return [message["parts"][0]["text"] for message in state.history("s")]


@pytest.fixture
def revised(state: State, talk: Any, report: Any, escalation: Any) -> State:
    """A provisional answer that was gone on from before the late one came."""
    request = state.accept_request("s", talk("hard"))
    job = state.enqueue(escalation("k"), "cloud_unreachable", request_id=request)
    state.finish_request(request, "maybe 5", report(provisional=True, job_id=job.id))
    state.finish_request(state.accept_request("s", talk("hard", "maybe 5", "twice that?")), "10", report())
    state.finish_job(job.id, "it is 7", report(route="cloud"))
    return state


def _revision(state: State) -> str:
    return state.session("s").turns[0].answers[1].id


def test_the_session_goes_on_where_its_person_did_until_the_revision_is_chosen(
    revised: State, talk: Any, report: Any
) -> None:
    assert _said(revised) == ["hard", "maybe 5", "twice that?", "10"]
    revised.choose("s", _revision(revised))
    assert _said(revised) == ["hard", "it is 7"]
    session = revised.session("s")
    assert session.continues == _revision(revised)
    assert [answer.chosen for answer in session.turns[0].answers] == [False, True]
    # What is made of it is a branch, and goes on by itself.
    revised.finish_request(revised.accept_request("s", talk("hard", "it is 7", "twice that?")), "14", report())
    assert _said(revised) == ["hard", "it is 7", "twice that?", "14"]
    assert [turn.branch for turn in revised.session("s").turns] == [0, 0, 1]


def test_a_turn_that_is_newer_than_the_choice_wins_again_and_so_does_a_newer_choice(
    revised: State, talk: Any, report: Any
) -> None:
    revised.choose("s", _revision(revised))
    ten = revised.session("s").turns[1].answers[0].id
    said = ("hard", "maybe 5", "twice that?", "10")
    revised.finish_request(revised.accept_request("s", talk(*said, "thrice?")), "15", report())
    assert _said(revised) == [*said, "thrice?", "15"]
    revised.choose("s", ten)
    assert _said(revised) == list(said)
    revised.choose("s", _revision(revised))
    assert _said(revised) == ["hard", "it is 7"]


def test_a_revision_that_nobody_had_gone_on_without_is_what_goes_on(
    state: State, talk: Any, report: Any, escalation: Any
) -> None:
    request = state.accept_request("s", talk("hard"))
    job = state.enqueue(escalation("k"), "cloud_unreachable", request_id=request)
    provisional = state.finish_request(request, "maybe 5", report(provisional=True, job_id=job.id))
    state.finish_job(job.id, "it is 7", report(route="cloud"))
    assert _said(state) == ["hard", "it is 7"]
    # A client that never heard of it sends the provisional answer still: it goes on from that, and nothing is lost.
    state.finish_request(state.accept_request("s", talk("hard", "maybe 5", "twice that?")), "10", report())
    assert state.session("s").turns[1].parent == provisional
    assert _said(state) == ["hard", "maybe 5", "twice that?", "10"]
    state.choose("s", _revision(state))
    assert _said(state) == ["hard", "it is 7"]


def test_of_two_choices_the_newer_counts_in_whatever_order_they_are_heard_of(revised: State, tables: Any) -> None:
    first, second = (answer.id for answer in revised.session("s").turns[0].answers)
    revised.choose("s", first)
    revised.choose("s", second)
    before = _choices(revised)
    with revised.log.transaction() as tx:
        (older, _) = tx.events("s", "session.chosen")
        projection.apply(tx.db, older, None)
    assert _choices(revised) == before
    assert revised.session("s").continues == second


def test_rebuilding_gives_the_same_choice_and_forgetting_ends_it(revised: State, talk: Any) -> None:
    revised.choose("s", _revision(revised))
    before = _choices(revised)
    revised.rebuild()
    assert _choices(revised) == before != []
    revised.forget("s")
    assert _choices(revised) == []
    revised.rebuild()
    assert _choices(revised) == []
    revised.accept_request("s", talk("a new life"))
    assert _said(revised) == ["a new life"]


def test_only_an_answer_of_the_session_can_be_chosen(revised: State, talk: Any, report: Any) -> None:
    elsewhere = revised.finish_request(revised.accept_request("other", talk("x")), "y", report("other"))
    for session_id, answer_id, code in (
        ("s", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "unknown_answer"),
        ("s", elsewhere, "unknown_answer"),
        ("nobody", elsewhere, "unknown_session"),
    ):
        with pytest.raises(NotFound) as caught:
            revised.choose(session_id, answer_id)
        assert caught.value.code == code
        assert "sessions" in caught.value.hint
    assert _choices(revised) == []


def test_a_person_sees_the_branches_and_chooses(revised: State, home: Path) -> None:
    def run(*words: str) -> str:
        result = CliRunner().invoke(sessions.app, words, env={"EDGE_AGENT_HOME": str(home)})
        assert result.exit_code == 0, result.output
        return result.output

    revision = _revision(revised)
    shown = run("show", "s")
    for part in ("provisional", "revision", revision, f"The next request continues {revised.session('s').continues}"):
        assert part in shown
    assert "edge-agent sessions choose s ANSWER_ID" in shown
    assert run("choose", "s", revision) == f"s goes on from {revision}.\n"
    assert json.loads(run("choose", "s", revision, "--json")) == {"id": "s", "continues": revision}
    assert f"chosen, {revision}" in run("show", "s")
    assert json.loads(run("show", "s", "--json", "--limit", "1"))["more"] is True
    assert "sessions show s --before" in run("show", "s", "--limit", "1")


def _choices(state: State) -> list[Any]:
    with state.log.reading() as tx:
        return tx.db.execute("SELECT * FROM choices ORDER BY 1").fetchall()


@pytest.mark.anyio
async def test_another_device_goes_on_from_what_was_chosen_here_and_knows_a_cut_history(tmp_path: Path) -> None:
    bridge, keys = MemoryBridge(), GroupKeys.new()
    laptop, phone = (Device(tmp_path / name, bridge, keys) for name in ("laptop", "phone"))
    _, first = laptop.ask("s", "one", answer="1")
    laptop.ask("s", "one", "1", "two", answer="2")
    _, third = laptop.ask("s", "one", "1", "three", answer="3")
    laptop.state.choose("s", first)
    await laptop.sync()
    await phone.sync()
    assert _said(phone.state) == _said(laptop.state) == ["one", "1"]
    phone.state.choose("s", third)
    phone.ask("s", "three", "3", "four", answer="4")  # of the history only the end
    assert phone.state.session("s").turns[-1].parent == third
    await phone.sync()
    await laptop.sync()
    assert laptop.shown() == phone.shown()
    assert _said(phone.state) == _said(laptop.state) == ["one", "1", "three", "3", "four", "4"]
    laptop.state.choose("s", first)
    await laptop.sync()
    await phone.sync()
    assert [d.state.session("s").continues for d in (laptop, phone)] == [first, first]
    for device in (laptop, phone):
        device.state.close()
