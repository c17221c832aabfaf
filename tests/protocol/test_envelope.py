from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from wire_strategies import answers, conversations, for_all, some_text

from cloud_bridge.protocol.conversation import Conversation, Message, Sampling, Text
from cloud_bridge.protocol.envelope import (
    Escalation,
    conversation_from_json,
    conversation_to_json,
    decode_escalation,
    encode_escalation,
    event_from_json,
    event_to_json,
)
from cloud_bridge.protocol.events import Served, ToolCallDelta
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.report import Report

escalations = st.builds(
    Escalation,
    st.builds(Masked, conversations() | conversations(anthropic=True), st.dictionaries(some_text, st.integers(0, 9))),
    some_text,
    some_text,
    some_text,
    st.none() | some_text,
    st.none() | st.integers(0, 10**6),
    st.none() | st.floats(0, 10),
)


@for_all(escalations)
def test_an_escalation_survives_the_wire_and_has_one_encoding(escalation):
    wire = encode_escalation(escalation)
    assert decode_escalation(wire) == escalation
    assert encode_escalation(decode_escalation(wire)) == wire


@for_all(conversations())
def test_a_conversation_survives_the_log(conversation):
    document = json.loads(json.dumps(conversation_to_json(conversation)))
    assert conversation_from_json(document) == conversation


@for_all(answers(choices=3))
def test_events_survive_the_log(events):
    sent = [event for event in events if not isinstance(event, Report)] + [Served("p", "m", "eu", 1.0, 2.0)]
    assert [event_from_json(json.loads(json.dumps(event_to_json(event)))) for event in sent] == sent


def test_one_answer_is_written_as_before_there_could_be_several():
    conversation = Conversation((Message("user", (Text("Hi"),)),))
    assert "n" not in conversation_to_json(conversation)["sampling"]
    two = replace(conversation, sampling=Sampling(n=2))
    assert conversation_from_json(conversation_to_json(two)) == two
    assert "logprobs" not in event_to_json(ToolCallDelta(0, "call_1", "f", "{}"))


@pytest.mark.parametrize(
    "document",
    [
        {"type": "other_choice", "index": 0, "event": {"type": "reasoning", "text": "x"}},
        {"type": "other_choice", "index": "1", "event": {"type": "reasoning", "text": "x"}},
        {"type": "other_choice", "index": 1, "event": {"type": "served", "provider": "p", "model": "m"}},
        {
            "type": "other_choice",
            "index": 1,
            "event": {"type": "other_choice", "index": 2, "event": {"type": "reasoning", "text": "x"}},
        },
        {"type": "other_choice", "index": 1},
    ],
)
def test_what_is_no_event_of_another_choice_is_refused(document):
    with pytest.raises((ValueError, KeyError, TypeError)):
        event_from_json(document)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"null", b'{"version": 2}', b'{"version": 1, "conversation": {}}', b"\xff", b"[" * 100_000],
)
def test_what_is_no_escalation_is_refused(body):
    with pytest.raises(InvalidRequest) as caught:
        decode_escalation(body)
    assert caught.value.hint
