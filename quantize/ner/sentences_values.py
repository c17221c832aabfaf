"""Dates, ages, amounts, numbers, contacts and describing words for the generated training text.

Word lists: `words/values.toml`.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from quantize.ner import sentences_names as people
from quantize.ner.sentences_places import filled
from quantize.ner.sentences_words import lists

if TYPE_CHECKING:
    from random import Random

MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
}
LONG_DATE = {"en": "{d} {m} {y}", "de": "{d}. {m} {y}", "es": "{d} de {m} de {y}", "pt": "{d} de {m} de {y}"}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WORDS = lists("values")
NATIONALITIES = WORDS["nationalities"]
RELIGIONS = WORDS["religions"]
ETHNICITIES = WORDS["ethnicities"]
ORIENTATIONS = WORDS["orientations"]
POLITICS = WORDS["politics"]
PROFESSIONS = WORDS["professions"]
MAILHOSTS = WORDS["mailhosts"]
CURRENCIES = WORDS["currencies"]
COUNTED = WORDS["counted"]
CODES = lists("values.codes")
PHONES = WORDS["phones"]
NOTHINGS = lists("values.nothings")

PLAIN_WORDS = WORDS["plain_words"]
TEAMS = WORDS["teams"]
PRODUCTS = WORDS["products"]


def heading(rng: Random) -> str:
    """Capitalised words that name nobody."""
    return " ".join(rng.choice(PLAIN_WORDS) for _ in range(rng.choice((1, 2, 2, 3, 3, 4))))


def team(rng: Random) -> str:
    """A part of a company, which is no organisation of its own."""
    return rng.choice(TEAMS) + rng.choice((" team", " department", " Team", ""))


def product(rng: Random) -> str:
    """A product everybody knows."""
    return rng.choice(PRODUCTS)


def day(rng: Random, first: int = 1962, last: int = 2026) -> dt.date:
    """A day within the years."""
    return dt.date(rng.randint(first, last), 1, 1) + dt.timedelta(days=rng.randint(0, 364))


def written(rng: Random, when: dt.date, language: str = "en") -> str:
    """The date in one of the ways people write it."""
    d, y = when.day, when.year
    month = MONTHS[language].split()[when.month - 1]
    if language != "en":
        return rng.choice(
            (
                LONG_DATE.get(language, "{d} {m} {y}").format(d=d, m=month, y=y),
                f"{when:%d.%m.%Y}",
                f"{when:%d/%m/%Y}",
                f"{d} {month}",
            )
        )
    ordinal = f"{d}{'th' if 10 < d < 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(d % 10, 'th')}"
    return rng.choice(
        (
            f"{d} {month} {y}",
            f"{d} {month} {y}",
            f"{month} {d}, {y}",
            f"{month} {d}, {y}",
            f"{d} {month}",
            f"{month} {d}",
            f"{y}-{when:%m-%d}",
            f"{when:%d/%m/%Y}",
            f"{when:%m/%d/%Y}",
            f"{when:%d.%m.%Y}",
            f"{when:%d-%m-%y}",
            f"{when:%d-%b-%Y}",
            f"{ordinal} {month} {y}",
            f"{month} {ordinal}",
            f"the {ordinal} of {month}",
            f"{when:%b} {d}, {y}",
            f"{d} {when:%b} {y}",
            f"{month} {y}",
            f"{when.month}/{d}/{y % 100:02}",
            f"{WEEKDAYS[when.weekday()]}, {d} {month} {y}",
            f"{WEEKDAYS[when.weekday()]} {month} {ordinal}",
            f"{y}/{when:%m/%d}",
            f"{when:%b} {d}",
        )
    )


def clock(rng: Random) -> str:
    """A time of day."""
    hour, minute = rng.randint(0, 23), rng.choice((0, 15, 30, 45, rng.randint(0, 59)))
    half = "am" if hour < 12 else "pm"
    return rng.choice(
        (
            f"{hour:02}:{minute:02}",
            f"{hour % 12 or 12}:{minute:02} {half}",
            f"{hour % 12 or 12}{half}",
            f"{hour % 12 or 12} {half.upper()}",
            f"{hour:02}:{minute:02}:{rng.randint(0, 59):02}",
            f"{hour:02}.{minute:02}",
            f"{hour % 12 or 12} o'clock",
        )
    )


def stamp(rng: Random) -> str:
    """A machine's date and time."""
    when, time = day(rng, 2019), f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    return rng.choice(
        (
            f"{when}T{time}Z",
            f"{when} {time}",
            f"{when:%d/%b/%Y}:{time}",
            f"{when:%Y/%m/%d} {time}",
            f"{when} {time},{rng.randint(100, 999)}",
        )
    )


