"""A local answer that turns out weak is replaced, or taken back; whoever fails is replaced by the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest

from cloud_bridge.protocol.events import AnswerEvent, Finish, Revision, Served, TextDelta, Usage
from cloud_bridge.protocol.gathered import gather
from cloud_bridge.protocol.openai_chat import StreamEncoder
from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound, Problem, Unavailable
from cloud_bridge.protocol.report import Intent, Report
from edge_agent.routing.candidates import Candidate
from edge_agent.routing.replay import replay
from edge_agent.turn import EdgeOptions
from tests.daemon.staged_agent import ROUTED, TEXT, Stage, asking, sure
from tests.upstream import Answer

pytestmark = pytest.mark.anyio

WEAK = (TextDelta("per", sure("per", -4.0)), TextDelta("haps", sure("haps", -4.0)), Finish("stop", Usage(5, 2)))
STRONG = (TextDelta("surely", sure("surely")), Finish("stop", Usage(5, 1)))
TAKES_BACK = EdgeOptions(revise=True)


def report_of(events: list[AnswerEvent]) -> Report:
    report = events[-1]
    assert isinstance(report, Report)
    return report


def revisions(events: list[AnswerEvent]) -> int:
    return sum(isinstance(event, Revision) for event in events)


async def recorded(stage: Stage, report: Report) -> dict[str, Any]:
    return stage.state.decision(report.decision_id)


async def test_a_weak_answer_that_is_shown_is_taken_back_for_the_clouds(stage: Stage) -> None:
    stage.situation = replace(ROUTED, revisable=True)
    stage.local = WEAK
    stage.cloud.will(Answer(pieces="characters"))
    events = await stage.answer(asking(1, edge=TAKES_BACK))
    assert [event.text for event in events[:2] if isinstance(event, TextDelta)] == ["per", "haps"]
    assert (revisions(events), isinstance(events[2], Revision)) == (1, True)
    assert gather(events).text == TEXT
    report = report_of(events)
    assert (report.route, report.provider) == ("cloud", "stand-in")
    assert sum(isinstance(event, Finish) for event in events) == 1
    assert b"Anna" not in stage.cloud.received
    assert replay(await recorded(stage, report))
    answers = stage.state.session(report.session_id).turns[-1].answers
    assert ["".join(part["text"] for part in answer.message["parts"]) for answer in answers] == [TEXT]


async def test_a_strong_answer_that_is_shown_stays(stage: Stage) -> None:
    stage.situation = replace(ROUTED, revisable=True)
    stage.local = STRONG
    events = await stage.answer(asking(1, edge=TAKES_BACK))
    assert (revisions(events), gather(events).text, stage.cloud.requests) == (0, "surely", [])
    assert report_of(events).route == "local"


async def test_what_was_shown_stays_where_nobody_gives_a_better_answer(stage: Stage) -> None:
    stage.situation = replace(ROUTED, revisable=True)
    stage.local = WEAK
    stage.cloud.will(Answer(status=500))
    events = await stage.answer(asking(1, edge=TAKES_BACK))
    report = report_of(events)
    assert (revisions(events), gather(events).text) == (0, "perhaps")
    assert (report.route, report.provisional) == ("local", True)
    assert stage.state.count_jobs()["queued"] == 1
    assert replay(await recorded(stage, report))


async def test_only_who_asked_for_it_is_told_to_take_back(stage: Stage) -> None:
    stage.situation = ROUTED
    stage.local = WEAK
    events = await stage.answer(asking(1))
    assert (revisions(events), gather(events).text) == (0, TEXT)


def test_a_stream_says_in_a_chunk_of_its_own_that_what_came_is_taken_back() -> None:
    encoder = StreamEncoder("chatcmpl-1", "auto", 1)
    chunks = [chunk for event in (WEAK[0], Revision("confidence:0.02<0.50")) for chunk in encoder.encode(event)]
    assert chunks[-1]["edge"] == {"revision": {"reason": "confidence:0.02<0.50"}}
    assert chunks[-1]["choices"][0]["delta"] == {}


@pytest.mark.parametrize(
    "problem",
    [
        Unavailable("It died.", code="model_crashed", hint="Try again."),
        Broken("It cannot be read.", code="model_unreadable", hint="Pull it again."),
        InvalidRequest("It is too long.", code="context_length_exceeded", hint="Shorten it."),
    ],
)
async def test_where_the_local_model_fails_the_cloud_answers(stage: Stage, problem: Problem) -> None:
    stage.situation, stage.local = ROUTED, problem
    events = await stage.answer(asking(1))
    report = report_of(events)
    assert (gather(events).text, report.route) == (TEXT, "cloud")
    assert isinstance(events[0], Served)
    assert replay(await recorded(stage, report))


@pytest.mark.parametrize(("model", "change"), [("local", {}), ("auto", {"cloud_policy": "never"})])
async def test_where_nobody_else_may_answer_the_local_models_own_problem_is_told(
    stage: Stage, model: str, change: dict[str, Any]
) -> None:
    stage.situation = replace(ROUTED, **change)
    stage.local = Broken("It cannot be read.", code="model_unreadable", hint="Pull it again.")
    with pytest.raises(Broken, match="cannot be read"):
        await stage.answer(asking(1, model=model))
    assert stage.cloud.requests == []


async def test_another_model_here_answers_before_anything_leaves(stage: Stage) -> None:
    candidates = (Candidate("small", p_right=0.9), Candidate("other", p_right=0.8))
    stage.situation = replace(ROUTED, known_local_models=frozenset({"small", "other"}), candidates=candidates)
    stage.local = {
        "small": Broken("It cannot be read.", code="model_unreadable", hint="Pull it again."),
        "other": STRONG,
    }
    events = await stage.answer(asking(1))
    report = report_of(events)
    assert (gather(events).text, report.route, report.model) == ("surely", "local", "other")
    assert stage.cloud.requests == []
    assert replay(await recorded(stage, report))


async def test_a_routine_answer_that_dies_before_its_first_word_is_the_clouds(stage: Stage) -> None:
    stage.situation = replace(ROUTED, intent=Intent("greeting", 0.99, out_of_scope=False))
    stage.local = (Broken("It failed.", code="inference_failed", hint="Try again."),)
    events = await stage.answer(asking(1))
    assert (gather(events).text, report_of(events).route) == (TEXT, "cloud")


async def test_where_what_was_shown_is_queued_it_is_taken_back(stage: Stage) -> None:
    stage.situation = replace(ROUTED, revisable=True, cloud_available=False)
    stage.local = WEAK
    events = await stage.answer(asking(1, edge=replace(TAKES_BACK, defer="always")))
    assert (revisions(events), gather(events).text, report_of(events).route) == (1, "", "queued")
    assert stage.state.count_jobs()["queued"] == 1


@pytest.mark.parametrize("is_known", [True, False], ids=["before it is asked", "by asking it"])
async def test_what_was_shown_is_taken_back_before_an_error_takes_its_place(stage: Stage, is_known: bool) -> None:
    stage.situation = replace(ROUTED, revisable=True, cloud_available=not is_known)
    stage.local = WEAK
    stage.cloud.will(Answer(status=500))
    events: list[AnswerEvent] = []

    async def watch() -> None:
        async for event in stage.agent.answer(asking(1, edge=replace(TAKES_BACK, defer="never"))):
            events.append(event)  # noqa: PERF401 - what came before the error is looked at

    with pytest.raises(Unavailable) as refused:
        await watch()
    assert refused.value.code == "cloud_unreachable"
    assert gather(events).text == ""
    assert events[-1] == Revision("defer:never")
    assert stage.state.count_jobs()["queued"] == 0


@pytest.mark.parametrize("is_known", [True, False], ids=["unreachable", "down when asked"])
async def test_who_asks_for_the_cloud_is_told_of_the_cloud_where_the_model_in_its_place_is_gone(
    stage: Stage, is_known: bool
) -> None:
    stage.situation = replace(ROUTED, cloud_available=not is_known)
    stage.local = NotFound("It is not installed.", code="model_not_installed", hint="Pull it.")
    stage.cloud.will(Answer(status=500))
    with pytest.raises(Unavailable) as refused:
        await stage.answer(asking(1, model="cloud"))
    assert refused.value.code == "cloud_unreachable"
    assert refused.value.hint.startswith("Pull it.")
    assert '"defer": "always"' in refused.value.hint
    assert stage.state.count_jobs()["queued"] == 0


async def test_an_answer_that_cannot_be_kept_is_an_answer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("the disk")

    monkeypatch.setattr(stage.cache, "keep", broken)
    events = await stage.answer(asking(1, model="cloud"))
    assert (gather(events).text, report_of(events).route) == (TEXT, "cloud")
    assert stage.state.count_jobs()["done"] == 1


async def test_what_a_client_did_wrong_is_not_sent_elsewhere(stage: Stage) -> None:
    stage.situation = ROUTED
    stage.local = InvalidRequest("No.", code="invalid_value", hint="Mend it.")
    with pytest.raises(InvalidRequest):
        await stage.answer(asking(1))
    assert stage.cloud.requests == []


@pytest.mark.parametrize("streams", [True, False])
async def test_a_cloud_that_says_nothing_by_the_deadline_is_waited_for_no_longer(stage: Stage, streams: bool) -> None:
    stage.situation = replace(ROUTED, cloud_policy="always")
    stage.local = STRONG
    stage.cloud.will(Answer(hang=True))
    with anyio.fail_after(20):
        events = await stage.answer(asking(1, stream=streams, edge=EdgeOptions(deadline_ms=300)))
    report = report_of(events)
    assert (gather(events).text, report.route, report.provisional) == ("surely", "local", True)
    with anyio.fail_after(20), pytest.raises(Unavailable):
        await stage.answer(asking(1, model="cloud", edge=EdgeOptions(deadline_ms=300, defer="never")))
