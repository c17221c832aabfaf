"""What happens to a filled template before it is training text: joins, prompts, case, slips, line breaks, marks.

Each step takes pieces and gives pieces, so that no span can come loose from its words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quantize.ner.sentences_template import Piece
from quantize.ner.sentences_words import lists

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

WORDS = lists("augment")
PREFIXES = WORDS["prefixes"]
SUFFIXES = WORDS["suffixes"]
MARKS = (
    ("**", "**"),
    ("**", "**"),
    ('"', '"'),
    ("'", "'"),
    ("“", "”"),
    ("[", "]"),
    ("(", ")"),
    ("`", "`"),
    ("_", "_"),
    ("<b>", "</b>"),
    ("«", "»"),
)
TIGHT = {"structured", "postal"}


def _each(pieces: list[Piece], change: Callable[[str], str]) -> list[Piece]:
    return [Piece(change(piece.text), piece.label) for piece in pieces]


def prompted(pieces: list[Piece], rng: Random) -> list[Piece]:
    """The text as somebody hands it to a model, with a request before or after it."""
    before = [Piece(rng.choice(PREFIXES), None)] if rng.random() < 0.7 else []
    after = [Piece(rng.choice(SUFFIXES), None)] if rng.random() < 0.5 else []
    return [*before, *pieces, *after]


def joined(first: list[Piece], second: list[Piece], rng: Random) -> list[Piece]:
    """Two texts after one another."""
    return [*first, Piece(rng.choice((" ", " ", "\n", "\n\n", "\n- ", "\n\n---\n\n", "  ")), None), *second]


def cased(pieces: list[Piece], rng: Random, domain: str) -> list[Piece]:
    """All lower, all capitals, or lower-case values only, in a few texts; most chat is lower."""
    roll = rng.random()
    if roll < (0.5 if domain == "chat" else 0.05):
        return _each(pieces, str.lower)
    if roll > 0.97:
        return _each(pieces, str.upper)
    if roll > 0.955:
        return [Piece(piece.text.lower() if piece.label else piece.text, piece.label) for piece in pieces]
    if roll > 0.945:
        return [Piece(piece.text.upper() if piece.label == "PERSON" else piece.text, piece.label) for piece in pieces]
    return pieces


def _slip(word: str, rng: Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    return rng.choice(
        (
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        )
    )


def mistyped(pieces: list[Piece], rng: Random) -> list[Piece]:
    """The text with one letter in a few words swapped, lost or doubled."""
    return _each(
        pieces, lambda text: re.sub(r"[A-Za-z]{4,}", lambda m: _slip(m[0], rng) if rng.random() < 0.12 else m[0], text)
    )


def broken(pieces: list[Piece], rng: Random) -> list[Piece]:
    """The text with some blanks turned into line breaks or wider blanks, as from a scan."""
    share, blank = rng.choice((0.05, 0.1, 0.25)), rng.choice(("\n", "\n", "  ", " \n"))
    return _each(
        pieces, lambda text: re.sub(r"(?<=\S) (?=\S)", lambda m: blank if rng.random() < share else m[0], text)
    )


def marked(pieces: list[Piece], rng: Random) -> list[Piece]:
    """The text with bold marks, quotes or brackets around its values."""
    left, right = rng.choice(MARKS)
    found: list[Piece] = []
    for piece in pieces:
        around = bool(piece.label) and rng.random() < 0.6
        found += [Piece(left, None), piece, Piece(right, None)] if around else [piece]
    return found


def augmented(pieces: list[Piece], rng: Random, domain: str) -> list[Piece]:
    """The text after whichever changes chance picks for it."""
    if domain not in TIGHT and rng.random() < 0.05:
        pieces = marked(pieces, rng)
    if rng.random() < 0.10:
        pieces = prompted(pieces, rng)
    pieces = cased(pieces, rng, domain)
    if rng.random() < (0.06 if domain == "chat" else 0.02):
        pieces = mistyped(pieces, rng)
    if rng.random() < 0.05:
        pieces = broken(pieces, rng)
    if rng.random() < 0.05:
        pieces = (
            [*pieces[:-1], Piece(pieces[-1].text.rstrip(".!?"), pieces[-1].label)] if not pieces[-1].label else pieces
        )
    return pieces
