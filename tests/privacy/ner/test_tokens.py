"""What the token classifier reads beside the pieces: capitals, digits, line starts, and where words begin."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from edge_agent.models.bundled import data_dir
from edge_agent.privacy.ner.tokens import CAPITAL, CAPITALS, DIGITS, LINE_START, PLAIN, TOKEN_TYPES, read, windows


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer.from_file(str(data_dir() / "detectors" / "edge-pii-int8" / "tokenizer.json"))
    made.no_truncation()
    made.no_padding()
    return made


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("anna Anna ANNA A", [PLAIN, CAPITAL, CAPITALS, CAPITAL]),
        ("on 5 May", [PLAIN, DIGITS, CAPITAL]),
        ("one\nTwo", [PLAIN, CAPITAL + LINE_START]),
        ("Écoute . !", [CAPITAL, PLAIN, PLAIN]),
    ],
)
def test_each_piece_knows_how_its_word_was_written(tokenizer: Tokenizer, text: str, types: list[int]):
    tokens = read(text, tokenizer)
    assert tokens.types[tokens.word_starts].tolist() == types


def test_all_pieces_of_a_word_look_like_the_word(tokenizer: Tokenizer):
    tokens = read("Westgårdsson", tokenizer)
    assert len(tokens) > 1
    assert set(tokens.types.tolist()) == {CAPITAL}
    assert tokens.word_starts.tolist() == [True] + [False] * (len(tokens) - 1)


@given(st.text(max_size=60))
def test_pieces_stand_in_order_where_they_say_whatever_the_text(tokenizer: Tokenizer, text: str):
    tokens = read(text, tokenizer)
    places = list(zip(tokens.starts.tolist(), tokens.ends.tolist(), strict=True))
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert all(first[1] <= second[0] or first == second for first, second in itertools.pairwise(places))
    assert all(0 <= kind < TOKEN_TYPES for kind in tokens.types.tolist())


@given(st.integers(0, 900), st.integers(40, 300), st.integers(0, 32))
def test_windows_cover_all_pieces_and_none_is_too_long(tokenizer: Tokenizer, words: int, size: int, overlap: int):
    tokens = read("of " * words, tokenizer)
    ranges = windows(tokens, size, overlap)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == words
    assert all(end - start <= size for start, end in ranges)
    assert all(second[0] <= first[1] for first, second in itertools.pairwise(ranges))
