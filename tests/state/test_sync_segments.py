"""A stretch of events survives its journey as it was, or is refused."""

from __future__ import annotations

import contextlib
import os
import tracemalloc
import zlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import Broken
from edge_agent.state import aead, bodies
from edge_agent.state.sync.replica import MAX_BODY_BYTES
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
def test_what_has_no_key_stays_shut_and_the_rest_opens(sent: list[SharedEvent]) -> None:
    keys = {"one": KEYS["one"]}
    found = unpack(pack(sent, KEYS), keys.get)
    assert [event.is_shut for event in found] == [event.key == "two" for event in sent]
    assert [event for event in found if event.key != "two"] == [event for event in sent if event.key != "two"]


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


def spoken(count: int, text: str) -> list[SharedEvent]:
    document = {"messages": [text], "mapping": [], "withheld": ""}
    return [
        SharedEvent(f"{number:026}", 1 + number, 0, "s", None, "answer.given", {}, "one", document)
        for number in range(count)
    ]


@pytest.mark.parametrize(("count", "letters"), [(1, 100_000_000), (60, 3_000_000)])
def test_what_would_be_large_once_it_is_inflated_is_refused_before_it_is(count: int, letters: int) -> None:
    packed = pack(spoken(count, "a" * letters), KEYS)
    tracemalloc.start()
    try:
        with pytest.raises(Broken) as caught:
            unpack(packed, KEYS.get)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (caught.value.code, peak < 100_000_000) == ("sync_damaged", True)


def test_a_body_of_the_largest_size_that_is_told_is_read() -> None:
    sent = spoken(1, os.urandom(MAX_BODY_BYTES // 2 - 100).hex())
    assert unpack(pack(sent, KEYS), KEYS.get) == sent


def test_what_nests_without_end_is_refused() -> None:
    (event,) = spoken(1, "yes")
    body = aead.seal(AESGCM(KEYS["one"]), bodies.pack(b"[" * 200_000), event.id.encode())
    packed = pack([event], KEYS)
    size = len(packed) - 4 - int.from_bytes(packed[:4], "big")
    head = zlib.decompress(packed[4:-size]).replace(f'"size":{size}'.encode(), f'"size":{len(body)}'.encode())
    head = zlib.compress(head)
    with pytest.raises(Broken):
        unpack(len(head).to_bytes(4, "big") + head + body, KEYS.get)


@settings(max_examples=50)
@given(st.binary(max_size=2000) | st.integers(0, 5000).map(bytes), st.integers(0, 5000))
def test_a_body_is_unpacked_whole_up_to_its_limit(body: bytes, limit: int) -> None:
    packed = bodies.pack(body)
    assert bodies.unpack(packed) == body
    if len(body) <= limit:
        assert bodies.unpack(packed, limit) == body
        return
    with pytest.raises(ValueError, match="too large"):
        bodies.unpack(packed, limit)
