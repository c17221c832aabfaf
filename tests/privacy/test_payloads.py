"""What a checksum or a fixed format proves is found in whatever surroundings it is written; no model looks."""

from __future__ import annotations

import json
import re

import pytest

from edge_agent.privacy.evaluation.payloads import Payload, payloads
from edge_agent.privacy.evaluation.specimens import MAKERS
from edge_agent.privacy.finders import every
from edge_agent.privacy.plain import plain
from edge_agent.privacy.preferences import THRESHOLD
from edge_agent.privacy.spans import Span

FINDERS = [find for _, find, _ in every.finders()]
TYPED_FINDERS = [find for _, _, find in every.of_several_types()]


def found(text: str) -> list[Span]:
    """All that the finders believe without any word beside it."""
    seen = plain(text)
    hits = [hit for find in FINDERS for hit in find(seen.text)]
    hits += [hit for find in TYPED_FINDERS for _, hit in find(seen.text)]
    return seen.original(Span(start, end, "X", score) for start, end, score in hits if score >= THRESHOLD)


def left_over(text: str, value: str) -> str:
    """The letters and digits of `value` that nothing covers."""
    covered = {place for span in found(text) for place in range(span.start, span.end)}
    start = text.index(value)
    return "".join(text[at] for at in range(start, start + len(value)) if text[at].isalnum() and at not in covered)


def test_no_value_of_a_payload_is_missed():
    missed = [
        (kind, value, payload.text)
        for payload in payloads(300, seed=20_260)
        for kind, value in zip(payload.kinds, payload.values, strict=True)
        if left_over(payload.text, value)
    ]
    assert missed == []


@pytest.mark.parametrize("layers", [1, 2])
def test_nor_in_the_strings_of_json_in_json(layers: int):
    for payload in payloads(60, seed=11):
        text = payload.text
        values = payload.values
        for _ in range(layers):
            text = json.dumps(text)
            values = tuple(json.dumps(value)[1:-1] for value in values)
        assert [value for value in values if left_over(text, value)] == []


@pytest.mark.parametrize("surface", ["{}", "scans/{}.pdf"])
def test_nor_as_a_key_or_a_file_name(surface: str):
    values = {value for payload in payloads(60, seed=7) for value in payload.values}
    assert [value for value in values if left_over(surface.format(value), value)] == []


def test_payloads_are_the_same_for_the_same_seed_and_hold_what_they_say():
    made = list(payloads(60, seed=1))
    assert made == list(payloads(60, seed=1))
    assert made != list(payloads(60, seed=2))
    assert all(value in payload.text for payload in made for value in payload.values)
    assert {kind for payload in made for kind in payload.kinds} == set(MAKERS)


def test_text_without_a_value_is_left_alone():
    """The same surroundings around a word: what is found is the value, not its surroundings."""
    for payload in payloads(100, seed=3):
        text = emptied(payload)
        assert [
            text[span.start : span.end] for span in found(text) if "example" not in text[span.start : span.end]
        ] == []


def emptied(payload: Payload) -> str:
    text = payload.text
    for value in payload.values:
        text = re.sub(re.escape(value), "something", text)
    return text
