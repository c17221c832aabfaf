"""Messages of reconciliation: what one side writes, the other reads; anything else is refused by path."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.sync import (
    MAX_SEALED_BYTES,
    Box,
    Exchange,
    Exchanged,
    Found,
    Invite,
    Join,
    Joined,
    KeyObject,
    Leave,
    Member,
    Remove,
    Segment,
    hash_token,
)
from cloud_bridge.protocol.sync_json import (
    decode_exchanged,
    decode_joined,
    decode_members,
    decode_request,
    encode_exchanged,
    encode_joined,
    encode_members,
    encode_request,
)

ORIGIN = "01KABCDEFGHJKMNPQRSTVWXYZ0"
DECODERS = (decode_request, decode_exchanged, decode_joined, decode_members)

names = st.text("abcXYZ019_-", min_size=1, max_size=128)
origins = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=25, max_size=25).map("0".__add__)
subjects = st.text("abcXYZ019_-", min_size=43, max_size=43)
numbers = st.integers(0, 2**63 - 1)
notes = st.binary(min_size=1, max_size=100)
cards = st.binary(max_size=100)
box_keys = st.binary(min_size=32, max_size=32)
seconds = st.floats(0, 1e11)
key_objects = st.builds(KeyObject, names, subjects, numbers, notes)
members = st.lists(st.builds(Member, origins, box_keys, cards, seconds, seconds), max_size=4).map(tuple)
haves = st.dictionaries(origins, numbers, max_size=4)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    after, through = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
    keys = draw(st.lists(names, max_size=3).map(tuple))
    return Segment(draw(origins), after, through, draw(numbers), keys, draw(notes))


def several(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


requests = st.one_of(
    st.builds(
        Exchange,
        *(names, origins, haves, several(segments()), several(key_objects), several(subjects), numbers),
    ),
    st.builds(Found, names, origins, box_keys, notes),
    st.builds(Invite, names, names.map(hash_token), notes, seconds),
    st.builds(Join, names, names, origins, box_keys, cards),
    st.builds(
        Remove, names, origins, numbers.filter(bool), st.dictionaries(origins, notes, max_size=3), several(origins)
    ),
    st.builds(Leave, names),
)
exchanged = st.builds(
    Exchanged,
    *(haves, several(segments()), several(key_objects), members, st.booleans()),
    st.none() | st.builds(Box, numbers, notes),
)


@settings(deadline=None, max_examples=60)
@given(requests)
def test_what_is_asked_is_read_as_it_was_meant(request):
    body = encode_request(request)
    assert decode_request(body) == request
    assert encode_request(decode_request(body)) == body


@settings(deadline=None, max_examples=60)
@given(exchanged, st.builds(Joined, notes, members))
def test_what_is_answered_is_read_as_it_was_meant(exchange, joined):
    assert decode_exchanged(encode_exchanged(exchange)) == exchange
    assert decode_joined(encode_joined(joined)) == joined
    assert decode_members(encode_members(joined.members)) == joined.members


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=100)
@given(requests, st.data())
def test_a_field_of_another_kind_is_refused_or_ignored_and_never_quoted(request, data):
    document = json.loads(encode_request(request))
    key = data.draw(st.sampled_from(sorted(document)))
    document[key] = data.draw(json_values)
    problem = None
    try:
        decode_request(json.dumps(document).encode())
    except InvalidRequest as error:
        problem = error
    assert problem is None or problem.code in {"malformed_sync", "unsupported_version"}


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=40))
@pytest.mark.parametrize("decode", DECODERS)
def test_any_bytes_are_refused(decode, body):
    with pytest.raises(InvalidRequest):
        decode(body)


def exchange(**changes: Any) -> dict[str, Any]:
    """A good exchange as JSON, but for `changes`."""
    good = Exchange("group", ORIGIN, {ORIGIN: 3}, (Segment(ORIGIN, 1, 3, 0, ("key",), b"sealed"),))
    return {**json.loads(encode_request(good)), **changes}


def segment(**changes: Any) -> dict[str, Any]:
    return exchange(segments=[{**exchange()["segments"][0], **changes}])


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (exchange(group="g g"), "group"),
        (exchange(origin="laptop"), "origin"),
        (exchange(origin=ORIGIN.lower()), "origin"),
        (exchange(have=None), "have"),
        (exchange(have={"laptop": 1}), "have"),
        (exchange(have={ORIGIN: -1}), f"have.{ORIGIN}"),
        (exchange(have={ORIGIN: 1.5}), f"have.{ORIGIN}"),
        (exchange(have={f"0{number:025d}": 1 for number in range(1025)}), "have"),
        (exchange(max_bytes=None), "max_bytes"),
        (exchange(max_bytes=True), "max_bytes"),
        (exchange(gone=["short"]), "gone"),
        (exchange(gone=["x" * 43] * 4097), "gone"),
        (exchange(segments={}), "segments"),
        (exchange(segments=[{}] * 4097), "segments"),
        (segment(after=3), "segments[0].through"),
        (segment(through=2**63), "segments[0].through"),
        (segment(keys=["a\n"]), "segments[0].keys"),
        (segment(sealed=""), "segments[0].sealed"),
        (segment(sealed="***"), "segments[0].sealed"),
        (segment(sealed="A" * (MAX_SEALED_BYTES * 4 // 3 + 4)), "segments[0].sealed"),
        (exchange(do="dance"), "do"),
        ({"do": "leave", "version": 1}, "group"),
        ({"do": "remove", "version": 1, "group": "g", "member": ORIGIN, "epoch": 0, "boxes": {}}, "epoch"),
        ({"do": "remove", "version": 1, "group": "g", "member": ORIGIN, "epoch": 1, "boxes": {ORIGIN: ""}}, None),
        ({"do": "found", "version": 1, "group": "g", "origin": ORIGIN, "box_key": "QUJD", "card": "QUJD"}, "box_key"),
    ],
)
def test_what_is_wrong_is_named(document, path):
    with pytest.raises(InvalidRequest) as caught:
        decode_request(json.dumps(document).encode())
    assert caught.value.code == "malformed_sync"
    assert caught.value.param == (path or f"boxes.{ORIGIN}")


@pytest.mark.parametrize("version", [2, 0, True, "1", [1]])
def test_another_version_is_refused_as_such(version):
    with pytest.raises(InvalidRequest) as caught:
        decode_request(json.dumps(exchange(version=version)).encode())
    assert caught.value.code == "unsupported_version"


def test_a_newer_device_may_say_more():
    assert decode_request(json.dumps(exchange(mood="good")).encode()).segments[0].through == 3


def test_a_deep_document_is_refused():
    with pytest.raises(InvalidRequest):
        decode_request(b"[" * 100_000)


def test_a_token_is_kept_as_a_hash_only():
    assert hash_token("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(InvalidRequest):
        hash_token("no token")
