"""People for the generated training text: names of many origins, and the forms one name takes.

Word lists: the person providers of Faker (Latin script only), and `words/origins.toml`, written for this project,
whose `wordy` are names that are common words too.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from quantize.ner.sentences_words import lists

if TYPE_CHECKING:
    from random import Random

LATIN = re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff'\u2019 .-]+")
FAMILY_LISTS = ("last_names", "last_names_male", "last_names_female", "unisex_last_names", "male_last_names")
ENGLISH = ("en_US", "en_GB", "en_IE", "en_NZ")
LOCALES = (
    *ENGLISH,
    "en_IN",
    "de_DE",
    "de_AT",
    "de_CH",
    "fr_FR",
    "fr_CH",
    "fr_QC",
    "es_ES",
    "es_MX",
    "es_CO",
    "it_IT",
    "nl_NL",
    "nl_BE",
    "sv_SE",
    "da_DK",
    "no_NO",
    "fi_FI",
    "pl_PL",
    "pt_PT",
    "pt_BR",
    "tr_TR",
    "cs_CZ",
    "sk_SK",
    "hu_HU",
    "ro_RO",
    "hr_HR",
    "sl_SI",
    "et_EE",
    "lv_LV",
    "lt_LT",
    "az_AZ",
    "id_ID",
    "ga_IE",
    "yo_NG",
    "ig_NG",
    "ha_NG",
    "tw_GH",
    "zu_ZA",
)
BY_LANGUAGE = {
    "de": ("de_DE", "de_AT", "de_CH"),
    "fr": ("fr_FR", "fr_CH", "fr_QC"),
    "es": ("es_ES", "es_MX", "es_CO"),
    "it": ("it_IT",),
    "nl": ("nl_NL", "nl_BE"),
    "pl": ("pl_PL",),
    "sv": ("sv_SE",),
    "pt": ("pt_PT", "pt_BR"),
}

ORIGINS = (
    "chinese",
    "japanese",
    "korean",
    "vietnamese",
    "arabic",
    "persian",
    "greek",
    "slavic",
    "west african",
    "east african",
    "indian",
)
FAMILY_FIRST = {"chinese", "japanese", "korean", "vietnamese"}
WORDS = lists("names")
PARTICLED = WORDS["particled"]


@dataclass(frozen=True)
class Names:
    """The given and family names of one origin."""

    men: tuple[str, ...]
    women: tuple[str, ...]
    families: tuple[str, ...]
    family_first: bool = False


@dataclass(frozen=True)
class Person:
    """One invented person; every form of the name in a text comes from here."""

    first: str
    middle: str
    last: str
    female: bool
    family_first: bool
    title: str

    def full(self, rng: Random) -> str:
        """One of the forms in which a full name is written."""
        roll = rng.random()
        first, last = self.first, self.last
        if roll < 0.07:
            return f"{first} {self.middle[0]}. {last}"
        if roll < 0.12:
            return f"{first} {self.middle} {last}"
        if roll < 0.16:
            return f"{first[0]}. {last}"
        if roll < 0.18:
            return f"{first[0]}. {self.middle[0]}. {last}"
        if roll < 0.19:
            return f"{first[0]}.{self.middle[0]}. {last}"
        if roll < 0.20:
            return f"{last}, {first}"
        if roll < 0.21:
            return f"{first} {last} Jr."
        if self.family_first and roll < 0.6:
            return f"{last} {first}"
        return f"{first} {last}"

    def initials(self, rng: Random) -> str:
        """Initials alone, such as `M.S.` or `JRO`."""
        letters = self.first[0] + (self.middle[0] if rng.random() < 0.3 else "") + self.last[0].upper()
        return rng.choice((".".join(letters) + ".", ". ".join(letters) + ".", letters + "."))


def _words(provider: type, *names: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in names:
        words = getattr(provider, name, ())
        found.update(
            dict.fromkeys(sorted(words) if isinstance(words, set | frozenset) else words)
        )  # sets differ by run
    return tuple(word.strip() for word in found if LATIN.fullmatch(word) and len(word.strip()) > 1 and word != "Doe")


@cache
def of_locale(locale: str) -> Names:
    """The names Faker knows for `locale`; raises ImportError for a locale it does not have."""
    provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
    plain = _words(provider, "first_names")
    men = _words(provider, "first_names_male") or plain
    women = _words(provider, "first_names_female") or plain
    families = _words(provider, *FAMILY_LISTS)
    return Names(men, women, families)


@cache
def _own(origin: str) -> Names:
    known = lists(f"origins.{origin}")
    return Names(known["men"], known["women"], known["families"], origin in FAMILY_FIRST)


def names(rng: Random, language: str) -> Names:
    """The names to draw one person from, mostly of `language` where it is not English."""
    if language != "en" and rng.random() < 0.8:
        return of_locale(rng.choice(BY_LANGUAGE[language]))
    roll = rng.random()
    if roll < 0.30:
        return of_locale(rng.choice(ENGLISH))
    if roll < 0.66:
        return of_locale(rng.choice(LOCALES))
    if roll < 0.71:
        return _own("wordy")
    return _own(rng.choice(ORIGINS))


def plain(word: str) -> str:
    """The word without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))


def _family(rng: Random, known: Names) -> str:
    roll = rng.random()
    last = rng.choice(known.families)
    if roll < 0.04:
        return rng.choice(PARTICLED)
    if roll < 0.07:
        return f"{last}-{rng.choice(known.families)}"
    if roll < 0.09:
        return f"{last} {rng.choice(known.families)}"
    return last


def person(rng: Random, language: str = "en") -> Person:
    """An invented person."""
    known = names(rng, language)
    female = rng.random() < 0.5
    given = known.women if female else known.men
    first, middle, last = rng.choice(given), rng.choice(given), _family(rng, known)
    if rng.random() < 0.3:
        first, middle, last = plain(first), plain(middle), plain(last)
    if rng.random() < 0.02:
        first = f"{first}-{middle}"
    title = rng.choice(
        ("Ms", "Mrs", "Ms.", "Mrs.", "Miss", "Dr", "Dr.", "Prof.")
        if female
        else ("Mr", "Mr.", "Mr", "Dr", "Dr.", "Prof.")
    )
    return Person(first, middle, last, female, known.family_first, title)
