from __future__ import annotations

import pytest
from hypothesis import strategies as st
from wire_strategies import cut_at, for_all

from cloud_bridge.protocol.problems import Unavailable
from cloud_bridge.protocol.sse import SseDecoder, SseEvent, encode_sse

WIRE = (
    "\ufeff: hello\ndata: é€😀\ndata:  two\n\nevent: delta\nid: 7\nretry: 10\ndata:{}\n\n:\n\nevent: lost\n\ndata\n\n"
)
EVENTS = [SseEvent("é€😀\n two"), SseEvent("{}", "delta"), SseEvent("")]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_bytes_cut_anywhere_give_the_same_events(line_end):
    wire = WIRE.replace("\n", line_end).encode()
    for place in range(len(wire) + 1):
        assert cut_at(wire, place) == EVENTS
    assert cut_at(wire, *range(len(wire))) == EVENTS


@for_all(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_any_bytes_in_any_pieces(wire, places):
    assert cut_at(wire, *(min(place, len(wire)) for place in places)) == cut_at(wire)


@for_all(st.lists(st.tuples(st.text(st.characters(exclude_categories=("Cs",))), st.none() | st.just("message_stop"))))
def test_what_is_encoded_is_decoded(pairs):
    wire = b"".join(encode_sse(data, event) for data, event in pairs)
    lines_joined = [data.replace("\r\n", "\n").replace("\r", "\n") for data, _ in pairs]
    expected = [SseEvent(data, event or "message") for data, (_, event) in zip(lines_joined, pairs, strict=True)]
    assert cut_at(wire) == expected


def test_an_event_without_its_blank_line_is_not_delivered():
    assert SseDecoder().feed(b"data: half\n") == []


@pytest.mark.parametrize("wire", [b"data: " + b"x" * 100, b"data: 123456\n" * 10])
def test_an_endless_event_is_refused(wire):
    decoder = SseDecoder(max_event_bytes=64)
    with pytest.raises(Unavailable) as caught:
        any(decoder.feed(wire[place : place + 1]) for place in range(len(wire)))
    assert caught.value.code == "stream_event_too_large"


def test_many_small_events_are_not_one_large_one():
    decoder = SseDecoder(max_event_bytes=64)
    assert len(decoder.feed(b"data: 1\n\n" * 100)) == 100
