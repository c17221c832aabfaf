from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from wire_strategies import ANSWER, CHOICES, REPORT, answers, cut_at, decoded, for_all, joined

from cloud_bridge.protocol.events import (
    Finish,
    OtherChoice,
    ReasoningDelta,
    Served,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from cloud_bridge.protocol.gathered import gather
from cloud_bridge.protocol.openai_chat import (
    StreamDecoder,
    StreamEncoder,
    decode_response,
    encode_error,
    encode_response,
)
from cloud_bridge.protocol.problems import Broken, InvalidRequest, NeverLeaves, Unavailable
from cloud_bridge.protocol.sse import SseEvent


def on_the_wire(events, **options):
    encoder = StreamEncoder("chatcmpl-1", "auto", 1_700_000_000, include_usage=True, **options)
    return b"".join(encoder.to_sse(event) for event in events) + encoder.end()


def chunks(events, **options):
    encoder = StreamEncoder("chatcmpl-1", "auto", 1_700_000_000, **options)
    return [chunk for event in events for chunk in encoder.encode(event)]


@for_all(answers(choices=3))
def test_our_door_and_our_provider_understand_each_other(events):
    wire = on_the_wire(events, logprobs=True, top_logprobs=20)
    assert joined(decoded(StreamDecoder(3), cut_at(wire))) == joined(events)


@pytest.mark.parametrize("pieces", [1, 2, 3, 7])
def test_choices_are_told_apart_however_the_stream_is_cut(pieces):
    wire = on_the_wire(CHOICES)
    events = decoded(StreamDecoder(3), cut_at(wire, *range(0, len(wire), pieces)))
    assert joined(events) == joined(CHOICES)
    assert events[-1] == Finish("stop", Usage(12, 34))
    assert sum(isinstance(event, Finish) for event in events) == 1


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


@for_all(answers(choices=3), st.booleans())
def test_the_official_client_reads_our_stream(events, include_usage):
    state = ChatCompletionStreamState()
    for chunk in chunks(events, include_usage=include_usage, logprobs=True, top_logprobs=2):
        state.handle_chunk(ChatCompletionChunk.model_validate(json.loads(json.dumps(chunk))))
    whole = state.current_completion_snapshot
    expected = encode_response(events, id="chatcmpl-1", model="auto", created=1)
    for got, told in zip(whole.choices, expected["choices"], strict=True):
        assert got.index == told["index"]
        assert (got.message.content or "") == (told["message"]["content"] or "")
        assert got.finish_reason == told["finish_reason"]
        assert [call.function.arguments for call in got.message.tool_calls or ()] == [
            call["function"]["arguments"] for call in told["message"].get("tool_calls", ())
        ]
    if include_usage:
        assert whole.usage.model_dump(exclude_none=True) == expected["usage"]


@for_all(answers(choices=3))
def test_a_whole_answer_is_read_by_us_and_by_the_official_client(events):
    body = encode_response(events, id="chatcmpl-1", model="auto", created=1, logprobs=True, top_logprobs=20)
    body = json.loads(json.dumps(body))
    ChatCompletion.model_validate(body)
    assert body["edge"] == REPORT.to_json()
    assert body["model"] == "big"
    assert gather(decode_response(body, 3)) == replace(gather(events), report=None)
    assert gather(decode_response(body)).others == {}


def test_each_choice_has_its_role_its_reason_and_its_calls():
    sent = chunks(CHOICES, include_usage=True)
    choices = [choice for chunk in sent for choice in chunk["choices"]]
    for index, reason in enumerate(("stop", "length", "tool_calls")):
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert [choice["finish_reason"] for choice in own] == [None] * (len(own) - 1) + [reason]
    assert [chunk["usage"] for chunk in sent if chunk["usage"]] == [
        {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
    ]
    assert [("edge" in chunk) for chunk in sent] == [False] * (len(sent) - 1) + [True]
    body = encode_response(CHOICES, id="chatcmpl-1", model="auto", created=1)
    assert [(choice["index"], choice["finish_reason"]) for choice in body["choices"]] == [
        (0, "stop"),
        (1, "length"),
        (2, "tool_calls"),
    ]
    assert [choice["message"]["content"] for choice in body["choices"]] == ["0: <PERSON_1>", "1: <PERSON_2> 😀", None]
    assert body["usage"]["completion_tokens"] == 34


def test_a_tool_call_shows_its_log_probabilities_like_text():
    delta = ToolCallDelta(0, "call_1", "f", "{}", (TokenLogprob("{}", -0.5),))
    (shown,) = chunks([delta], logprobs=True)[1]["choices"][0]["logprobs"]["content"]
    body = encode_response([delta, Finish("tool_calls")], id="1", model="m", created=1, logprobs=True)
    assert body["choices"][0]["logprobs"]["content"] == [shown]
    assert (shown["token"], shown["logprob"]) == ("{}", -0.5)


@pytest.mark.parametrize("include_usage", [True, False])
def test_the_last_chunk_carries_edge_and_no_other(include_usage):
    sent = chunks([TextDelta("hi"), Finish("stop", Usage(1, 2)), REPORT], include_usage=include_usage)
    assert [("edge" in chunk) for chunk in sent] == [False] * (len(sent) - 1) + [True]
    assert sent[-1]["edge"]["decision_id"] == "dec_1"
    assert sent[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    if include_usage:
        assert sent[-1]["choices"] == []
        assert sent[-1]["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        assert all(chunk["usage"] is None for chunk in sent[:-1])
    else:
        assert sent[-1]["choices"][0]["finish_reason"] == "stop"
        assert all(chunk["choices"] for chunk in sent)


def test_a_stream_ends_with_done():
    assert on_the_wire([Served("p", "m"), REPORT]).endswith(b"\n\ndata: [DONE]\n\n")


def test_log_probabilities_are_shown_only_to_who_asked():
    delta = TextDelta("a", (TokenLogprob("a", -0.5, (("a", -0.5), ("b", float("-inf")))),))
    assert all(chunk["choices"][0]["logprobs"] is None for chunk in chunks([delta, Finish(), REPORT]))
    (shown,) = chunks([delta], logprobs=True, top_logprobs=2)[1]["choices"][0]["logprobs"]["content"]
    assert shown["bytes"] == [97]
    assert [item["logprob"] for item in shown["top_logprobs"]] == [-0.5, -9999.0]
    assert json.dumps(shown, allow_nan=False)


def test_an_answer_that_was_only_queued_says_so():
    queued = replace(REPORT, route="queued", job_id="job_1", model=None)
    body = encode_response([queued], id="chatcmpl-1", model="auto", created=1)
    assert body["edge"]["job_id"] == "job_1"
    assert body["choices"][0]["message"]["content"] == ""


def feed(*items):
    decoder = StreamDecoder()
    sse = [SseEvent(item if isinstance(item, str) else json.dumps(item)) for item in items]
    return decoded(decoder, sse)


def chunk(delta=None, reason=None, **fields):
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason}], **fields}


def test_a_provider_may_be_untidy():
    assert feed(
        {"choices": []},
        chunk({"role": "assistant"}),
        chunk({"role": "assistant", "content": None, "reasoning_content": "hm"}),
        chunk({"content": "h"}),
        chunk({"content": "i"}),
        {"choices": [{"index": 1, "delta": {"content": "another answer"}}]},
        chunk({}, "length"),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
        "[DONE]",
        "after the end",
    ) == [ReasoningDelta("hm"), TextDelta("h"), TextDelta("i"), Finish("length", Usage(3, 2))]


def test_a_choice_that_nobody_asked_for_is_dropped_and_one_that_breaks_off_is_a_cut():
    for index in (2, 9, 10**9, -1):
        item = {"choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": "stop"}]}
        sse = [SseEvent(json.dumps(each)) for each in (item, chunk({"content": "hi"}, "stop"))]
        assert decoded(StreamDecoder(2), sse) == [TextDelta("hi"), Finish("stop")]
    half = SseEvent(json.dumps({"choices": [{"index": 1, "delta": {"content": "x"}}]}))
    decoder = StreamDecoder(2)
    assert decoder.feed(half) == [OtherChoice(1, TextDelta("x"))]
    decoder.feed(SseEvent(json.dumps(chunk({"content": "hi"}, "stop"))))
    with pytest.raises(Unavailable, match="in the middle"):
        decoder.feed(SseEvent("[DONE]"))


