"""Guesses at names: ordinary words are none, unless somebody is called so."""

from __future__ import annotations

import pytest

from edge_agent.privacy.names import plausible, repeated
from edge_agent.privacy.spans import Span


def people(text: str, *guesses: str) -> list[tuple[int, str]]:
    """What is taken for a person where a model guessed `guesses`, one behind the other, in `text`."""
    spans: list[Span] = []
    for guess in guesses:
        start = text.index(guess, spans[-1].end if spans else 0)
        spans.append(Span(start, start + len(guess), "PERSON", 0.8))
    kept = list(plausible(spans, text))
    return sorted(
        {(span.start, text[span.start : span.end]) for span in (*kept, *repeated(kept, text)) if span.type == "PERSON"}
    )


@pytest.mark.parametrize("guess", ["Swift", "Mr Swift"])
def test_behind_a_title_an_ordinary_word_is_a_name(guess: str):
    assert people("Mr Swift called.", guess) == [(3, "Swift")]


@pytest.mark.parametrize("guesses", [("Theresa May", "Mrs May"), ("Theresa May",)])
def test_the_month_is_not_the_minister(guesses: tuple[str, ...]):
    found = people("Theresa May spoke. Mrs May left in May.", *guesses)
    assert [item for item in found if "May" in item[1]] == [(0, "Theresa May"), (23, "May")]


def test_a_word_of_a_full_name_is_believed_where_the_model_sees_it():
    text = "Johnny Cash sang. Later Cash left. Cash only."
    assert (24, "Cash") in people(text, "Johnny Cash", "Cash")
    assert (35, "Cash") not in people(text, "Johnny Cash", "Cash")


def test_by_itself_an_ordinary_word_is_no_name():
    assert people("Dear Customer, pay by Cash in March.", "Customer", "Cash", "March") == []
