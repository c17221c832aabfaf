"""Finders of e-mail addresses and telephone numbers, with what the world's registries know of them. No network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from edge_agent.privacy.finders.hits import Finder, Hit, holds_any

if TYPE_CHECKING:
    import tldextract

PHONE_REGIONS = (
    "US", "GB", "DE", "FR", "ES", "IT", "NL", "BE", "AT", "CH",
    "PL", "PT", "IE", "SE", "DK", "NO", "FI", "IN", "AU", "BR",
)  # fmt: skip

PHONE_WORDS = (
    "phone", "telephone", "tel", "cell", "cellphone", "mobile", "mob", "call", "fax", "landline", "office", "whatsapp",
    "sms", "text me", "phone_number", "contact number", "phone number", "telefon", "handy", "mobil", "téléphone",
    "teléfono", "telefono", "portable",
)  # fmt: skip
"""What announces a telephone number."""


def email(text: str) -> Iterator[Hit]:
    """E-mail addresses by shape, also spelled "max (at) acme (dot) de". Whether the domain can exist is the caller's
    to check.
    """
    if holds_any(text, ("@", "%40", "&#", "&commat;", "\\u0040")):
        for match in _EMAIL.finditer(text):
            yield match.start(), match.end(), 0.7
    if _AT_WORD.search(text):
        for match in _SPELLED_EMAIL.finditer(text):
            yield match.start(), match.end(), 0.96


# The sign as it is, and as links, pages and JSON write it.
_EMAIL = re.compile(
    r"\w[\w!#$%&'*+/=?^`{|}~.\-]{0,63}(?:@|%40|&#64;|&#x40;|&commat;|\\u0040)"
    r"(?:[\w\-]{1,63}\.){1,8}[^\W\d_][\w\-]{1,62}"
)
_AT_WORD = re.compile(r"[(\[{<] ?(?:at|AT|At|ät|@) ?[)\]}>]| (?:at|AT) [\w\-]+ (?:dot|DOT) ")
_SPELLED_EMAIL = re.compile(
    r"(?<![\w.+\-])[\w+\-]{1,64}(?:(?:\.| ?[(\[{<] ?(?:dot|punkt|\.) ?[)\]}>] ?| dot )[\w+\-]{1,64}){0,4}"
    r"(?: ?[(\[{<] ?(?:at|ät|@) ?[)\]}>] ?| at (?=[\w\-]+ dot ))"
    r"[\w\-]{1,63}(?:(?:\.| ?[(\[{<] ?(?:dot|punkt|\.) ?[)\]}>] ?| dot )[\w\-]{1,63}){1,5}",
    re.IGNORECASE,
)


@cache
def public_suffixes() -> tldextract.TLDExtract:
    """What splits a host before its public suffix. Never fetches the suffix list.

    Made once: the list takes a quarter of a second to read.
    """
    import tldextract  # noqa: PLC0415 (slow, and the daemon starts without it)

    return tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), fallback_to_snapshot=True)


@cache
def email_finder() -> Finder:
    """E-mail addresses; certain where the domain ends in a public suffix."""
    suffixes = public_suffixes()

    @lru_cache(maxsize=4096)
    def has_suffix(domain: str) -> bool:
        return bool(suffixes(domain).suffix)

    def find(text: str) -> Iterator[Hit]:
        for start, end, score in email(text):
            domain = text[start:end].rpartition("@")[2]
            yield start, end, 1.0 if has_suffix(domain) else score

    return find


def phone_number(text: str) -> Iterator[Hit]:
    """Telephone numbers: with a country code, of a telling shape, or possible in one of `PHONE_REGIONS`."""
    for start, end, score in phone_shape(text):
        found = text[start:end]
        if found.lstrip("(").startswith(("+", "00")):
            whole = _international(found)
            yield start, start + whole if whole else end, 0.96 if whole else score
        elif score >= 0.5:
            yield start, end, score
        elif found.startswith(("0", "(")) and _valid_somewhere(found):
            yield start, end, 0.6
        else:
            yield start, end, 0.1  # a number, unless a word beside it calls it a telephone


def phone_shape(text: str) -> Iterator[Hit]:
    """Runs that could be a telephone number. 0.75 where the grouping alone is telling, else 0.3."""
    for match in _PHONE.finditer(text):
        found = match.group()
        # Behind a number with its country code another may stand; how far the first goes is seen later.
        if 7 <= sum(map(str.isdigit, found)) <= (40 if match["plus"] else 17) and not _DATE.fullmatch(found):
            telling = _TELLING_PHONE.match(found)
            if telling is None:
                yield match.start(), match.end(), 0.3
            else:
                yield match.start(), match.start() + telling.end(), 0.75


_PHONE = re.compile(
    r"(?:(?P<plus>(?<![A-Za-z0-9+])\(?\+)|(?<![A-Za-z0-9])(?<!\d[.,:/\-])[(\d])[\d \u00a0().\-/]{5,22}\d"
    r"(?:\s?(?:x|ext\.?)\s?\d{1,5})?(?![A-Za-z0-9])(?(plus)|(?![.,:\-/]\d))"
)
_TELLING_PHONE = re.compile(
    r"(?:\+?1[ .\-])?\(\d{3}\) ?\d{3}[ .\-]\d{4}|(?:\+?1[ .\-])?\d{3}([ .\-])\d{3}\1\d{4}(?!\d)"
)
_DATE = re.compile(
    r"(?:\d{4}[./\- ]\d{1,2}[./\- ]\d{1,2}|\d{1,2}[./\- ]\d{1,2}[./\- ]\d{4})(?: \d{1,2})?|\d{4} ?- ?\d{4}"
)


def _international(found: str) -> int:
    """How many characters of `found` are a possible number: another one may follow it. 0 if none are."""
    core = found.lstrip("(")
    prefix = len(found) - len(core) + (1 if core.startswith("+") else 2)
    end = len(found)
    while end > prefix:
        if _valid("+" + found[prefix:end], None):
            return end
        end = max(found.rfind(mark, 0, end) for mark in " -./\u00a0")
    return 0


@lru_cache(maxsize=4096)
def _valid_somewhere(number: str) -> bool:
    return any(_valid(number, region) for region in PHONE_REGIONS)


def _valid(number: str, region: str | None) -> bool:
    import phonenumbers  # noqa: PLC0415 (as above)

    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_possible_number(parsed) if region is None else phonenumbers.is_valid_number(parsed)
