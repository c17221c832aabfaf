"""A stretch of events survives its journey as it was, or is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import Broken
from edge_agent.state.sync.segments import SHARED_KINDS, SharedEvent, pack, unpack

KEYS = {"one": b"1" * 32, "two": b"2" * 32}
TEXT = st.text(st.characters(), max_size=40)


@st.composite
def events(draw: st.DrawFn) -> SharedEvent:
    key = draw(st.sampled_from([None, *KEYS]))
    return SharedEvent(
        id=draw(st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26)),
        seq=draw(st.integers(1, 2**40)),
        at_ms=draw(st.integers(0, 2**47)),
        session_id=draw(TEXT),
        parent=draw(st.none() | TEXT),
        kind=draw(st.sampled_from(SHARED_KINDS)),
        meta=draw(st.dictionaries(TEXT, st.none() | st.booleans() | TEXT, max_size=3)),
        key=key,
        document=None if key is None else {"messages": [draw(TEXT)], "mapping": [], "withheld": draw(TEXT)},
    )


@settings(max_examples=50)
@given(st.lists(events(), max_size=6))
def test_what_is_packed_is_unpacked(sent: list[SharedEvent]) -> None:
    assert unpack(pack(sent, KEYS), KEYS.get) == sent


@settings(max_examples=50)
@given(st.lists(events(), max_size=6))
def test_what_is_forgotten_is_left_out_and_the_rest_is_there(sent: list[SharedEvent]) -> None:
    keys = {"one": KEYS["one"]}
    assert unpack(pack(sent, KEYS), keys.get) == [event for event in sent if event.key != "two"]


@settings(max_examples=50)
@given(st.lists(events(), min_size=1, max_size=3), st.data())
def test_what_was_cut_or_altered_is_refused_or_the_same(sent: list[SharedEvent], data: st.DataObject) -> None:
    payload = bytearray(pack(sent, KEYS))
    at = data.draw(st.integers(0, len(payload) - 1))
    if data.draw(st.booleans()):
        payload = payload[:at]
    else:
        payload[at] ^= data.draw(st.integers(1, 255))
    found: list[SharedEvent] = []
    with contextlib.suppress(Broken):
        found = unpack(bytes(payload), KEYS.get)
    # The head is authenticated by the segment around it; bodies are by themselves.
    known = {event.id: event.document for event in sent}
    assert all(event.document is None or event.document == known.get(event.id) for event in found)


def test_a_body_does_not_open_under_another_event() -> None:
    one = SharedEvent("A" * 26, 1, 0, "s", None, "answer.given", {}, "one", {"messages": ["yes"]})
    packed = pack([one], KEYS)
    other = pack([SharedEvent("B" * 26, 1, 0, "s", None, "answer.given", {}, "one", {"messages": ["yes"]})], KEYS)
    head = 4 + int.from_bytes(other[:4], "big")
    body = packed[4 + int.from_bytes(packed[:4], "big") :]
    with pytest.raises(Broken):
        unpack(other[:head] + body, KEYS.get)
