"""The texts that the token classifier learns from: every span is a value, and every piece gets its label."""

from __future__ import annotations

import pytest

from quantize.ner.labels import GENERATED, LABELS, PUBLIC, TAB, TYPES
from quantize.ner.sentences import Sentence, sentences


@pytest.fixture(scope="module")
def texts() -> list[Sentence]:
    return list(sentences(1500, seed=3))


def test_the_same_seed_gives_the_same_texts(texts: list[Sentence]):
    assert list(sentences(200, seed=3)) == texts[:200]
    assert list(sentences(200, seed=4)) != texts[:200]


def test_every_span_is_a_value_by_itself(texts: list[Sentence]):
    for text in texts:
        end = 0
        for start, stop, label in text.spans:
            value = text.text[start:stop]
            assert start >= end
            assert value
            assert value == value.strip()
            assert label in GENERATED
            end = stop


def test_many_texts_hold_nothing_that_identifies(texts: list[Sentence]):
    without = sum(all(GENERATED[label] == PUBLIC for _, _, label in text.spans) for text in texts)
    assert without > len(texts) / 10


def test_every_type_is_in_some_text(texts: list[Sentence]):
    seen = {GENERATED[label] for text in texts for _, _, label in text.spans}
    assert set(TYPES) - seen == {"MISC"}  # which only the judgments have
    assert set(TAB.values()) | seen == {*TYPES, PUBLIC}
    assert len(LABELS) == 2 * len(TYPES) + 2
