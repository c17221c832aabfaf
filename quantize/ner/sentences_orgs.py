"""Organisations for the generated training text. Word lists: `words/orgs.toml`; family names: `sentences_names`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantize.ner import sentences_names as people
from quantize.ner import sentences_places as places
from quantize.ner.sentences_words import lists

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

WORDS = lists("orgs")
KNOWN = WORDS["known"]
NOUNS = WORDS["nouns"]
TRADES = WORDS["trades"]
SUFFIXES = WORDS["suffixes"]
SYLLABLES = WORDS["syllables"]
SAINTS = WORDS["saints"]
CARE = WORDS["care"]
SCHOOLS = WORDS["schools"]
FORCES = WORDS["forces"]
PEOPLE_OF = WORDS["people_of"]
ABROAD = WORDS["abroad"]


def _family(rng: Random) -> str:
    return rng.choice(people.names(rng, "en").families)


def _firm(rng: Random) -> str:
    family, other = _family(rng), _family(rng)
    trade = rng.choice(TRADES)
    return rng.choice(
        (
            f"{family} {rng.choice(SUFFIXES)}",
            f"{family} {trade}",
            f"{family} {trade} {rng.choice(SUFFIXES)}",
            f"{family} & {other}",
            f"{family} & {other} {rng.choice(SUFFIXES)}",
            f"{family}, {other} & {_family(rng)}",
            f"{family} {other} LLP",
            f"{family}-{other}",
            f"{family}'s {trade}",
            f"{family} Bros.",
            f"{family} and Sons",
            f"{family}",
        )
    )


def _brand(rng: Random) -> str:
    noun, trade = rng.choice(NOUNS), rng.choice(TRADES)
    return rng.choice(
        (
            f"{noun} {trade}",
            f"{noun} {trade}",
            f"{noun} {trade} {rng.choice(SUFFIXES)}",
            f"{noun} {rng.choice(NOUNS)} {trade}",
            f"{noun}{rng.choice(NOUNS)}",
            f"{noun}{rng.choice(NOUNS).lower()}",
            f"{noun} {rng.choice(SUFFIXES)}",
            noun,
            f"{places.city(rng)} {trade}",
            f"{noun} Foundation",
            f"{noun} & {rng.choice(NOUNS)}",
        )
    )


def _startup(rng: Random) -> str:
    word = "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 2, 3)))).capitalize()
    return word + rng.choice(
        ("", "", "", ".io", ".ai", " AI", " Labs", "HQ", " Inc.", "Tech", "Pay", "Soft", " Health")
    )


def _acronym(rng: Random) -> str:
    return "".join(rng.choice("ABCDEFGHIKLMNOPRSTUVW") for _ in range(rng.choice((2, 3, 3, 3, 4))))


def _care(rng: Random) -> str:
    stem = rng.choice(SAINTS) if rng.random() < 0.35 else places.city(rng) if rng.random() < 0.6 else rng.choice(NOUNS)
    return f"{stem} {rng.choice(CARE)}"


def _school(rng: Random) -> str:
    roll = rng.random()
    if roll < 0.35:
        return f"University of {places.city(rng)}"
    if roll < 0.45:
        return f"{_family(rng)} College"
    stem = rng.choice(SAINTS) if roll < 0.55 else _family(rng) if roll < 0.7 else places.city(rng)
    return f"{stem} {rng.choice(SCHOOLS)}"


def _public_body(rng: Random) -> str:
    return f"{places.city(rng)} {rng.choice(FORCES)}"


def _club(rng: Random) -> str:
    return f"{places.city(rng)} {rng.choice(PEOPLE_OF)}"


def _abroad(rng: Random) -> str:
    return rng.choice(ABROAD).format(c=places.city(rng), f=_family(rng))


def _known(rng: Random) -> str:
    return rng.choice(KNOWN)


MAKERS: tuple[Callable[[Random], str], ...] = (
    _firm,
    _brand,
    _brand,
    _startup,
    _startup,
    _acronym,
    _care,
    _school,
    _public_body,
    _club,
    _abroad,
    _known,
)
KINDS: dict[str, Callable[[Random], str]] = {
    "hospital": _care,
    "school": _school,
    "court": lambda rng: f"{places.city(rng)} {rng.choice([f for f in FORCES if 'Court' in f])}",
    "police": lambda rng: (
        f"{places.city(rng)} {rng.choice(('Police', 'Police Department', 'Police Station', 'Constabulary'))}"
    ),
    "club": _club,
    "body": _public_body,
    "bank": lambda rng: f"{rng.choice(NOUNS)} {rng.choice(('Bank', 'Savings Bank', 'Credit Union'))}",
    "firm": lambda rng: rng.choice((_firm, _brand, _startup, _known))(rng),
}


def organisation(rng: Random, kind: str = "") -> str:
    """An invented (now and then a well-known) organisation, of one of `KINDS` where asked."""
    return KINDS[kind](rng) if kind else rng.choice(MAKERS)(rng)
