"""Finders of dates of birth and ages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_agent.privacy.finders.hits import Hit, holds_any


def date_of_birth(text: str) -> Iterator[Hit]:
    """Dates that are said to be somebody's birth."""
    if not holds_any(
        text.lower(),
        ("born", "birth", "dob", "d.o.b", "geb.", "gebor", "geburt", "né le", "née le", "nacid", "nato il", "nata il"),
    ):
        return
    for match in _BORN.finditer(text):
        yield match.start("value"), match.end("value"), 0.96


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_BORN = re.compile(
    r"\b(?:born(?: on)?|birth[ _\-]?da(?:te|y)|date[ _]of[ _]birth|d\.?o\.?b\.?|geb(?:oren|\.)?(?: am)?|geburtsdatum"
    r"|née? le|nacid[oa] el|nat[oa] il)[\"']?"
    r"(?:\s{0,3}(?::|=|is|was|on)){0,2}\s{0,3}[\"']?"
    rf"(?P<value>\d{{1,4}}[./\-]\d{{1,2}}[./\-]\d{{1,4}}|{_DAY}(?: of)? {_MONTH},? \d{{4}}|{_MONTH} {_DAY},? \d{{4}})",
    re.IGNORECASE,
)


def age(text: str) -> Iterator[Hit]:
    """What says how old somebody is, whole: "aged 34", "34-year-old", "34 years old", "age: 34"."""
    for match in _UNIT.finditer(text):
        start = match.start()
        number = _NUMBER_BEFORE.search(text, max(0, start - 20), start)
        if number is not None:
            yield number.start(), match.end(), 0.9
    for match in _AGED.finditer(text):
        yield match.start(), match.end(), 0.9


_TEENS = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_ONES = "one|two|three|four|five|six|seven|eight|nine"
_YEARS = rf"(?:1[01]\d|[1-9]?\d|(?i:(?:{_TENS})(?:[- ](?:{_ONES}))?|{_TEENS}|{_ONES}))"
_UNIT = re.compile(r"(?:years?|months?|Years?)[ \-](?:old|Old|of age)\b|y/o\b|yo\b")
_NUMBER_BEFORE = re.compile(rf"(?<![\w.,/\-]){_YEARS}[ \-]?$")
_AGED = re.compile(
    r"\b(?:[Aa]ged(?: about| around| over| under)?|(?:at )?the age of|[Aa]ge[\"']?\s?[:=]|[Aa]ge (?:is|was)|age)"
    rf"\s?{_YEARS}(?![\w%]|[.,/\-]\d)"
)
