"""Text as the finders see it: full-width digits, exotic dashes and invisible characters made plain."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from edge_agent.privacy.spans import Span

_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-")
# Drawn as nothing and not of category Cf: joiners, variation selectors, fillers (Unicode's Default_Ignorable).
_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
_SELECTORS = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
_INVISIBLE = dict.fromkeys((*map(ord, _UNSEEN), *_SELECTORS), "")
_KNOWN = {**_DASHES, **_INVISIBLE, ord("\u2019"): "'", ord("\u2018"): "'"}


@dataclass(frozen=True, slots=True)
class Plain:
    """`text` with the way back to the text it came from.

    `changes`: where one character became none or several, in order: its place in `text`, its place before, and how
    many it became. Everywhere else one character stands for one.
    """

    text: str
    changes: Sequence[tuple[int, int, int]] = ()

    def original(self, spans: Iterable[Span]) -> list[Span]:
        """The same spans, in the original text's characters."""
        if not self.changes:
            return list(spans)
        return [replace(span, start=self._place(span.start), end=self._place(span.end - 1) + 1) for span in spans]

    def _place(self, place: int) -> int:
        index = bisect_right(self.changes, place, key=itemgetter(0)) - 1
        if index < 0:
            return place
        at, before, count = self.changes[index]
        return before + max(0, place - at - count + 1)


def plain(text: str) -> Plain:
    """What a person would take `text` for, character by character, with the way back."""
    if text.isascii():
        return Plain(text)
    seen = {character: character if character.isascii() else _seen(character) for character in set(text)}
    unlike = {character: plainer for character, plainer in seen.items() if plainer != character}
    uneven = "".join(character for character, seen in unlike.items() if len(seen) != 1)
    seen_as = text.translate({ord(character): plainer for character, plainer in unlike.items()}) if unlike else text
    return Plain(seen_as, tuple(_changes(text, uneven, unlike)) if uneven else ())


def _changes(text: str, uneven: str, unlike: Mapping[str, str]) -> Iterator[tuple[int, int, int]]:
    moved = 0
    for match in re.finditer(f"[{re.escape(uneven)}]", text):
        count = len(unlike[match.group()])
        yield match.start() + moved, match.start(), count
        moved += count - 1


def _seen(character: str) -> str:
    known = _KNOWN.get(ord(character))
    if known is not None:
        return known
    if unicodedata.category(character) == "Cf":
        return ""
    digit = unicodedata.decimal(character, None)
    return str(digit) if digit is not None else unicodedata.normalize("NFKC", character)
