"""A document in passages: nothing is lost, nothing is out of order, and each is of a size that a model can read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.memory.passages import MOST_REPEATED, MOST_WORDS, split

LINES = st.sampled_from(
    [
        "# Title",
        "## Part",
        "=====",
        "---",
        "```",
        "- item one",
        "2. second",
        "\f",
        "",
        "  ",
        "One. Two! Three?",
        "| a | b |",
    ]
) | st.text(max_size=400)
TEXTS = st.lists(LINES, max_size=30).map("\n".join) | st.text(max_size=3_000)
LONG = st.tuples(TEXTS, st.integers(1, 40)).map(lambda pair: (pair[0] + "\n") * pair[1])


@settings(max_examples=150, deadline=None)
@given(TEXTS | LONG)
def test_every_word_is_in_some_passage_in_order(text: str) -> None:
    position, newest = 0, -1
    for stretch in split(text):
        assert not text[position : max(position, stretch.start)].strip()
        assert newest < stretch.start < stretch.end
        assert text[stretch.start : stretch.end].strip()
        position, newest = max(position, stretch.end), stretch.start
    assert not text[position:].strip()


@settings(max_examples=60, deadline=None)
@given(LONG)
def test_no_passage_is_much_longer_than_the_others(text: str) -> None:
    for stretch in split(text):
        written = text[stretch.start : stretch.end]
        assert len(written.split()) <= MOST_WORDS + MOST_REPEATED
        assert len(written.strip().encode("utf-8", "surrogatepass")) <= (MOST_WORDS + 2 * MOST_REPEATED) * 16


def test_passages_end_with_sentences_and_repeat_the_last() -> None:
    text = " ".join(f"Sentence number {number} says that it is here." for number in range(100))
    stretches = split(text)
    assert [len(text[each.start : each.end].split()) for each in stretches[:-1]] == [184] * (len(stretches) - 1)
    for one, other in pairwise(stretches):
        repeated = text[other.start : one.end].strip()
        assert repeated.startswith("Sentence number")
        assert repeated.endswith("here.")
        assert repeated.count(".") == 1


def test_headings_are_told_with_what_stands_under_them() -> None:
    text = "# House\n\n## Boiler\nIt is old.\n\n```\n# no heading\n```\n\nGarden\n======\nGreen.\n\nHedge\n---\nTall.\n"
    found = [(each.heading, text[each.start : each.end].splitlines()[0]) for each in split(text)]
    assert found == [("House > Boiler", "# House"), ("Garden", "Garden"), ("Garden > Hedge", "Hedge")]


def test_pages_are_told_apart() -> None:
    text = "First page.\fSecond page,\nstill.\f\fFourth."
    found = [(each.heading, text[each.start : each.end].split(maxsplit=1)[0]) for each in split(text)]
    assert found == [("page 1", "First"), ("page 2", "Second"), ("page 4", "Fourth.")]


def test_a_key_is_not_repeated_in_halves() -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + "\n".join("MIIEvQ" * 10 for _ in range(24)) + "\n-----END PRIVATE KEY-----"
    text = "Words before it. " * 40 + "\n\n" + key + "\n\n" + "Words after it. " * 60
    holding = [text[each.start : each.end] for each in split(text) if "MIIEvQ" in text[each.start : each.end]]
    assert len(holding) == 1
    assert key in holding[0]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "Chapter one " + "." * 300_000 + "7\n",
        "!?." * 100_000,
        "." + '"' * 300_000 + "x",
        "# a" + " " * 300_000 + "b",
        "a\f" * 100_000,
    ],
    ids=["dots", "marks", "quotes", "heading", "pages"],
)
def test_no_text_takes_more_than_its_length(text: str) -> None:
    """Squared, each of these would take minutes."""
    assert len(split(text)) < 2_000
