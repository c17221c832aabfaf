"""What a model guesses to be a value, cut to the value itself, and kept only where it could be one."""

from __future__ import annotations

import re
from dataclasses import replace

from edge_agent.privacy import kinds
from edge_agent.privacy.spans import CERTAIN, Span

_EDGE = " \t\r\n-,;:"
_PHONE = re.compile(r"[+(]?[\d\s().\-/+]{4,}(?:\s*(?:x|ext\.?)\s*\d{1,6})?", re.IGNORECASE)
_PHONE_DIGITS, _NUMBER_LENGTH = 5, 4

NUMBERS = frozenset({"ID_NUMBER"})
"""Numbers that a model may take for somebody's."""

_ANNOUNCING = re.compile(r"(?:(?:no|nr|num|number|id|ref)\b\.?|#|№)[\s:]*(?=\S)", re.IGNORECASE)

_AT_MOST = 0.45
"""What a guessed number scores: whatever else says what it is knows better."""


def bare(span: Span, text: str) -> Span:
    """`span` without the punctuation, and the "no." before a number, that a guess took along."""
    start, end = span.start, span.end
    while end - 1 > start and text[end - 1] in _EDGE:
        end -= 1
    while start < end - 1 and text[start] in _EDGE:
        start += 1
    announcing = _ANNOUNCING.match(text, start, end) if span.type in NUMBERS else None
    start = announcing.end() if announcing else start
    score = min(span.score, _AT_MOST) if _is_guessed_number(span) else span.score
    return replace(span, start=start, end=end, score=score)


def could_be(span: Span, text: str) -> bool:
    """Whether what stands there has the looks of its type: sums and years are no telephone numbers."""
    found = text[span.start : span.end]
    if span.type == "PHONE_NUMBER":
        return sum(map(str.isdigit, found)) >= _PHONE_DIGITS and _PHONE.fullmatch(found) is not None
    if span.type in NUMBERS:
        return len(found) >= _NUMBER_LENGTH and any(map(str.isdigit, found))
    return span.type not in {"ADDRESS", "USERNAME"} or sum(map(str.isalnum, found)) > 3


def is_direct(span: Span) -> bool:
    """Whether this finding by itself says that a text is about somebody."""
    return span.type in kinds.DIRECT and not _is_guessed_number(span)


def counts_alone(span: Span) -> bool:
    """Whether it is masked where nothing direct stands in the text."""
    return span.type not in kinds.INDIRECT and not _is_guessed_number(span)


def _is_guessed_number(span: Span) -> bool:
    """One that no word announces is too often a quantity to speak for itself."""
    return span.type in NUMBERS and span.score < CERTAIN
