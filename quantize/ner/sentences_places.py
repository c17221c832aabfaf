"""Places and postal addresses of many countries for the generated training text.

Word lists: `words/places.toml` and `words/abroad.toml`, and the towns of Faker's address providers (Latin script only).
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from quantize.ner import sentences_names as people
from quantize.ner.sentences_words import lists

if TYPE_CHECKING:
    from random import Random

WORDS = lists("places")
CITIES = WORDS["cities"]
LONG_CITIES = WORDS["long_cities"]
REGIONS = WORDS["regions"]
COUNTRIES = WORDS["countries"]
LANDMARKS = WORDS["landmarks"]
STREET_NAMES = WORDS["street_names"]
STREET_KINDS = WORDS["street_kinds"]
STATES = WORDS["states"]
ABROAD = ("de", "fr", "es", "it", "nl", "pl", "sv", "pt", "in", "ng", "jp", "tr", "cz", "dk", "au", "ca")
UNITS = WORDS["units"]
FAKER = WORDS["faker"]
MOST_OF_A_COUNTRY = 200
FILLERS = re.compile(r"[#@]")


@dataclass(frozen=True)
class Address:
    """The lines of one postal address, without the addressee."""

    street: str
    town: str
    zip: str
    lines: tuple[str, ...]


def filled(rng: Random, pattern: str) -> str:
    """The pattern with a digit for each # and a capital letter for each @."""
    return FILLERS.sub(
        lambda m: rng.choice("0123456789") if m[0] == "#" else rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ"), pattern
    )


@cache
def _faker_cities() -> tuple[str, ...]:
    found: dict[str, None] = {}
    for locale in FAKER:
        provider = importlib.import_module(f"faker.providers.address.{locale}").Provider
        lists_of = (getattr(provider, name, ()) for name in ("cities", "city_names", "states", "regions", "provinces"))
        words = sorted({str(word).strip() for known in lists_of for word in known if people.LATIN.fullmatch(str(word))})
        found.update(dict.fromkeys(words[:: len(words) // MOST_OF_A_COUNTRY + 1]))
    return tuple(word for word in found if len(word) > 2)


def city(rng: Random) -> str:
    """A town."""
    roll = rng.random()
    if roll < 0.45:
        return rng.choice(CITIES)
    if roll < 0.55:
        return rng.choice(LONG_CITIES)
    if roll < 0.9:
        return rng.choice(_faker_cities())
    start = rng.choice(("North ", "East ", "New ", "Port ", "Lake ", "West ", ""))
    return (
        start
        + rng.choice(people.of_locale("en_US").families)
        + rng.choice(("ville", "ton", "burg", "field", "ham", "wood", " Falls", " Springs"))
    )


def place(rng: Random) -> str:
    """A town, region, country or landmark."""
    roll = rng.random()
    if roll < 0.6:
        return city(rng)
    return rng.choice(REGIONS if roll < 0.75 else COUNTRIES if roll < 0.93 else LANDMARKS)


def _number(rng: Random, most: int = 220) -> str:
    return f"{rng.randint(1, most)}" + (rng.choice("abcAB") if rng.random() < 0.06 else "")


def _english_street(rng: Random) -> str:
    stem = rng.choice(STREET_NAMES) if rng.random() < 0.6 else rng.choice(people.of_locale("en_US").families)
    way = rng.choice(("", "", "", "", "N ", "West ", "S. "))
    return f"{_number(rng, rng.choice((60, 220, 220, 9999, 19999)))} {way}{stem} {rng.choice(STREET_KINDS)}"


def _british_zip(rng: Random) -> str:
    return filled(rng, rng.choice(("@# #@@", "@## #@@", "@@# #@@", "@@## #@@", "@#@ #@@")))


def _english(rng: Random) -> Address:
    street, town = _english_street(rng), city(rng)
    last: tuple[str, ...]
    if rng.random() < 0.5:
        code = filled(rng, "#####" if rng.random() < 0.85 else "#####-####")
        last = (f"{town}, {rng.choice(STATES)} {code}",)
    else:
        code = _british_zip(rng)
        last = (town, code) if rng.random() < 0.5 else (f"{town} {code}",)
    return Address(street, town, code, (street, *last))


@cache
def _abroad(country: str) -> dict[str, tuple[str, ...]]:
    return lists(f"abroad.{country}")


def _foreign(rng: Random, country: str) -> Address:
    known = _abroad(country)
    pattern = filled(rng, rng.choice(known["forms"]))
    street = re.sub(r"\bS\b", rng.choice(known["streets"]), re.sub(r"\bN\b", _number(rng), pattern))
    town = city(rng)
    last = re.sub(r"\bC\b(?![a-z])", "\0", rng.choice(known["towns"]))
    filled_last = filled(rng, last)
    code = filled_last.replace("\0", "").strip(" ,-")
    return Address(street, town, code or town, (street, filled_last.replace("\0", town)))


def address(rng: Random, language: str = "en") -> Address:
    """A postal address, of the language's country where it is not English."""
    if language != "en" and rng.random() < 0.85:
        found = _foreign(rng, language)
    elif rng.random() < 0.6:
        found = _english(rng)
    else:
        found = _foreign(rng, rng.choice(ABROAD))
    lines = found.lines
    if rng.random() < 0.15:
        lines = (filled(rng, rng.choice(UNITS)), *lines)
    if rng.random() < 0.12:
        lines = (*lines, rng.choice(COUNTRIES))
    return Address(found.street, found.town, found.zip, lines)
