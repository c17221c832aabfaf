"""The score of presidio-evaluator, held against what the package itself says (record_presidio_evaluator.py)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from spacy.lang.en import English
from spacy.lang.en.stop_words import STOP_WORDS

from edge_agent.privacy.evaluation import tokens
from edge_agent.privacy.evaluation.datasets import Gold, Labelled
from edge_agent.privacy.spans import Span

RECORDED = json.loads((Path(__file__).parent / "presidio_evaluator.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def words() -> list[tokens.Tokens]:
    tokenizer = English().tokenizer
    return [[(token.idx, token.text) for token in tokenizer(text)] for text in RECORDED["texts"]]


@pytest.mark.parametrize("number", range(len(RECORDED["cases"])))
def test_it_scores_as_the_package_does(number: int, words: list[tokens.Tokens]):
    case = RECORDED["cases"][number]
    rows = [
        Labelled(text, tuple(Gold(*one) for one in gold))
        for text, gold in zip(RECORDED["texts"], case["gold"], strict=True)
    ]
    found = [[Span(*one) for one in spans] for spans in case["found"]]
    score = tokens.score(rows, words, found, types=frozenset(RECORDED["types"]), stop_words=STOP_WORDS)
    ours = (score.precision, score.recall, score.f(), score.f(1.0))
    theirs = (case["precision"], case["recall"], case["f2"], case["f1"])
    assert all(math.isclose(one, other, abs_tol=1e-12) for one, other in zip(ours, theirs, strict=True))


def test_a_common_word_that_is_wrongly_labelled_counts_for_nothing():
    row = Labelled("the Harbour Lane", (Gold(4, 16, "STREET_ADDRESS"),))
    words = [[(0, "the"), (4, "Harbour"), (12, "Lane")]]
    score = tokens.score(
        [row], words, [[Span(0, 11, "LOCATION", 0.9)]], types=frozenset({"LOCATION"}), stop_words={"the"}
    )
    assert (score.there, score.found, score.rightly) == (2, 1, 1)


def test_types_of_ours_go_by_presidios_names():
    found = tokens.renamed([Span(0, 4, "ADDRESS", 0.9), Span(5, 9, "PERSON", 0.9)])
    assert [span.type for span in found] == ["LOCATION", "PERSON"]
