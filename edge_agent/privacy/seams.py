"""Values that stand across the seam of two texts: a card number whose second half is in the message's next part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from edge_agent.privacy.spans import CERTAIN, Span

REACH = 200
"""How far from a seam a value across it is looked for, in characters: no value but a private key is longer."""

KEY_REACH = 20_000
"""The same where a private key is near: one of 16,384 bits has 13,000 characters."""


def across(texts: Sequence[str], detect: Callable[[str], list[Span]]) -> list[list[Span]]:
    """For each of `texts`, which follow one another, what it holds of values that no text holds alone.

    Whoever reads them may put them together with nothing between or with a space, so both are looked at.
    Each part of such a value is found where it stands: the next text may as well begin something else.
    """
    found: list[list[Span]] = [[] for _ in texts]
    starts = [0, *accumulate(map(len, texts))]
    whole = "".join(texts)
    for seam in starts[1:-1]:
        near_key = "PRIVATE KEY" in whole[max(0, seam - KEY_REACH) : seam + KEY_REACH]
        reach = KEY_REACH if near_key else REACH
        low, high = max(0, seam - reach), min(len(whole), seam + reach)
        for glue in _glues(whole[low:seam], whole[seam:high]):
            for span in detect(whole[low:seam] + glue + whole[seam:high]):
                start, end = (_without(glue, seam, low + place) for place in (span.start, span.end))
                if start < seam < end and _believed(span, glue, whole[seam]):
                    for number, piece in _pieces(replace(span, start=start, end=end), starts, texts):
                        found[number].append(piece)
    return found


def _glues(left: str, right: str) -> tuple[str, ...]:
    if not left or not right:
        return ()
    return ("",) if left[-1].isspace() or right[0].isspace() else ("", " ")


def _without(glue: str, seam: int, place: int) -> int:
    return place if place <= seam else max(seam, place - len(glue))


def _believed(span: Span, glue: str, after: str) -> bool:
    """A guess about two words that were only pushed together ("HelloWorld") is none."""
    return span.score >= CERTAIN or bool(glue) or not after.isupper()


def _pieces(span: Span, starts: Sequence[int], texts: Sequence[str]) -> Iterator[tuple[int, Span]]:
    for number, (start, _) in enumerate(pairwise(starts)):
        first, last = max(span.start - start, 0), min(span.end - start, len(texts[number]))
        if first < last and texts[number][first:last].strip():
            yield number, replace(span, start=first, end=last)
