from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.token_text import bytes_of, shown


def test_a_part_of_a_character_is_spelled_as_openai_does():
    assert shown("🌟".encode()[:2]) == "bytes:\\xf0\\x9f"
    assert shown("é".encode()) == "é"


@given(st.binary(max_size=12))
def test_the_bytes_come_back(piece):
    assert bytes_of(shown(piece)) == piece
