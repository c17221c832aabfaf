"""Finders of payment cards and IBANs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_agent.privacy.finders.checksums import luhn, mod97
from edge_agent.privacy.finders.hits import Hit


def card_number(text: str) -> Iterator[Hit]:
    """Payment cards: 12 to 19 digits whose Luhn sum is right; certain for a known issuer's, else to be announced."""
    groups = [match.span() for match in _DIGITS.finditer(text)]
    after = 0
    for first, (start, _) in enumerate(groups):
        if start < after or (start > 0 and text[start - 1] == "+"):
            continue
        ends = list(_card_ends(text, groups, first))
        if ends:
            end, score = max(ends, key=lambda end: (end[1], end[0]))
            after = end if score == 1.0 else after  # what only may be a card hides none that begins within it
            yield start, end, score


def _card_ends(text: str, groups: list[tuple[int, int]], first: int) -> Iterator[tuple[int, float]]:
    """Where a card that starts with the group of digits number `first` may end: a number may follow it."""
    digits, end = "", groups[first][0]
    for group_start, group_end in groups[first : first + 19]:
        if digits and not _GAP.fullmatch(text, end, group_start):
            return
        digits, end = digits + text[group_start:group_end], group_end
        if len(digits) > 19:
            return
        if len(digits) >= 12 and luhn(digits):
            yield end, 1.0 if _ISSUER.match(digits) else 0.3


_DIGITS = re.compile(r"(?<![A-Za-z0-9])\d+(?![A-Za-z])")
_GAP = re.compile(r" ?[ .\-_/\t]|-?\r?\n ?|\\n| - |%20|&nbsp;|&#160;")
_ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})$"  # Visa
    r"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}$"  # Mastercard
    r"|3[47]\d{13}$|3(?:0[0-5]|[689]\d)\d{11}$"  # American Express, Diners
    r"|(?:6011|64[4-9]\d|65\d\d|62\d\d)\d{12,15}$"  # Discover, UnionPay
    r"|35(?:2[89]|[3-8]\d)\d{12,15}$|(?:2131|1800)\d{11}$"  # JCB
    r"|(?:5018|5020|5038|5612|5893|6304|6390|6759|676[1-3])\d{8,15}$|(?:50|5[6-9]|6\d)\d{14,17}$"  # Maestro
)


def iban(text: str) -> Iterator[Hit]:
    """IBANs of the registry's countries, in either case, compact or grouped, whose mod-97 sum is right."""
    for match in _IBAN_START.finditer(text):
        length = IBAN_LENGTH.get(match.group()[:2].upper(), 0)
        end = _take_alphanumerics(text, match.start(), length) if length else None
        if end is None:
            continue
        compact = "".join(filter(str.isalnum, _BREAK.sub("", text[match.start() : end]).upper()))
        if mod97(compact):
            yield match.start(), end, 1.0


_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}(?:[ .\-]?\d{2})(?=[ .\-\r\n\t_/%&\\]{0,6}[A-Za-z0-9])")
_BREAK = re.compile(r"\\n|%20|&nbsp;|&#160;")
_SEPARATOR = re.compile(r"(?: ?[ .\-_/\t]|\r?\n ?|\\n| - |%20|&nbsp;|&#160;)(?=[A-Za-z0-9])")
IBAN_LENGTH = {
    country: int(length)
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FK FI FO GL NL", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE",
        31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""Characters of an IBAN, by country."""


def _take_alphanumerics(text: str, start: int, count: int) -> int | None:
    """The end of `count` letters and digits from `start`, single separators between them allowed; None if fewer."""
    position, taken = start, 0
    while taken < count:
        gap = _SEPARATOR.match(text, position) if taken else None
        if gap is not None:
            position = gap.end()
        character = text[position : position + 1]
        if not (character.isascii() and character.isalnum()):
            return None
        position, taken = position + 1, taken + 1
    return None if text[position : position + 1].isalnum() else position
