"""Finders of passwords, and of strings that connect to something with one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_agent.privacy.finders.hits import Hit, holds_any


def password(text: str) -> Iterator[Hit]:
    """What is assigned or given to a password, passphrase or PIN: in prose, settings, markup and commands."""
    lower = text.lower()
    if _ABOUT_A_PASSWORD.search(lower):
        for match in _PASSWORD.finditer(text):
            group = "quoted" if match["quoted"] else "single" if match["single"] else "bare"
            yield match.start(group), match.end(group), 0.97
        for match in _PASSWORD_SAID.finditer(text):
            yield match.start("value"), match.end("value"), 0.8
        for match in _PASSWORD_TAG.finditer(text):
            yield match.start("value"), match.end("value"), 0.97
        for match in _PASSWORD_OPTION.finditer(text):
            yield match.start("value"), match.end("value"), 0.97
    if holds_any(lower, ("curl", "wget", "mysql", "http ")):
        for match in _USER_OPTION.finditer(text):
            group = "mysql" if match["mysql"] else "value"
            yield match.start(group), match.end(group), 0.97


_NAME = (
    r"(?:pass[_\- ]?(?:word|wd|phrase|code|wort)|kennwort|contraseña|mot de passe"
    r"|(?<![a-z])pwd|(?<![a-z])pass|\bpin(?:[_\- ]?code)?)"
)
_PASSWORD = re.compile(
    rf"{_NAME}\b[\"'`]?\s{{0,3}}[:=]{{1,2}}>?\s{{0,3}}"
    r"(?:\"(?P<quoted>(?:[^\"\\\n]|\\.){1,128})\"|'(?P<single>[^'\n]{1,128})'"
    r"|(?P<bare>(?!\$[{(]|\{\{)[^\s\"'`;,<>&][^\s\"'`;,&]{2,127}))",
    re.IGNORECASE,
)
_ABOUT_A_PASSWORD = re.compile(
    r"(?:pass(?:[_\- ]?(?:word|wd|phrase|code|wort))?|kennwort|contraseña|mot de passe|pwd|pin(?:[_\- ]?code)?|<secret)"
    r"[\"'`]?\s{0,3}(?:[:=>]|is\b|was\b)|[\s\"'(]--?(?:pass|pwd)"
)
_PASSWORD_SAID = re.compile(
    r"\b(?:pass(?:word|phrase|code)|pin(?: code)?)\s+(?:is|was)\s+"
    r"[\"'`]?(?P<value>(?=[^\s\"'`,;]*[\d!@#$%^&*])[^\s\"'`,;]{4,128})",
    re.IGNORECASE,
)
_PASSWORD_TAG = re.compile(r"<(?:password|passwd|pwd|pass|secret)>(?P<value>[^<\n]{3,128})</", re.IGNORECASE)
_PASSWORD_OPTION = re.compile(
    r"(?<!\S)--?(?:password|passwd|pass|pwd|passphrase)[ =][\"']?(?P<value>(?![\-<$])[^\s\"'`;]{3,128})", re.IGNORECASE
)
_USER_OPTION = re.compile(
    r"\b(?:curl|wget|http)\b[^\n]{0,400}?\s(?:-u|--user|--proxy-user|-a|--auth)[ =]?[\"']?"
    r"(?P<value>[^\s\"':]{1,64}:[^\s\"']{2,128})"
    r"|\bmysql\w*\b[^\n]{0,200}?\s-p(?P<mysql>[^\s\"'\-]{3,64})",
)


def connection_string(text: str) -> Iterator[Hit]:
    """URLs that carry a password, JDBC's, and key=value lists with a server and a password (ADO, ODBC, Azure)."""
    if "://" in text:
        yield from ((match.start(), match.end(), 1.0) for match in _WITH_PASSWORD.finditer(text))
    lower = text.lower()
    if holds_any(lower, ("jdbc:", "odbc:")):
        yield from ((match.start(), match.end(), 1.0) for match in _JDBC.finditer(text))
    if "=" in text and holds_any(lower, ("password", "pwd", "key")):
        yield from _lists(text)


_WITH_PASSWORD = re.compile(
    r"\b[A-Za-z][A-Za-z0-9+.\-]{1,30}://[^\s/:@\"'<>]{0,128}:[^\s/\"'<>@]{1,256}(?:@[^\s/\"'<>@]{1,128}){0,3}@[^\s\"'<>@]+"
)
_JDBC = re.compile(r"\b[jo]dbc:[a-z0-9]+:[^\s\"'<>]{1,512}?(?:password|pwd)=[^\s\"'<>]+", re.IGNORECASE)


def _lists(text: str) -> Iterator[Hit]:
    for match in _PAIRS.finditer(text):
        keys = {key.lower().strip() for key in _KEY.findall(match.group())}
        if keys & _SECRET_KEYS and keys & _PLACE_KEYS:
            yield match.start(), match.end(), 1.0


_PAIR = r"[A-Za-z][A-Za-z ]{1,30}=(?:\{[^}\n]{0,200}\}|[^;\n\"'<>`]{0,256})"
_PAIRS = re.compile(rf"(?<![A-Za-z]){_PAIR}(?:;\s?{_PAIR}){{1,30}};?")
_KEY = re.compile(r"(?:^|;\s?)([A-Za-z ]+)=")
_SECRET_KEYS = frozenset({"password", "pwd", "accountkey", "sharedaccesskey", "sharedsecret"})
_PLACE_KEYS = frozenset(
    {"server", "data source", "host", "address", "addr", "network address", "dsn", "driver", "endpoint", "hostname",
     "accountname", "accountendpoint", "defaultendpointsprotocol", "user id", "uid", "initial catalog", "database"}
)  # fmt: skip