def test_usage_and_done_may_be_missing():
    assert feed(chunk({"content": "hi"}), chunk({}, "stop")) == [TextDelta("hi"), Finish("stop")]


def test_usage_may_come_with_the_last_word():
    assert feed(chunk({"content": "hi"}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 1}), "[DONE]") == [
        TextDelta("hi"),
        Finish("stop", Usage(1, 1)),
    ]


def test_tool_calls_without_an_index_are_told_apart_by_their_ids():
    first = {"id": "a", "function": {"name": "f", "arguments": "{"}}
    assert feed(
        chunk({"tool_calls": [first]}),
        chunk({"tool_calls": [{"function": {"arguments": "}"}}]}),
        chunk({"tool_calls": [{"id": "b", "function": {"name": "g", "arguments": "{}"}}]}),
        chunk({}, "tool_calls"),
    ) == [
        ToolCallDelta(0, "a", "f", "{"),
        ToolCallDelta(0, None, None, "}"),
        ToolCallDelta(1, "b", "g", "{}"),
        Finish("tool_calls"),
    ]


@pytest.mark.parametrize(
    ("items", "code", "said"),
    [
        ([chunk({"content": "hi"}), {"error": {"type": "overloaded", "message": "SECRET"}}], "provider_error", "overl"),
        ([{"error": {"type": "SECRET words", "message": "x", "code": 7}}], "provider_error", "unknown"),
        ([{"error": "SECRET"}], "provider_error", "unknown"),
        ([chunk({"content": "hi"})], "provider_cut", "middle"),
        ([], "provider_cut", "middle"),
        ([chunk({"content": "hi"}), "[DONE]"], "provider_cut", "middle"),
        (["SECRET{"], "provider_error", "could not be read"),
        (["[]"], "provider_error", "could not be read"),
        ([{"choices": "SECRET"}], "provider_error", "could not be read"),
        ([chunk({"content": {"SECRET": 1}})], "provider_error", "could not be read"),
        ([{"choices": [{"index": float("inf")}]}], "provider_error", "could not be read"),
        ([{"choices": [{"index": "SECRET"}]}], "provider_error", "could not be read"),
    ],
)
def test_a_provider_s_failure_is_told_without_its_words(items, code, said):
    with pytest.raises(Unavailable) as caught:
        feed(*items)
    assert caught.value.code == code
    assert said in str(caught.value)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("body", [None, {}, {"choices": []}, {"choices": [{}]}, {"error": {"type": "x"}}])
def test_a_whole_answer_that_is_none_is_a_provider_error(body):
    with pytest.raises(Unavailable) as caught:
        decode_response(body)
    assert caught.value.code == "provider_error"


@pytest.mark.parametrize(
    ("kind", "type_"),
    [(InvalidRequest, "invalid_request_error"), (NeverLeaves, "permission_error"), (Broken, "server_error")],
)
def test_errors_have_openai_s_shape(kind, type_):
    assert encode_error(kind("It failed.", code="it_failed", hint="Do this.", param="messages")) == {
        "error": {"message": "It failed. Do this.", "type": type_, "code": "it_failed", "param": "messages"}
    }


def test_a_failure_in_the_middle_of_our_stream_reaches_a_client_as_one():
    encoder = StreamEncoder("chatcmpl-1", "auto", 1)
    wire = encoder.to_sse(TextDelta("hi")) + encoder.failure(Broken("It failed.", code="it_failed"))
    with pytest.raises(Unavailable) as caught:
        decoded(StreamDecoder(), cut_at(wire))
    assert "server_error" in str(caught.value)
