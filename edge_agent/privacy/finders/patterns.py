"""Finders of values that have a format: pure functions from a text to (start, end, score).

Score 1.0 means that a checksum or a fixed prefix proves it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

Hit = tuple[int, int, float]
Finder = Callable[[str], Iterator[Hit]]


def card_number(text: str) -> Iterator[Hit]:
    """Payment cards: 12 to 19 digits whose Luhn sum is right; certain for a known issuer's, else to be announced."""
    groups = [match.span() for match in _DIGITS.finditer(text)]
    after = 0
    for first, (start, _) in enumerate(groups):
        if start < after or (start > 0 and text[start - 1] == "+"):
            continue
        ends = list(_card_ends(text, groups, first))
        if ends:
            after, score = max(ends, key=lambda end: (end[1], end[0]))
            yield start, after, score


def _card_ends(text: str, groups: list[tuple[int, int]], first: int) -> Iterator[tuple[int, float]]:
    """Where a card that starts with the group of digits number `first` may end: a number may follow it."""
    digits, end = "", groups[first][0]
    for group_start, group_end in groups[first : first + 19]:
        gap = text[end:group_start]
        if digits and (len(gap) != 1 or gap not in " .-\n"):
            return
        digits, end = digits + text[group_start:group_end], group_end
        if len(digits) > 19:
            return
        if len(digits) >= 12 and _luhn(digits):
            yield end, 1.0 if _ISSUER.match(digits) else 0.3


_DIGITS = re.compile(r"(?<![A-Za-z0-9])\d+(?![A-Za-z])")
_ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})$"  # Visa
    r"|(?:5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}$"  # Mastercard
    r"|3[47]\d{13}$|3(?:0[0-5]|[689]\d)\d{11}$"  # American Express, Diners
    r"|(?:6011|64[4-9]\d|65\d\d|62\d\d)\d{12,15}$"  # Discover, UnionPay
    r"|35(?:2[89]|[3-8]\d)\d{12,15}$|(?:2131|1800)\d{11}$"  # JCB
    r"|(?:50|5[6-9]|6\d)\d{10,17}$"  # Maestro
)


def iban(text: str) -> Iterator[Hit]:
    """IBANs of the registry's countries, in either case, compact or grouped, whose mod-97 sum is right."""
    for match in _IBAN_START.finditer(text):
        length = _IBAN_LENGTH.get(match.group()[:2].upper(), 0)
        end = _take_alphanumerics(text, match.start(), length)
        if length and end is not None and _mod97(text[match.start() : end]) == 1:
            yield match.start(), end, 1.0


