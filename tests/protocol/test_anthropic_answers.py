from __future__ import annotations

import json

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as OfficialMessage
from anthropic.types import RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from hypothesis import strategies as st
from pydantic import TypeAdapter
from wire_strategies import ANSWER, REPORT, answers, cut_at, decoded, for_all, joined

from cloud_bridge.protocol import openai_chat
from cloud_bridge.protocol.anthropic import (
    StreamDecoder,
    StreamEncoder,
    decode_response,
    encode_error,
    encode_response,
)
from cloud_bridge.protocol.events import Finish, ReasoningDelta, Served, TextDelta, ToolCallDelta, Usage
from cloud_bridge.protocol.problems import Broken, Conflict, InvalidRequest, NotAuthenticated, NotFound, Unavailable
from cloud_bridge.protocol.sse import SseEvent

OFFICIAL = TypeAdapter(RawMessageStreamEvent)


def on_the_wire(events):
    encoder = StreamEncoder("msg_1", "auto")
    return b"".join(encoder.to_sse(event) for event in events) + encoder.end()


def chunks(events):
    encoder = StreamEncoder("msg_1", "auto")
    return [chunk for event in events for chunk in encoder.encode(event)]


@for_all(answers())
def test_our_door_and_our_provider_understand_each_other(events):
    assert joined(decoded(StreamDecoder(), cut_at(on_the_wire(events)))) == joined(events, with_logprobs=False)


def test_a_stream_cut_anywhere_is_the_same_stream():
    wire = on_the_wire(ANSWER)
    expected = joined(ANSWER, with_logprobs=False)
    for place in range(len(wire)):
        assert joined(decoded(StreamDecoder(), cut_at(wire, place))) == expected
    assert joined(decoded(StreamDecoder(), cut_at(wire, *range(len(wire))))) == expected


@for_all(answers(), st.lists(st.integers(0, 10**4), max_size=9))
def test_any_stream_cut_in_pieces_is_the_same_stream(events, places):
    wire = on_the_wire(events)
    pieces = cut_at(wire, *(place % len(wire) for place in places))
    assert joined(decoded(StreamDecoder(), pieces)) == joined(events, with_logprobs=False)


@for_all(answers())
def test_what_one_format_brings_the_other_passes_on(events):
    inner = openai_chat.StreamEncoder("chatcmpl-1", "m", 1, include_usage=True)
    wire = b"".join(inner.to_sse(event) for event in events) + inner.end()
    relayed = on_the_wire([*decoded(openai_chat.StreamDecoder(), cut_at(wire)), REPORT])
    assert joined(decoded(StreamDecoder(), cut_at(relayed))) == joined(events, with_logprobs=False)


@for_all(answers())
def test_the_official_client_reads_our_stream(events):
    snapshot, buffers = None, {}
    for chunk in chunks(events):
        official = OFFICIAL.validate_python(json.loads(json.dumps(chunk)))
        snapshot = accumulate_event(event=official, current_snapshot=snapshot, json_bufs=buffers)
    expected = encode_response(events, id="msg_1", model="auto")
    assert snapshot.stop_reason == expected["stop_reason"]
    assert snapshot.usage.output_tokens == expected["usage"]["output_tokens"]
    seen = [block.to_dict() for block in snapshot.content]
    told = [{key: value for key, value in block.items() if key != "signature"} for block in expected["content"]]
    assert [{key: block[key] for key in other} for block, other in zip(seen, told, strict=True)] == told


@for_all(answers())
def test_a_whole_answer_is_read_by_us_and_by_the_official_client(events):
    body = json.loads(json.dumps(encode_response(events, id="msg_1", model="auto")))
    OfficialMessage.model_validate(body)
    assert body["edge"] == REPORT.to_json()
    assert decode_response(body) == joined(events, with_logprobs=False)


def test_the_last_chunks_carry_edge():
    sent = chunks([Served("p", "m"), TextDelta("hi"), Finish("length", Usage(1, 2)), REPORT])
    assert [chunk["type"] for chunk in sent] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert sent[-1]["edge"] == sent[-2]["edge"] == REPORT.to_json()
    assert sent[-2]["usage"] == {"input_tokens": 1, "output_tokens": 2}