def recent(rng: Random) -> str:
    """A day named loosely, as in planning."""
    weekday = rng.choice(WEEKDAYS)
    return rng.choice(
        (
            weekday,
            weekday,
            f"next {weekday}",
            f"last {weekday}",
            f"{weekday} morning",
            f"{weekday} at {clock(rng)}",
            f"{weekday} {clock(rng)}",
            f"last {rng.choice(MONTHS['en'].split())}",
            f"the summer of {rng.randint(1975, 2024)}",
            f"early {rng.randint(1990, 2024)}",
        )
    )


def age(rng: Random) -> str:
    """An age in years, with its unit where the form has one."""
    years = rng.randint(1, 97)
    return rng.choice(
        (f"{years} years old", f"{years}-year-old", f"{years} y/o", f"{years} yrs", f"{years} years", f"{years}yo")
    )


def amount(rng: Random) -> str:
    """A sum of money."""
    value = rng.choice((rng.randint(50, 999), rng.randint(1, 90) * 500, rng.randint(10_000, 250_000)))
    sign = rng.choice(CURRENCIES)
    return rng.choice(
        (
            f"{sign}{value:,}",
            f"{sign}{value:,}",
            f"{value:,} euros",
            f"{value:,} dollars",
            f"{sign}{value}",
            f"{sign}{value:,}.00",
            f"{value} EUR",
            f"{value // 1000 + 1}k",
        )
    )


def span(rng: Random) -> str:
    """A length of time that describes a case."""
    count = rng.choice((rng.choice(COUNTED), str(rng.randint(2, 30))))
    return f"{count} {rng.choice(('years', 'months', 'weeks', 'days', 'years'))}"


def code(rng: Random, kind: str) -> str:
    """An identification number of one of `CODES`."""
    return filled(rng, rng.choice(CODES[kind]))


def nothing(rng: Random, kind: str) -> str:
    """A figure that identifies nobody, of one of `NOTHINGS`."""
    return filled(rng, rng.choice(NOTHINGS[kind]))


def phone(rng: Random) -> str:
    """A telephone number."""
    return filled(rng, rng.choice(PHONES)).replace(" ", rng.choice((" ", " ", " ", "-", "")))


def _ascii(word: str) -> str:
    return re.sub(r"[^a-z]", "", people.plain(word).lower()) or "x"


def email(rng: Random, who: people.Person, org: str) -> str:
    """An address that goes with the person, at a public host or at the organisation's."""
    first, last = _ascii(who.first), _ascii(who.last)
    host = (
        rng.choice(MAILHOSTS)
        if rng.random() < 0.5
        else f"{_ascii(org)[:18]}.{rng.choice(('com', 'co.uk', 'org', 'de', 'io', 'fr', 'net', 'eu'))}"
    )
    name = rng.choice(
        (
            f"{first}.{last}",
            f"{first}.{last}",
            f"{first[0]}{last}",
            first,
            f"{first}_{last}",
            f"{last}{rng.randint(1, 99)}",
            f"{first}{rng.randint(60, 2005)}",
        )
    )
    return f"{name}@{host}"


def handle(rng: Random, who: people.Person) -> str:
    """A user name; half of them say the person's name."""
    first, last = _ascii(who.first), _ascii(who.last)
    odd = rng.choice(("sunny", "dark", "code", "pixel", "moon", "rusty", "night", "blue", "mad", "tiny")) + rng.choice(
        ("fox", "wolf", "ninja", "gamer", "cat", "rider", "panda", "ghost")
    )
    name = rng.choice(
        (
            f"{first[0]}{last}",
            f"{first}_{last}",
            f"{first}{rng.randint(1, 99)}",
            f"{first}.{last}",
            odd,
            f"{odd}{rng.randint(1, 999)}",
            f"x_{odd}_x",
            f"{last}{first[0]}",
            f"{first}-{last}",
        )
    )
    return name if rng.random() < 0.6 else f"@{name}"
