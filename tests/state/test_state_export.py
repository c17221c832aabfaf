"""A session taken away as JSON Lines and as Markdown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge_agent.state.state import State


@pytest.fixture
def told(state: State, talk: Any, report: Any, escalation: Any) -> State:
    request_id = state.accept_request("s", talk("What is Ä\u2028B?", system="Be brief."))
    job = state.enqueue(escalation("k"), "offline", request_id=request_id)
    state.finish_request(request_id, "Perhaps C.", report(provisional=True))
    state.finish_job(job.id, "It is D.")
    state.fail_request(state.accept_request("s", talk("What is Ä\u2028B?", "It is D.", "Sure?")), "model_crashed")
    return state


def test_jsonl_has_one_record_a_line(told: State) -> None:
    lines = "".join(told.export("s", "jsonl")).removesuffix("\n").split("\n")
    session, first, second = (json.loads(line) for line in lines)
    assert (session["record"], session["id"]) == ("session", "s")
    assert session["started_at"].endswith("Z")
    assert [answer["text"] for answer in first["answers"]] == ["Perhaps C.", "It is D."]
    assert [answer["provisional"] for answer in first["answers"]] == [True, False]
    assert (second["status"], second["code"], second["parent"]) == (
        "failed",
        "model_crashed",
        first["answers"][1]["id"],
    )


def test_markdown_reads_like_a_conversation(told: State) -> None:
    text = "".join(told.export("s", "markdown"))
    said = [
        "# Session s",
        "**system:**",
        "Be brief.",
        "**user:**",
        "What is Ä\u2028B?",
        "**assistant (provisional):**",
        "Perhaps C.",
        "**assistant (revision, ",
        "It is D.",
        ", failed",
        "Sure?",
    ]
    places = [text.index(part) for part in said]
    assert places == sorted(places)