_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ \-\n]?[A-Za-z0-9])")
_IBAN_LENGTH = {
    country: int(length)
    for length, countries in {
        15: "NO", 16: "BE BI", 18: "DK FK FI FO GL NL", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE",
        31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip


def email(text: str) -> Iterator[Hit]:
    """E-mail addresses by shape. Whether the domain can exist is the caller's to check."""
    for match in _EMAIL.finditer(text):
        yield match.start(), match.end(), 0.7


# The sign as it is, and as links, pages and JSON write it.
_EMAIL = re.compile(
    r"\w[\w!#$%&'*+/=?^`{|}~.\-]{0,63}(?:@|%40|&#64;|&#x40;|&commat;|\\u0040)"
    r"(?:[\w\-]{1,63}\.){1,8}[^\W\d_][\w\-]{1,62}"
)


def ip_address(text: str) -> Iterator[Hit]:
    """IPv4 and IPv6 addresses, but for the loopback, unspecified and broadcast ones, which name nobody."""
    for match in _IP.finditer(text):
        start, found = match.start(), match.group()
        address = _address(found)
        while address is None and ":" in found:  # "ip:2001:db8::1"
            label, _, found = found.partition(":")
            start += len(label) + 1
            address = _address(found)
        if address is None or address.is_unspecified or found in {"127.0.0.1", "::1", "255.255.255.255"}:
            continue
        if any(character.isdigit() for character in found):
            yield start, match.end(), 1.0


def _address(found: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(found)
    except ValueError:
        return None


_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_IP = re.compile(
    rf"(?<![A-Za-z0-9.])(?<!\d:){_IPV4}(?!\.?\d)(?![A-Za-z])"
    rf"|(?<![A-Za-z0-9:.])(?:[A-Za-z]{{0,12}}:)?(?=[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{{2,39}}(?:{_IPV4})?"
    r"(?:%[A-Za-z0-9]+)?(?![A-Za-z0-9:])"
)


def us_ssn(text: str) -> Iterator[Hit]:
    """US social security numbers, grouped 3-2-4. Sample numbers count: a policy must see them, too."""
    for match in _SSN.finditer(text):
        area, group, serial = match["area"], match["group"], match["serial"]
        if area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000":
            yield match.start(), match.end(), 0.96 if match["mark"] else 0.3


_SSN = re.compile(
    r"(?<![A-Za-z0-9\-])(?P<area>\d{3})(?P<mark>[ \-.]?)(?P<group>\d\d)(?P=mark)(?P<serial>\d{4})(?![A-Za-z0-9\-])"
)


def url(text: str) -> Iterator[Hit]:
    """Links to something in particular: a path, a query or a port. The mere name of a public site stays."""
    for match in _URL.finditer(text):
        yield match.start(), match.start() + len(match.group().rstrip(".,;:!?*_")), 0.9


_URL = re.compile(r"\b(?:https?|ftp|wss?)://[^\s/<>\"'`)\]}]+(?:/|\?|:\d)[^\s<>\"'`)\]}]+", re.IGNORECASE)


def hostname(text: str) -> Iterator[Hit]:
    """Machines on somebody's own network, and whole sites."""
    for pattern in (_HOSTNAME, _SITE):
        for match in pattern.finditer(text):
            yield match.start(), match.end(), 0.8


_SITE = re.compile(r"\b(?:https?://|www\.)(?:[\w\-]{1,63}\.){1,6}[^\W\d_]{2,24}(?![\w\-])/?", re.IGNORECASE)


_HOSTNAME = re.compile(
    r"(?<![\w@.\-])(?=[\w.\-]{1,253}(?![\w.\-]))(?:[\w\-]{1,63}\.){1,6}"
    r"(?:internal|corp|intranet|lan|local|infra|priv)(?:\.[\w\-]{1,63}){0,4}(?![\w\-])"
    r"|(?<![\w@.\-])[a-z]{2,20}-\d{1,4}(?:\.[a-z0-9\-]{1,63}){2,5}(?![\w\-])",
    re.IGNORECASE,
)


def id_number(text: str) -> Iterator[Hit]:
    """Numbers that an organisation gave to a person."""
    for match in _ID_NUMBER.finditer(text):
        yield match.start(), match.end(), 0.96


_ID_NUMBER = re.compile(
    r"(?<![\w\-])(?:EMP|CUST|USR|USER|ACCT|ACC|PAT|MRN|STU|MEM|CLI|POL|CLM|BADGE)[\-_#:]{0,2}\d{4,12}(?![\w\-])"
)


def date_of_birth(text: str) -> Iterator[Hit]:
    """Dates that are said to be somebody's birth."""
    for match in _BORN.finditer(text):
        yield match.start("value"), match.end("value"), 0.96


_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_BORN = re.compile(
    r"\b(?:born(?: on)?|birth[ _\-]?da(?:te|y)|date[ _]of[ _]birth|d\.?o\.?b\.?)[\"']?"
    r"(?:\s{0,3}(?::|=|is|was|on)){0,2}\s{0,3}[\"']?"
    rf"(?P<value>\d{{1,4}}[./\-]\d{{1,2}}[./\-]\d{{1,4}}|{_DAY}(?: of)? {_MONTH},? \d{{4}}|{_MONTH} {_DAY},? \d{{4}})",
    re.IGNORECASE,
)


def phone_shape(text: str) -> Iterator[Hit]:
    """Runs that could be a telephone number. 0.75 where the grouping alone is telling, else 0.3."""
    for match in _PHONE.finditer(text):
        found = match.group()
        if 7 <= len(_digits(found)) <= 17 and not _DATE.fullmatch(found):
            telling = _TELLING_PHONE.match(found)
            if telling is None:
                yield match.start(), match.end(), 0.3
            else:
                yield match.start(), match.start() + telling.end(), 0.75


_PHONE = re.compile(
    r"(?<![A-Za-z0-9])(?<!\d[.,:/\-])(?:\+|\(\+?|\d)[\d \u00a0().\-/]{5,22}\d"
    r"(?:\s?(?:x|ext\.?)\s?\d{1,5})?(?![A-Za-z0-9]|[.,:\-/]\d)"
)
_TELLING_PHONE = re.compile(
    r"(?:\+?1[ .\-])?\(\d{3}\) ?\d{3}[ .\-]\d{4}|(?:\+?1[ .\-])?\d{3}([ .\-])\d{3}\1\d{4}(?!\d)"
)
_DATE = re.compile(
    r"(?:\d{4}[./\- ]\d{1,2}[./\- ]\d{1,2}|\d{1,2}[./\- ]\d{1,2}[./\- ]\d{4})(?: \d{1,2})?|\d{4} ?- ?\d{4}"
)


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (1 + position % 2) for position, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0 and len(set(digits)) > 1


def _take_alphanumerics(text: str, start: int, count: int) -> int | None:
    """The end of `count` letters and digits from `start`, single separators between them allowed; None if fewer."""
    position, taken, separated = start, 0, False
    while taken < count and position < len(text):
        character = text[position]
        if character.isascii() and character.isalnum():
            taken, separated = taken + 1, False
        elif character in " -\n" and not separated:
            separated = True
        else:
            return None
        position += 1
    whole = taken == count and not (position < len(text) and text[position].isalnum())
    return position if whole else None


def _mod97(text: str) -> int:
    compact = "".join(character for character in text.upper() if character.isalnum())
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97
