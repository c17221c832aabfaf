"""The master key, session keys, and what they seal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import Broken
from edge_agent.state import bodies
from edge_agent.state.keys import KeyRing, SessionKey
from edge_agent.state.master_key.home_key import HomeKey

KEY = SessionKey(b"k" * 32)


@given(st.binary(max_size=2000), st.binary(max_size=50), st.data())
def test_a_body_opens_only_whole_and_in_its_place(body: bytes, place: bytes, data: st.DataObject) -> None:
    sealed = KEY.seal(bodies.pack(body), place)
    assert bodies.unpack(KEY.open(sealed, place)) == body
    index = data.draw(st.integers(0, len(sealed) - 1))
    altered = sealed[:index] + bytes([sealed[index] ^ data.draw(st.integers(1, 255))]) + sealed[index + 1 :]
    for attempt, where in ((altered, place), (sealed, place + b"x"), (sealed[:index], place)):
        with pytest.raises(Broken) as caught:
            KEY.open(attempt, where)
        assert caught.value.code == "state_damaged"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec=None)) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_any_json_comes_back_lone_surrogates_included(document: dict[str, object]) -> None:
    assert bodies.from_json(bodies.unpack(bodies.pack(bodies.to_json(document)))) == document


def test_the_key_is_made_once_and_only_its_owner_reads_it(home: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        rings = list(threads.map(lambda _: HomeKey(home).open(), range(16)))
    assert len({ring.fingerprint for ring in rings}) == 1
    path = home / "keys" / "master.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [found.name for found in path.parent.iterdir()] == ["master.key"]
    path.chmod(0o644)
    HomeKey(home).open()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_damaged_key_is_named(home: Path) -> None:
    HomeKey(home).open()
    (home / "keys" / "master.key").write_bytes(b"short")
    with pytest.raises(Broken) as caught:
        HomeKey(home).open()
    assert caught.value.code == "master_key_damaged"
    assert "backup" in caught.value.hint


def test_a_missing_key_beside_a_database_is_not_replaced(home: Path) -> None:
    home.mkdir()
    (home / "state.db").write_bytes(b"something")
    with pytest.raises(Broken) as caught:
        HomeKey(home).open()
    assert caught.value.code == "master_key_missing"
    assert not (home / "keys").exists()


def test_a_wrapped_key_opens_only_for_its_session() -> None:
    ring = KeyRing(b"m" * 32)
    key, wrapped = ring.new_session_key("id", "mine")
    sealed = key.seal(b"text", b"")
    assert ring.unwrap(wrapped, "id", "mine").open(sealed, b"") == b"text"
    for other, args in ((ring, ("id", "yours")), (ring, ("di", "mine")), (KeyRing(b"n" * 32), ("id", "mine"))):
        with pytest.raises(Broken):
            other.unwrap(wrapped, *args)
