"""Templates of the training text and how their slots are filled.

A file of `templates/` holds blocks separated by lines `---`. A block may open with `@de`, the language of the text.
Inside a block `<<a|b>>` is a choice; `{person2}` a slot, its number telling two people apart; `{P:the Supreme Court}`
words with a label; `{FIRM}` (all capitals) and `{Firm}` (first letter capital) change the letters of the value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from quantize.ner import sentences_names as people
from quantize.ner import sentences_orgs as orgs
from quantize.ner import sentences_places as places
from quantize.ner import sentences_values as values

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

FOLDER = Path(__file__).parent / "templates"
LABELS = (
    "PERSON",
    "ORG",
    "LOC",
    "ADDRESS",
    "DATETIME",
    "AGE",
    "DEM",
    "QUANTITY",
    "CODE",
    "PHONE",
    "EMAIL",
    "USERNAME",
    "P",
)
CHOICE = re.compile(r"<<(.*?)>>", re.DOTALL)
SLOT = re.compile(r"\{(?:(" + "|".join(LABELS) + r"):([^{}]+)|([A-Za-z]+)(\d?))\}")
VOWELS = tuple("aeioAEIO")


class Piece(NamedTuple):
    """A stretch of text and its label, or None."""

    text: str
    label: str | None


@dataclass(frozen=True)
class Template:
    """One block of a template file."""

    text: str
    language: str
    domain: str


class Cast:
    """The people and values of one text: a slot named again has the value it had before."""

    def __init__(self, rng: Random, language: str) -> None:
        """Hold the source of chance and the language; nothing is drawn yet."""
        self.rng = rng
        self.language = language
        self._people: dict[str, people.Person] = {}
        self._addresses: dict[str, places.Address] = {}
        self._values: dict[str, str] = {}

    def turned(self) -> Cast:
        """The same people with everything else to be drawn anew, for the next paragraph."""
        self._addresses.clear()
        self._values.clear()
        return self

    def person(self, number: str) -> people.Person:
        """The person of that number."""
        if number not in self._people:
            self._people[number] = people.person(self.rng, self.language)
        return self._people[number]

    def address(self, number: str) -> places.Address:
        """The address of that number."""
        if number not in self._addresses:
            self._addresses[number] = places.address(self.rng, self.language)
        return self._addresses[number]

    def value(self, slot: str, number: str) -> Piece:
        """The value of a slot, drawn once."""
        label, make = SLOTS[slot]
        key = slot + number
        if key not in self._values:
            self._values[key] = make(self, number)
        return Piece(self._values[key], label)


def _last_first(cast: Cast, number: str) -> str:
    who = cast.person(number)
    return f"{who.last}, {who.first}" + (f" {who.middle[0]}." if cast.rng.random() < 0.2 else "")


def _email(cast: Cast, number: str) -> str:
    org = cast.value("org", number).text if cast.rng.random() < 0.5 else orgs.organisation(cast.rng, "firm")
    return values.email(cast.rng, cast.person(number), org)


def _by_gender(female: str, male: str) -> Callable[[Cast, str], str]:
    return lambda cast, number: female if cast.person(number).female else male


def _one_of(words: tuple[str, ...]) -> Callable[[Cast, str], str]:
    return lambda cast, _number: cast.rng.choice(words)


def _drawn(make: Callable[[Random], str]) -> Callable[[Cast, str], str]:
    return lambda cast, _number: make(cast.rng)


def _org(kind: str) -> Callable[[Cast, str], str]:
    return lambda cast, _number: orgs.organisation(cast.rng, kind)


def _code(kind: str) -> Callable[[Cast, str], str]:
    return lambda cast, _number: values.code(cast.rng, kind)


def _nothing(kind: str) -> Callable[[Cast, str], str]:
    return lambda cast, _number: values.nothing(cast.rng, kind)


def _address(cast: Cast, number: str) -> str:
    return cast.rng.choice((", ", ", ", ", ", " ")).join(cast.address(number).lines)


def _iso(cast: Cast, _number: str) -> str:
    return str(values.day(cast.rng))


SLOTS: dict[str, tuple[str | None, Callable[[Cast, str], str]]] = {
    "person": ("PERSON", lambda cast, n: cast.person(n).full(cast.rng)),
    "name": ("PERSON", lambda cast, n: f"{cast.person(n).first} {cast.person(n).last}"),
    "first": ("PERSON", lambda cast, n: cast.person(n).first),
    "last": ("PERSON", lambda cast, n: cast.person(n).last),
    "initials": ("PERSON", lambda cast, n: cast.person(n).initials(cast.rng)),
    "lastfirst": ("PERSON", _last_first),
    "email": ("EMAIL", _email),
    "handle": ("USERNAME", lambda cast, n: values.handle(cast.rng, cast.person(n))),
    "title": (None, lambda cast, n: cast.person(n).title),
    "he": (None, _by_gender("she", "he")),
    "his": (None, _by_gender("her", "his")),
    "him": (None, _by_gender("her", "him")),
    "man": (None, _by_gender("woman", "man")),
    "a": (None, lambda _cast, _n: "a"),
    "org": ("ORG", _org("")),
    **{kind: ("ORG", _org(kind)) for kind in orgs.KINDS},
    "city": ("LOC", _drawn(places.city)),
    "place": ("LOC", _drawn(places.place)),
    "country": ("LOC", _one_of(places.COUNTRIES)),
    "region": ("LOC", _one_of(places.REGIONS)),
    "landmark": ("LOC", _one_of(places.LANDMARKS)),
    "town": ("LOC", lambda cast, n: cast.address(n).town),
    "address": ("ADDRESS", _address),
    "block": ("ADDRESS", lambda cast, n: "\n".join(cast.address(n).lines)),
    "street": ("ADDRESS", lambda cast, n: cast.address(n).street),
    "zip": ("ADDRESS", lambda cast, n: cast.address(n).zip),
    "date": ("DATETIME", lambda cast, _n: values.written(cast.rng, values.day(cast.rng), cast.language)),
    "dob": ("DATETIME", lambda cast, _n: values.written(cast.rng, values.day(cast.rng, 1935, 2012), cast.language)),
    "iso": ("DATETIME", _iso),
    "time": ("DATETIME", _drawn(values.clock)),
    "stamp": ("DATETIME", _drawn(values.stamp)),
    "when": ("DATETIME", _drawn(values.recent)),
    "year": ("DATETIME", lambda cast, _n: str(cast.rng.randint(1955, 2026))),
    "age": ("AGE", _drawn(values.age)),
    "yearold": ("AGE", lambda cast, _n: f"{cast.rng.randint(3, 96)}-year-old"),
    "years": ("AGE", lambda cast, _n: str(cast.rng.randint(3, 96))),
    "nationality": ("DEM", _one_of(values.NATIONALITIES)),
    "religion": ("DEM", _one_of(values.RELIGIONS)),
    "ethnicity": ("DEM", _one_of(values.ETHNICITIES)),
    "orientation": ("DEM", _one_of(values.ORIENTATIONS)),
    "politics": ("DEM", _one_of(values.POLITICS)),
    "job": ("DEM", _one_of(values.PROFESSIONS)),
    "amount": ("QUANTITY", _drawn(values.amount)),
    "span": ("QUANTITY", _drawn(values.span)),
    "heading": (None, _drawn(values.heading)),
    "team": (None, _drawn(values.team)),
    "product": ("P", _drawn(values.product)),
    "phone": ("PHONE", _drawn(values.phone)),
    **{kind: ("CODE", _code(kind)) for kind in values.CODES},
    **{kind: (None, _nothing(kind)) for kind in values.NOTHINGS},
}


@cache
def templates() -> dict[str, tuple[Template, ...]]:
    """Every template, by the name of its file."""
    found: dict[str, tuple[Template, ...]] = {}
    for path in sorted(FOLDER.glob("*.txt")):
        blocks = (block.strip("\n") for block in re.split(r"(?m)^---[ \t]*$", path.read_text(encoding="utf-8")))
        found[path.stem] = tuple(_template(block, path.stem) for block in blocks if block.strip())
    return found


def _template(block: str, domain: str) -> Template:
    if re.match(r"@[a-z]{2}\n", block):
        return Template(block[4:], block[1:3], domain)
    return Template(block, "en", domain)


def _cased(slot: str, piece: Piece) -> Piece:
    if len(slot) > 1 and slot.isupper():
        return Piece(piece.text.upper(), piece.label)
    return Piece(piece.text[0].upper() + piece.text[1:], piece.label) if slot[0].isupper() else piece


def _with_articles(pieces: list[Piece], articles: list[int]) -> list[Piece]:
    """The pieces with `an` where the text after the article opens with a vowel."""
    for at in articles:
        after = "".join(piece.text for piece in pieces[at + 1 : at + 3]).lstrip()
        if after.startswith(VOWELS) and not after.startswith("Eu"):
            pieces[at] = Piece(pieces[at].text + "n", None)
    return pieces


def _whole_names(pieces: list[Piece]) -> list[Piece]:
    """The pieces with a given name, a blank and a family name made one."""
    found: list[Piece] = []
    for piece in pieces:
        apart = len(found) > 1 and found[-1] == Piece(" ", None) and found[-2].label == piece.label == "PERSON"
        if apart:
            found[-2:] = [Piece(f"{found[-2].text} {piece.text}", "PERSON")]
        else:
            found.append(piece)
    return found


def fill(template: Template, rng: Random, cast: Cast | None = None) -> list[Piece]:
    """One text of the template, in pieces, about the people of `cast`; raises KeyError for an unknown slot."""
    text = CHOICE.sub(lambda m: rng.choice(m[1].split("|")), template.text)
    cast = cast or Cast(rng, template.language)
    pieces: list[Piece] = []
    articles: list[int] = []
    at = 0
    for match in SLOT.finditer(text):
        if match.start() > at:
            pieces.append(Piece(text[at : match.start()], None))
        at = match.end()
        label, words, slot, number = match.groups()
        if slot in {"a", "A"}:
            articles.append(len(pieces))
        pieces.append(Piece(words, label) if label else _cased(slot, cast.value(slot.lower(), number)))
    pieces.append(Piece(text[at:], None))
    return _whole_names(_with_articles(pieces, articles))
