"""Where a text describes somebody, and how: its passages, and cheap features of each. Training and running share them.

A description that fits one person or one group only is, in English, mostly a definite noun phrase ("the judge", "our
supplier") that something narrows down: a relative clause about what happened, an "only" or "youngest", a place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.routing import person_words as words

PASSAGE_CHARS = 400
"""A sentence that is longer is read in pieces of this length."""

OVERLAP_CHARS = 120
"""Shared by two pieces of one sentence: room for most descriptions."""

_BEFORE = 6
_AFTER = 8
# A line that goes on with a small letter was only wrapped.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n(?![^\S\n]*[a-z])\s*")
_TOKEN = re.compile(r"[^\W\d_](?:[\w]|['\u2019\-](?=\w))*|\d+|[^\w\s]")
_SUPERLATIVE = re.compile(r"[a-z]{2,}est")

NAMES = (
    "definite_person",
    "definite_group",
    "person_relative",
    "whose",
    "group_relative",
    "unique_person",
    "unique_group",
    "unique_other",
    "superlative",
    "relative_past",
    "relative_generic",
    "qualified",
    "ours",
    "kin",
    "time",
    "places",
    "delicate",
    "indefinite_person",
    "asking",
    "public",
    "code",
    "made_up",
    "first_person",
    "how_many",
    "log_numbers",
    "log_capitals",
    "log_words",
    "person_relative_past",
    "group_relative_past",
    "unique_placed",
    "unique_public",
    "relative_made_up",
    "relative_kin",
    "undisclosed",
    "undisclosed_named",
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A sentence, or a piece of a long one, at `start` to `end` of a text."""

    start: int
    end: int
    text: str


def passages(text: str) -> Iterator[Passage]:
    """The sentences of `text` with something in them, in order; long ones in overlapping pieces."""
    start = 0
    for mark in _SENTENCE_END.finditer(text):
        yield from _pieces(text, start, mark.start())
        start = mark.end()
    yield from _pieces(text, start, len(text))


def _pieces(text: str, start: int, end: int) -> Iterator[Passage]:
    while end - start > PASSAGE_CHARS:
        cut = text.rfind(" ", start + PASSAGE_CHARS - OVERLAP_CHARS, start + PASSAGE_CHARS)
        cut = cut if cut > 0 else start + PASSAGE_CHARS
        yield Passage(start, cut, text[start:cut])
        again = text.find(" ", cut - OVERLAP_CHARS, cut)
        start = again + 1 if again > 0 else cut
    if text[start:end].strip():
        yield Passage(start, end, text[start:end])


def describing(passage: str) -> NDArray[np.float64] | None:
    """One number for each of NAMES; None where nothing in `passage` is described, as in most."""
    spelled = _TOKEN.findall(passage)
    tokens = [token.lower().replace("\u2019", "'") for token in spelled]
    found = _Found(tokens)
    for place, token in enumerate(tokens):
        if token in words.DEFINITE or token.endswith("'s"):
            found.definite(place)
        elif token in words.INDEFINITE and any(map(_is_person, tokens[place + 1 : place + 4])):
            found.flags.add("indefinite_person")
    if words.UNDISCLOSED.isdisjoint(tokens) and not found.described:
        return None
    return _numbers(found, spelled, tokens)


def _is_person(token: str) -> bool:
    return token in words.PEOPLE or token.endswith(words.PERSON_ENDINGS)


def _is_superlative(token: str) -> bool:
    return bool(_SUPERLATIVE.fullmatch(token)) and token not in words.NOT_SUPERLATIVE


def _is_past(token: str) -> bool:
    return token in words.PAST or (token.endswith("ed") and len(token) > 3 and token not in words.NOT_PAST)


