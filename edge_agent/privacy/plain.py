"""Text as the finders see it: full-width digits, exotic dashes and invisible characters made plain."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edge_agent.privacy.spans import Span

_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-")
# Drawn as nothing and not of category Cf: joiners, variation selectors, fillers (Unicode's Default_Ignorable).
_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
_SELECTORS = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
_INVISIBLE = dict.fromkeys((*map(ord, _UNSEEN), *_SELECTORS), "")
_KNOWN = {**_DASHES, **_INVISIBLE, ord("\u2019"): "'", ord("\u2018"): "'"}


@dataclass(frozen=True, slots=True)
class Plain:
    """`text` with, for each of its characters, where that came from. `places` is None where nothing moved."""

    text: str
    places: Sequence[int] | None = None

    def original(self, spans: Iterable[Span]) -> list[Span]:
        """The same spans, in the original text's characters."""
        if self.places is None:
            return list(spans)
        places = self.places
        return [replace(span, start=places[span.start], end=places[span.end - 1] + 1) for span in spans]


def plain(text: str) -> Plain:
    """What a person would take `text` for, character by character, with the way back."""
    if text.isascii():
        return Plain(text)
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for seen in character if character.isascii() else _seen(character):
            characters.append(seen)
            places.append(place)
    return Plain("".join(characters), places)


def _seen(character: str) -> str:
    known = _KNOWN.get(ord(character))
    if known is not None:
        return known
    if unicodedata.category(character) == "Cf":
        return ""
    digit = unicodedata.decimal(character, None)
    return str(digit) if digit is not None else unicodedata.normalize("NFKC", character)
