"""Finders of e-mail addresses and telephone numbers, with what the world's registries know of them. No network."""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.privacy.finders import patterns
from edge_agent.privacy.finders.patterns import Finder, Hit

PHONE_REGIONS = (
    "US",
    "GB",
    "DE",
    "FR",
    "ES",
    "IT",
    "NL",
    "BE",
    "AT",
    "CH",
    "PL",
    "PT",
    "IE",
    "SE",
    "DK",
    "NO",
    "FI",
    "IN",
    "AU",
    "BR",
)

PHONE_WORDS = (
    *(
        "phone",
        "telephone",
        "tel",
        "cell",
        "cellphone",
        "mobile",
        "mob",
        "call",
        "fax",
        "landline",
        "office",
        "whatsapp",
    ),
    *("sms", "text me", "phone_number", "contact number", "phone number"),
)
"""What announces a telephone number."""


def email_finder() -> Finder:
    """E-mail addresses; certain where the domain ends in a public suffix. Never fetches the suffix list."""
    import tldextract  # noqa: PLC0415 (slow, and the daemon starts without it)

    suffixes = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), fallback_to_snapshot=True)

    def find(text: str) -> Iterator[Hit]:
        for start, end, score in patterns.email(text):
            domain = text[start:end].rpartition("@")[2]
            yield start, end, 1.0 if suffixes(domain).suffix else score

    return find


def phone_number(text: str) -> Iterator[Hit]:
    """Telephone numbers: with a country code, of a telling shape, or possible in one of `PHONE_REGIONS`."""
    for start, end, score in patterns.phone_shape(text):
        found = text[start:end]
        if found.lstrip("(").startswith(("+", "00")):
            whole = _international(found)
            yield start, start + whole if whole else end, 0.96 if whole else score
        elif score >= 0.5:
            yield start, end, score
        elif found.startswith(("0", "(")) and any(_valid(found, region) for region in PHONE_REGIONS):
            yield start, end, 0.6
        else:
            yield start, end, 0.1  # a number, unless a word beside it calls it a telephone


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


def _valid(number: str, region: str | None) -> bool:
    import phonenumbers  # noqa: PLC0415 (as above)

    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_possible_number(parsed) if region is None else phonenumbers.is_valid_number(parsed)