class _Found:
    """What the definite noun phrases of one passage come to."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self.flags: set[str] = set()
        self.described = False

    def definite(self, place: int) -> None:
        """Read the noun phrase that the determiner at `place` opens."""
        tokens = self._tokens
        end = place + 1
        while end < len(tokens) and end - place <= _BEFORE and _inside(tokens, end, first=end == place + 1):
            end += 1
        phrase = tokens[place + 1 : end]
        if not phrase:
            return
        following = tokens[end : end + _AFTER]
        person = any(map(_is_person, phrase)) or phrase[-1] in {"one", "ones"}
        personal = bool(following) and (following[0] in words.PERSONAL_RELATIVE or following[:2] == [",", "who"])
        group = any(token in words.GROUPS for token in phrase)
        superlative = any(map(_is_superlative, phrase))
        unique = superlative or not words.UNIQUE.isdisjoint(phrase)
        if not (person or personal or group or unique):
            return
        self.described = True
        kind = "person" if person or personal else "group" if group else "other"
        self._note(kind, unique=unique, superlative=superlative, ours=tokens[place] in {"our", "my"})
        self._after(kind, following, tokens[end : end + 2 * _AFTER])

    def _note(self, kind: str, *, unique: bool, superlative: bool, ours: bool) -> None:
        if kind != "other":
            self.flags.add(f"definite_{kind}")
            if ours:
                self.flags.add("ours")
        if unique:
            self.flags.add(f"unique_{kind}")
        if superlative:
            self.flags.add("superlative")

    def _after(self, kind: str, following: list[str], far: list[str]) -> None:
        """What narrows the phrase down: a relative clause, a participle, a preposition."""
        if kind == "other" or not following:
            return
        near = next((i for i, token in enumerate(following) if token in words.RELATIVE), None)
        if near is not None and not {".", "?", "!", ":"} & set(following[:near]):
            relative, clause = following[near], far[near + 1 : near + 6]
            self.flags.add(f"{kind}_relative")
            if relative == "whose":
                self.flags.add("whose")
            if any(map(_is_past, clause)):
                self.flags |= {"relative_past", f"{kind}_relative_past"}
            if clause and clause[0] in words.GENERIC:
                self.flags.add("relative_generic")
        if following[0] in words.QUALIFYING or following[0].endswith(("ing", "ed")):
            self.flags.add("qualified")


def _inside(tokens: list[str], place: int, *, first: bool) -> bool:
    """Whether a noun phrase can go on with the token at `place`: "head of security" is one."""
    word = tokens[place]
    if word == "of":
        return not first and place + 1 < len(tokens) and _inside(tokens, place + 1, first=True)
    return word[0].isalnum() and word not in words.STOPS and word not in words.DEFINITE


def _numbers(found: _Found, spelled: list[str], tokens: list[str]) -> NDArray[np.float64]:
    flags, bag = found.flags, set(tokens)
    for name, group in _GROUPS.items():
        if bag & group:
            flags.add(name)
    if tokens[0] in words.ASKING:
        flags.add("asking")
    if bag & {"i", "i'm", "me", "my"}:
        flags.add("first_person")
    if "how" in bag and bag & {"many", "much"}:
        flags.add("how_many")
    relative, unique = flags & {"person_relative", "group_relative"}, flags & {"unique_person", "unique_group"}
    for joined, one, other in (
        ("unique_placed", unique, "places"),
        ("unique_public", unique, "public"),
        ("relative_made_up", relative, "made_up"),
        ("relative_kin", relative, "kin"),
        ("undisclosed_named", any(token[0].isupper() for token in spelled[1:]), "undisclosed"),
    ):
        if one and other in flags:
            flags.add(joined)
    counts = {
        "log_numbers": sum(token[0].isdigit() for token in tokens),
        "log_capitals": sum(token[0].isupper() for token in spelled[1:]),
        "log_words": len(tokens),
    }
    return np.array([math.log1p(counts[name]) if name in counts else float(name in flags) for name in NAMES])


_GROUPS = {
    "undisclosed": words.UNDISCLOSED,
    "kin": words.KIN,
    "time": words.TIMES,
    "places": words.PLACES,
    "delicate": words.DELICATE,
    "public": words.PUBLIC,
    "code": words.CODE,
    "made_up": words.MADE_UP,
}
