"""Finders of secrets: keys, tokens, passwords. Pure functions from a text to (start, end, score)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_agent.privacy.finders.patterns import Hit


def api_key(text: str) -> Iterator[Hit]:
    """Keys and tokens: of a known issuer's prefix, as a bearer or JSON web token, or assigned to a telling name."""
    for match in _KNOWN_KEY.finditer(text):
        yield match.start(), match.end(), 1.0
    for pattern in (_BEARER, _ASSIGNED_KEY):
        for match in pattern.finditer(text):
            yield match.start("value"), match.end("value"), 0.97


_KNOWN_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-(?:[a-z]+-){0,3}[A-Za-z0-9_\-]{16,}|[srp]k_(?:live|test)_[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9]{16,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{20,}|gl(?:pat|dt|rt)-[\w\-]{16,}"
    r"|xox[abeoprs]-[A-Za-z0-9\-]{10,}|AIza[0-9A-Za-z_\-]{30,}|ya29\.[\w\-]{16,}|hf_[A-Za-z0-9]{16,}|npm_[A-Za-z0-9]{30,}"
    r"|pypi-[\w\-]{16,}|SG\.[\w\-]{16,}\.[\w\-]{16,}|dop_v1_[a-f0-9]{32,}|key-[a-f0-9]{32}"
    r"|eyJ[\w\-]{8,}\.[\w\-]{4,}\.[\w\-]*)"
)
_BEARER = re.compile(r"\b(?:bearer|basic)[ \t]+(?P<value>[\w.~+/\-]{16,}=*)", re.IGNORECASE)
_ASSIGNED_KEY = re.compile(
    r"(?:api|access|secret|auth|private|signing|encryption|session|refresh|bearer|client)[_\- ]?(?:key|token|secret)"
    r"(?:[_\- ]?id)?[\"'`]?\s{0,3}(?:[:=]|\bis\b)+>?\s{0,3}[\"'`]?(?P<value>(?=[^\s\"'`,;]*\d)[^\s\"'`,;<>]{8,})",
    re.IGNORECASE,
)


def password(text: str) -> Iterator[Hit]:
    """What is assigned to a password, passphrase or PIN."""
    for match in _PASSWORD.finditer(text):
        group = "quoted" if match["quoted"] else "bare"
        yield match.start(group), match.end(group), 0.97
    for match in _PASSWORD_SAID.finditer(text):
        yield match.start("value"), match.end("value"), 0.8


_PASSWORD = re.compile(
    r"(?:pass[_\- ]?(?:word|wd|phrase|code)|\bpwd|\bpin(?:[_\- ]?code)?)\b[\"'`]?\s{0,3}[:=]{1,2}>?\s{0,3}"
    r"(?:\"(?P<quoted>[^\"\n]{1,128})\"|(?P<bare>[^\s\"'`;,<>][^\s\"'`;,]{2,127}))",
    re.IGNORECASE,
)
_PASSWORD_SAID = re.compile(
    r"\b(?:pass(?:word|phrase|code)|pin(?: code)?)\s+(?:is|was)\s+"
    r"[\"'`]?(?P<value>(?=[^\s\"'`,;]*[\d!@#$%^&*])[^\s\"'`,;]{4,128})",
    re.IGNORECASE,
)


def connection_string(text: str) -> Iterator[Hit]:
    """URLs that carry a password, and storage connection strings."""
    for match in _CONNECTION.finditer(text):
        yield match.start(), match.end(), 1.0


_CONNECTION = re.compile(
    r"\b[A-Za-z][A-Za-z0-9+.\-]{1,30}://[^\s/:@\"'<>]{0,128}:[^\s/@\"'<>]{1,256}@[^\s\"'<>]+"
    r"|\bDefaultEndpointsProtocol=[^\s\"'<>]+"
)


def private_key(text: str) -> Iterator[Hit]:
    """Armoured private keys, whole, also where the end is missing. Run over a whole text: they are long."""
    for match in _PRIVATE_KEY.finditer(text):
        yield match.start(), match.end(), 1.0


_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----END )[\s\S])*(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
)
