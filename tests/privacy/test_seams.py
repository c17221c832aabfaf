"""A value across the seam of two texts is found in both, and what each text holds alone is nobody's business here."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.privacy.seams import KEY_REACH, REACH, across
from edge_agent.privacy.spans import Span

CARD = "4111 1111 1111 1111"


def cards(text: str) -> list[Span]:
    return [Span(m.start(), m.end(), "CREDIT_CARD", 1.0) for m in re.finditer(r"4111(?: ?1111){3}", text)]


def names(text: str) -> list[Span]:
    return [Span(m.start(), m.end(), "PERSON", 0.6) for m in re.finditer(r"[A-Z][a-z]+(?: ?[A-Z][a-z]+)+", text)]


@given(
    before=st.text("ab .", max_size=300),
    after=st.text("ab .", max_size=300),
    cuts=st.sets(st.integers(1, len(CARD) - 1), min_size=1, max_size=3),
)
def test_every_piece_of_a_split_value_is_found_where_it_stands(before: str, after: str, cuts: set[int]):
    pieces = [CARD[start:end] for start, end in pairwise([0, *sorted(cuts), len(CARD)])]
    texts = [before + pieces[0], *pieces[1:-1], pieces[-1] + after]
    found = across(texts, cards)
    for text, piece, spans in zip(texts, pieces, found, strict=True):
        if piece.strip():
            assert {text[span.start : span.end].strip() for span in spans} == {piece.strip()}


def test_what_one_text_holds_alone_is_left_to_it():
    assert across([f"{CARD} and", f"then {CARD}"], cards) == [[], []]
    assert across([CARD], cards) == [[]]
    assert across([], cards) == []
    assert across(["", CARD], cards) == [[], []]


def test_a_space_that_the_split_took_is_thought_of():
    found = across(["4111 1111", "1111 1111"], cards)
    assert [(span.start, span.end) for spans in found for span in spans] == [(0, 9), (0, 9), (0, 9), (0, 9)]


def test_a_guess_about_two_words_pushed_together_is_none():
    assert [len(spans) for spans in across(["say Hello", "World "], names)] == [1, 1], "with a space between, it may be"
    assert across(["say Hello", "World "], lambda text: names(text) if "HelloWorld" in text else []) == [[], []]


def test_only_what_is_near_a_seam_is_looked_at():
    seen: list[int] = []

    def detect(text: str) -> list[Span]:
        seen.append(len(text))
        return []

    across(["a" * 10_000, "b" * 10_000, " c"], detect)
    assert max(seen) <= 2 * REACH + 1
    assert len(seen) == 3


def test_a_private_key_makes_only_the_seams_near_it_long():
    seen: list[int] = []

    def detect(text: str) -> list[Span]:
        seen.append(len(text))
        return []

    across(["-----BEGIN PRIVATE KEY-----", *["a" * KEY_REACH] * 10], detect)
    assert sum(length > 2 * REACH + 1 for length in seen) <= 4
    assert max(seen) <= 2 * KEY_REACH + 1


def test_a_private_key_over_several_parts_is_found_in_each():
    key = f"-----BEGIN PRIVATE KEY-----{'MIIE' * 1_000}-----END PRIVATE KEY-----"
    found = across(["x " + key[:1_000], key[1_000:2_000], key[2_000:] + " y"], private_keys)
    assert [{(span.start, span.end) for span in spans} for spans in found] == [
        {(2, 1_002)},
        {(0, 1_000)},
        {(0, len(key) - 2_000)},
    ]


def private_keys(text: str) -> list[Span]:
    found = re.finditer(r"-----BEGIN PRIVATE KEY-----[A-Z ]+-----END PRIVATE KEY-----", text)
    return [Span(m.start(), m.end(), "PRIVATE_KEY", 1.0) for m in found]
