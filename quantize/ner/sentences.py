"""Generated training text for the model that finds what identifies people, with the place and label of every value.

All templates and word lists are written for this project or come from Faker; no published corpus was read for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from quantize.ner.sentences_augment import augmented, joined
from quantize.ner.sentences_template import LABELS, Cast, Piece, Template, fill, templates

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LABELS", "Sentence", "sentences"]

# how often each file of `templates/` is drawn
SHARES = {
    "chat": 10,
    "mail": 10,
    "work": 10,
    "legal": 13,
    "medical": 7,
    "money": 6,
    "life": 8,
    "structured": 11,
    "postal": 6,
    "languages": 10,
    "public": 8,
    "negative": 24,
}
JOINED = 0.2
LONGER = 0.25
TOLD = {"chat", "mail", "work", "legal", "medical", "money", "life", "public", "negative"}
SHORT = 300


@dataclass(frozen=True)
class Sentence:
    """A text and its spans (start, end, label): in order, apart from one another, without blanks at their ends."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def _assembled(pieces: list[Piece]) -> Sentence:
    text, spans = "", []
    for piece in pieces:
        if piece.label:
            spans.append((len(text), len(text) + len(piece.text), piece.label))
        text += piece.text
    return Sentence(text, tuple(spans))


def _template(rng: Random, found: dict[str, tuple[Template, ...]], language: str | None = None) -> Template:
    while True:
        domain = rng.choices(list(SHARES), list(SHARES.values()))[0]
        template = rng.choice(found[domain])
        if language is None or (template.language == language and len(template.text) < SHORT):
            return template


def _paragraphs(first: Template, rng: Random, found: dict[str, tuple[Template, ...]]) -> list[Piece]:
    """A longer text about the same people, each paragraph from a short template of the domain."""
    cast = Cast(rng, first.language)
    pieces = fill(first, rng, cast)
    between = rng.choice((" ", "\n", "\n\n"))
    fitting = [t for t in found[first.domain] if t.language == first.language and len(t.text) < SHORT]
    for template in rng.sample(fitting, rng.choice((1, 2, 2, 3, 4))):
        pieces += [Piece(between, None), *fill(template, rng, cast.turned())]
    return pieces


def _sentence(rng: Random, found: dict[str, tuple[Template, ...]]) -> Sentence:
    template = _template(rng, found)
    if template.domain in TOLD and rng.random() < LONGER:
        return _assembled(augmented(_paragraphs(template, rng, found), rng, template.domain))
    pieces = fill(template, rng)
    if template.language == "en" and len(template.text) < SHORT and rng.random() < JOINED:
        pieces = joined(pieces, fill(_template(rng, found, template.language), rng), rng)
    return _assembled(augmented(pieces, rng, template.domain))


def sentences(count: int, seed: int) -> Iterator[Sentence]:
    """`count` texts, the same for the same seed and version of Faker.

    Raises KeyError where a template names an unknown slot, and ImportError without Faker.
    """
    rng = Random(seed)  # noqa: S311 (training text, no secret)
    found = templates()
    for _ in range(count):
        yield _sentence(rng, found)
