"""The 1.5B model as a person gets it: chosen by default, answering, extracting, following a schema."""

from __future__ import annotations

import json

import pytest

from tests.daemon.running_daemon import RunningDaemon, text_of
from tests.model_files import BIG_MODEL

pytestmark = [pytest.mark.slow, pytest.mark.big]


def test_the_largest_model_that_fits_is_the_default(default_daemon: RunningDaemon) -> None:
    answer = default_daemon.chat("What is the capital of France? One word.", temperature=0).json()
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["edge"]["model"] == BIG_MODEL
    assert answer["edge"]["route"] == "local"
    assert answer["edge"]["confidence"] > 0.5


def test_it_streams_and_keeps_to_a_schema(default_daemon: RunningDaemon) -> None:
    schema = {
        "type": "object",
        "properties": {"intent": {"enum": ["lost_card", "balance", "other"]}},
        "required": ["intent"],
        "additionalProperties": False,
    }
    shape = {"type": "json_schema", "json_schema": {"name": "intent", "schema": schema}}
    question = "Classify the customer's message: 'I cannot find my credit card anywhere, please block it!'"
    chunks = default_daemon.stream(question, response_format=shape, temperature=0)
    assert json.loads(text_of(chunks)) == {"intent": "lost_card"}
