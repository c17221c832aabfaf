"""What a model guesses to be a value, cut to the value itself, and kept only where it could be one."""

from __future__ import annotations

import re
from dataclasses import replace

from edge_agent.privacy import kinds
from edge_agent.privacy.spans import CERTAIN, Span

_SMALL = (
    r"(?:a|about|after|an|and|as|at|before|but|by|during|for|from|had|has|have|he|her|his|in|into|is|it|its|minus|of|on|or|she"
    r"|that|the|their|they|to|was|were|which|who|with)"
)
_EDGE = " \t\r\n-,;:"
_MARKS = r"[\s.,;:!?\"'`*|_\-]+"
_BEFORE = re.compile(rf"(?:{_MARKS}|{_SMALL}\b)+", re.IGNORECASE)
_AFTER = re.compile(rf"(?:{_MARKS}|\b{_SMALL})+\Z", re.IGNORECASE)
_PHONE = re.compile(r"[+(]?[\d\s().\-/+]{4,}(?:\s*(?:x|ext\.?)\s*\d{1,6})?", re.IGNORECASE)
_PHONE_DIGITS, _NUMBER_LENGTH = 5, 4

GUESSED_NUMBERS = frozenset({"ID_NUMBER"})
"""Numbers that a model takes for somebody's. One that no word announces is too often a quantity to speak for itself."""


def bare(span: Span, text: str) -> Span | None:
    """`span` without the punctuation and the small words that a guess took along; None where nothing is left."""
    start, end = span.start, span.end
    if span.type not in kinds.INDIRECT:
        while end - 1 > start and text[end - 1] in _EDGE:
            end -= 1
        while start < end - 1 and text[start] in _EDGE:
            start += 1
        return replace(span, start=start, end=end)
    before = _BEFORE.match(text, start, end)
    start = before.end() if before else start
    after = _AFTER.search(text[start:end])
    end = start + after.start() if after else end
    return replace(span, start=start, end=end) if end > start else None


def could_be(span: Span, text: str) -> bool:
    """Whether what stands there has the looks of its type: sums and years are no telephone numbers."""
    found = text[span.start : span.end]
    if span.type == "PHONE_NUMBER":
        return sum(map(str.isdigit, found)) >= _PHONE_DIGITS and _PHONE.fullmatch(found) is not None
    if span.type in GUESSED_NUMBERS:
        return len(found) >= _NUMBER_LENGTH and any(map(str.isdigit, found))
    return span.type not in {"ADDRESS", "USERNAME"} or sum(map(str.isalnum, found)) > 3


def is_direct(span: Span) -> bool:
    """Whether this finding by itself says that a text is about somebody."""
    return span.type in kinds.DIRECT and (span.type not in GUESSED_NUMBERS or span.score >= CERTAIN)


def counts_alone(span: Span) -> bool:
    """Whether it is masked where nothing direct stands in the text."""
    return span.type not in kinds.INDIRECT and (span.type not in GUESSED_NUMBERS or span.score >= CERTAIN)
