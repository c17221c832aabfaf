"""Finders of network addresses, links and the names of machines."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from edge_agent.privacy.finders.hits import Hit, holds_any

_NOBODY = frozenset({"127.0.0.1", "::1", "255.255.255.255"})


def ip_address(text: str) -> Iterator[Hit]:
    """IPv4 and IPv6 addresses, but for the loopback, unspecified and broadcast ones, which name nobody."""
    for match in _IPV4.finditer(text):
        if _names_somebody(match.group()):
            yield match.start(), match.end(), 1.0
    if not _TWO_COLONS.search(text):
        return
    for match in _IPV6.finditer(text):
        start, found = match.start(), match.group()
        if found.endswith(":") and not found.endswith("::"):
            found = found[:-1]  # the sentence's
        end = match.start() + len(found)
        while not _is_address(found) and ":" in found:  # "ip:2001:db8::1"
            label, _, found = found.partition(":")
            start += len(label) + 1
        if ":" in found and _names_somebody(found) and any(character.isdigit() for character in found):
            yield start, end, 1.0


def _is_address(found: str) -> bool:
    try:
        ipaddress.ip_address(found)
    except ValueError:
        return False
    return True


def _names_somebody(found: str) -> bool:
    return _is_address(found) and not ipaddress.ip_address(found).is_unspecified and found not in _NOBODY


_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_DOTTED = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_IPV4 = re.compile(rf"(?<![A-Za-z0-9.])(?<!\d:){_DOTTED}(?!\.?\d)(?![A-Za-z])")
_TWO_COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(
    r"(?<![A-Za-z0-9:.])(?:[A-Za-z]{0,12}:)?(?=[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{2,39}"
    rf"(?:{_DOTTED})?(?:%[A-Za-z0-9]+)?(?![A-Za-z0-9]|:[0-9A-Fa-f:])"
)


def mac_address(text: str) -> Iterator[Hit]:
    """Hardware addresses, as six pairs or three quadruples; not those of everybody or nobody."""
    for match in _MAC.finditer(text):
        digits = {character for character in match.group().lower() if character.isalnum()}
        if digits not in ({"0"}, {"f"}):
            yield match.start(), match.end(), 1.0 if match["mark"] == ":" else 0.9


_MAC = re.compile(
    r"(?<![0-9A-Za-z])(?<![0-9A-Fa-f][:\-.])(?:[0-9A-Fa-f]{2}(?P<mark>[:\-])(?:[0-9A-Fa-f]{2}(?P=mark)){4}[0-9A-Fa-f]{2}"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![0-9A-Za-z]|[:\-.][0-9A-Fa-f])"
)


def url(text: str) -> Iterator[Hit]:
    """Links to something in particular: a path, a query or a port. The mere name of a public site stays."""
    if "://" not in text:
        return
    for match in _URL.finditer(text):
        yield match.start(), match.start() + len(match.group().rstrip(".,;:!?*_")), 0.9


_URL = re.compile(r"\b(?:https?|ftp|wss?)://[^\s/<>\"'`)\]}]+(?:/|\?|:\d)[^\s<>\"'`)\]}]+", re.IGNORECASE)


def hostname(text: str) -> Iterator[Hit]:
    """Machines on somebody's own network, and whole sites."""
    lower = text.lower()
    if holds_any(lower, ("://", "www.")):
        yield from ((match.start(), match.end(), 0.8) for match in _SITE.finditer(text))
    if holds_any(lower, _INTERNAL):
        yield from ((match.start(), match.end(), 0.8) for match in _INTERNAL_NAME.finditer(text))
    if _NUMBERED_PART.search(lower):
        yield from ((match.start(), match.end(), 0.8) for match in _NUMBERED_NAME.finditer(text))


_INTERNAL = (".internal", ".corp", ".intranet", ".lan", ".local", ".infra", ".priv")
_SITE = re.compile(r"\b(?:https?://|www\.)(?:[\w\-]{1,63}\.){1,6}[^\W\d_]{2,24}(?![\w\-])/?", re.IGNORECASE)
_INTERNAL_NAME = re.compile(
    r"(?<![\w@.\-])(?=[\w.\-]{1,253}(?![\w.\-]))(?:[\w\-]{1,63}\.){1,6}"
    r"(?:internal|corp|intranet|lan|local|infra|priv)(?:\.[\w\-]{1,63}){0,4}(?![\w\-])",
    re.IGNORECASE,
)
_NUMBERED_PART = re.compile(r"-\d{1,4}\.[a-z0-9\-]{1,63}\.")
_NUMBERED_NAME = re.compile(
    r"(?<![\w@.\-])[a-z]{2,20}-\d{1,4}(?:\.[a-z0-9\-]{1,63}){2,5}(?![\w\-])",
    re.IGNORECASE,
)
