"""Where a value stands in a text, and which of several claims to the same characters wins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a text hold a value of `type`; `score` is how certain that is, 0 to 1."""

    start: int
    end: int
    type: str
    score: float


CERTAIN = 0.95
"""From here on a checksum or a fixed format speaks, and a model's guess gives way."""

_JOINED_OVER = {"PERSON": frozenset(" \t"), "LOCATION": frozenset(" \t,\n")}


def resolve(spans: Iterable[Span], text: str) -> list[Span]:
    """Non-overlapping spans of `text`, in reading order.

    Overlapping or adjacent guesses of one type become one span. Then a certain span wins over an
    uncertain one, the longer over the shorter, the likelier over the less likely. What a loser covers
    beyond the winner stays covered, so that losing never uncovers a value.
    """
    found: list[Span] = []
    for cluster in _clusters(_joined(spans, text)):
        taken: list[Span] = []
        for span in sorted(cluster, key=_rank):
            taken.extend(piece for piece in _uncovered(span, taken, text))
        found.extend(sorted(taken, key=lambda span: span.start))
    return found


def shifted(spans: Iterable[Span], by: int) -> list[Span]:
    """The same spans, `by` characters further on."""
    return [replace(span, start=span.start + by, end=span.end + by) for span in spans]


def clipped(spans: Iterable[Span], start: int, end: int) -> list[Span]:
    """The parts of `spans` between `start` and `end`, counted from `start`."""
    return [
        replace(span, start=max(span.start, start) - start, end=min(span.end, end) - start)
        for span in spans
        if span.start < end and span.end > start
    ]


def _rank(span: Span) -> tuple[bool, int, float, int, str]:
    return (span.score < CERTAIN, span.start - span.end, -span.score, span.start, span.type)


def _joined(spans: Iterable[Span], text: str) -> list[Span]:
    """Guesses of one type that overlap, or stand side by side, as one span."""
    running: dict[str, Span] = {}
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if span.end <= span.start:
            continue
        last = running.get(span.type)
        if last is not None and span.score < CERTAIN and last.score < CERTAIN and _touch(last, span, text):
            running[span.type] = replace(last, end=max(last.end, span.end), score=max(last.score, span.score))
        else:
            if last is not None:
                joined.append(last)
            running[span.type] = span
    return [*joined, *running.values()]


def _touch(first: Span, second: Span, text: str) -> bool:
    gap = text[first.end : second.start]
    return second.start < first.end or (len(gap) <= 3 and set(gap) <= _JOINED_OVER.get(first.type, frozenset()))


def _clusters(spans: Iterable[Span]) -> Iterator[list[Span]]:
    cluster: list[Span] = []
    end = 0
    for span in sorted(spans, key=lambda span: span.start):
        if cluster and span.start >= end:
            yield cluster
            cluster = []
        end = max(end, span.end) if cluster else span.end
        cluster.append(span)
    if cluster:
        yield cluster


def _uncovered(span: Span, taken: Sequence[Span], text: str) -> list[Span]:
    pieces = [span]
    for other in taken:
        if other.start >= span.end or other.end <= span.start:
            continue
        pieces = [
            replace(piece, start=start, end=end)
            for piece in pieces
            for start, end in (
                (piece.start, min(piece.end, other.start)),
                (max(piece.start, other.end), piece.end),
            )
            if end > start
        ]
    if pieces == [span]:
        return pieces
    return [trimmed for piece in pieces if (trimmed := _trimmed(piece, text)) is not None]


def _trimmed(piece: Span, text: str) -> Span | None:
    """`piece` without the punctuation at its edges; None where fewer than two letters or digits are left."""
    start, end = piece.start, piece.end
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    return replace(piece, start=start, end=end) if end - start > 1 else None
