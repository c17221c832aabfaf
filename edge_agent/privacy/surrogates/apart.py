"""Telling the user's own words from surrogates, before and after masking."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from edge_agent.privacy import kinds
from edge_agent.privacy.spans import Span
from edge_agent.privacy.surrogates.surrogates import Surrogates


def apart(text: str, spans: Sequence[Span], surrogates: Surrogates) -> list[Span]:
    """`spans` (in order, not overlapping), and whatever between them would be taken for a surrogate, as a literal.

    What stands between two spans is read by itself, as it will be beside their placeholders.
    """
    if surrogates.empty:
        return list(spans)
    edges = [0, *(edge for span in spans for edge in (span.start, span.end)), len(text)]
    found = list(spans)
    for start, end in list(pairwise(edges))[::2]:
        written = surrogates.written(text[start:end])
        found.extend(Span(start + first, start + last, kinds.LITERAL, 1.0) for first, last in written)
    return sorted(found, key=lambda span: span.start)


def stands_alone(text: str, span: Span) -> bool:
    """Whether no letter or digit is joined to the value, so that a surrogate in its place is a whole word."""
    before = span.start > 0 and text[span.start - 1].isalnum() and text[span.start].isalnum()
    after = span.end < len(text) and text[span.end - 1].isalnum() and text[span.end].isalnum()
    return not before and not after