def test_parallel_calls_that_interleave_keep_their_blocks():
    sent = chunks(
        [
            TextDelta("wait"),
            ToolCallDelta(0, "a", "f", "{"),
            ToolCallDelta(1, "b", "g", "{}"),
            ToolCallDelta(0, arguments="}"),
            Finish("tool_calls"),
            REPORT,
        ]
    )
    deltas = [(chunk["index"], chunk["delta"]) for chunk in sent if chunk["type"] == "content_block_delta"]
    assert [index for index, _ in deltas] == [0, 1, 2, 1]
    assert [chunk["index"] for chunk in sent if chunk["type"] == "content_block_stop"] == [0, 1, 2]


def feed(*items):
    return decoded(StreamDecoder(), [SseEvent(json.dumps(item), item.get("type", "message")) for item in items])


START = {"type": "message_start", "message": {"usage": {"input_tokens": 3, "cache_read_input_tokens": 4}}}
STOP = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}


def block(index, **content):
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index, **content):
    return {"type": "content_block_delta", "index": index, "delta": content}


def test_a_provider_s_stream_is_read():
    assert feed(
        START,
        {"type": "ping"},
        block(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="hm"),
        delta(0, type="signature_delta", signature="xyz"),
        block(1, type="server_tool_use", id="s", name="web_search", input={}),
        delta(1, type="input_json_delta", partial_json='{"q": 1}'),
        block(2, type="text", text="h"),
        delta(2, type="text_delta", text="i"),
        delta(2, type="citations_delta", citation={}),
        block(3, type="tool_use", id="t", name="f", input={}),
        {"type": "content_block_stop", "index": 3},
        block(4, type="tool_use", id="u", name="g", input={"a": 1}),
        {"type": "content_block_stop", "index": 4},
        {"type": "something_new"},
        STOP,
        {"type": "message_stop"},
        {"type": "after the end"},
    ) == [
        ReasoningDelta("hm"),
        TextDelta("h"),
        TextDelta("i"),
        ToolCallDelta(0, "t", "f", ""),
        ToolCallDelta(0, arguments="{}"),
        ToolCallDelta(1, "u", "g", '{"a": 1}'),
        Finish("stop", Usage(7, 5)),
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("max_tokens", "length"), ("tool_use", "tool_calls"), ("refusal", "content_filter"), ("new", "stop")],
)
def test_reasons_to_stop(reason, finish):
    assert feed(START, {"type": "message_delta", "delta": {"stop_reason": reason}})[-1].reason == finish


@pytest.mark.parametrize(
    ("items", "code", "said"),
    [
        (
            [START, {"type": "error", "error": {"type": "overloaded_error", "message": "SECRET"}}],
            "provider_error",
            "overl",
        ),
        ([{"type": "error", "error": "SECRET"}], "provider_error", "unknown"),
        ([START], "provider_cut", "middle"),
        ([START, {"type": "message_stop"}], "provider_cut", "middle"),
        ([START, delta(0, type="text_delta", text=["SECRET"])], "provider_error", "could not be read"),
        ([START, {"type": "content_block_start"}], "provider_error", "could not be read"),
    ],
)
def test_a_provider_s_failure_is_told_without_its_words(items, code, said):
    with pytest.raises(Unavailable) as caught:
        feed(*items)
    assert caught.value.code == code
    assert said in str(caught.value)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("body", [[], {}, {"content": 3}, {"content": [{}]}, {"type": "error", "error": {}}])
def test_a_whole_answer_that_is_none_is_a_provider_error(body):
    with pytest.raises(Unavailable) as caught:
        decode_response(body)
    assert caught.value.code == "provider_error"


@pytest.mark.parametrize("kind", [InvalidRequest, Conflict, NotAuthenticated, NotFound, Unavailable, Broken])
def test_errors_have_anthropic_s_shape(kind):
    body = encode_error(kind("It failed.", code="it_failed", hint="Do this."))
    official = ErrorResponse.model_validate(body)
    assert official.error.message == "It failed. Do this."
    assert body["error"]["code"] == "it_failed"


def test_a_failure_in_the_middle_of_our_stream_reaches_a_client_as_one():
    encoder = StreamEncoder("msg_1", "auto")
    wire = encoder.to_sse(TextDelta("hi")) + encoder.failure(Broken("It failed.", code="it_failed"))
    with pytest.raises(Unavailable) as caught:
        decoded(StreamDecoder(), cut_at(wire))
    assert "api_error" in str(caught.value)
