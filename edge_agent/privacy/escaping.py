"""How a value is written where its placeholder stood, so that whoever undoes the escaping there gets the value."""

from __future__ import annotations

import json
import re
import urllib.parse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

# JSON allows the two separators in a string, JavaScript long did not; half a surrogate pair has no bytes of its own.
_NOT_PLAIN = re.compile("[\u2028\u2029\ud800-\udfff]")
_IN_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def written_for(match: regex.Match[str], value: str) -> str:
    """`value` for the place of a placeholder: in HTML or in a URL it is escaped as the placeholder is, and as often."""
    for _ in range(match["html"].count("amp;") + 1 if match["html"] else 0):
        value = value.translate(_IN_HTML)
    for _ in range(match["url"].count("25") + 1 if match["url"] else 0):
        value = urllib.parse.quote(value, safe="", errors="replace")
    return value


def in_json(value: str, depth: int = 1) -> str:
    """`value` inside a JSON string, `depth` strings deep."""
    for _ in range(depth):
        escaped = json.dumps(value, ensure_ascii=False)[1:-1]
        value = _NOT_PLAIN.sub(lambda match: f"\\u{ord(match.group()):04x}", escaped)
    return value
