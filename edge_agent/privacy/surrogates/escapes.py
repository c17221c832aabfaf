r"""Reading the source of JSON strings, one in another: what belongs to an escape, and what stands between words.

In a string's source the n of `\n` is no letter; two strings deep that is `\\n`, while `\\n` one string deep is a
backslash and the letter n. `depth` counts the strings; 0 is plain text, where a backslash is one.
"""

from __future__ import annotations

import json
import re
from typing import Literal

After = Literal["boundary", "letter", "cut"]

_HEX = r"[0-9A-Fa-f]"
_UNIT = re.compile(rf"u({_HEX}{{4}})")
_HIGH_BEFORE = re.compile(rf"\\u(d[89ab]{_HEX}{{2}})\Z", re.IGNORECASE)
_GAP = re.compile(r"[\W_]*")
_CUT = rf"\\+(?:u{_HEX}{{0,3}})?\Z"
_JSON_GAP = re.compile(rf'((?:\\+(?:u{_HEX}{{4}}|[^u\\])|[^\w"\\]|_)*)(?:{_CUT})?')
_TAIL = 16
"""Longer than an escaped letter and what announces it."""


def word_start(text: str, start: int, depth: int) -> int | None:
    """Where a word begins that seems to begin at `start`: behind an escape; None where that is of a letter."""
    slashes = _slashes_before(text, start) if depth else 0
    if not _escapes(slashes, depth):
        return start
    if text[start] != "u":
        return start + 1
    unit = _UNIT.match(text, start)
    if unit is None:
        return None
    high = _HIGH_BEFORE.search(text[max(0, start - slashes - _TAIL) : start - slashes])
    return None if _is_letter((high[1] if high is not None else "") + "|" + unit[1]) else unit.end()


def after_word(text: str, end: int, depth: int) -> After:
    """What follows a word that ends at `end`: an escaped letter, which goes on with it, or no more of it.

    `cut`: an escape that is not whole, so that more text may tell.
    """
    slashes = end
    while depth and slashes < len(text) and text[slashes] == "\\":
        slashes += 1
    if slashes == end:
        return "boundary"
    if slashes == len(text):
        return "cut"
    if text[slashes] != "u" or not _escapes(slashes - end, depth) or (slashes - end) >> depth:
        return "boundary"  # of more backslashes than the escape needs, the first is one for itself
    unit = _UNIT.match(text, slashes)
    if unit is None:
        return "cut" if re.fullmatch(rf"u{_HEX}{{0,3}}", text[slashes:]) else "boundary"
    if re.match("(?i)d[89ab]", unit[1]) is None:
        return "letter" if _is_letter(f"|{unit[1]}") else "boundary"
    low = re.compile(rf"\\+u({_HEX}{{4}})").match(text, unit.end())
    if low is None:
        rest = text[unit.end() :]
        return "cut" if not rest or re.fullmatch(_CUT, rest) else "boundary"
    return "letter" if _is_letter(f"{unit[1]}|{low[1]}") else "boundary"


def gap_after(text: str, end: int, depth: int) -> tuple[int, str | None]:
    """Where the next word begins, and what stands between; None where that cannot be read."""
    if not depth:
        match = _GAP.match(text, end)
        place = match.end() if match is not None else end
        return place, text[end:place]
    match = _JSON_GAP.match(text, end)
    if match is None:
        return end, ""
    gap = match[1]
    for _ in range(depth):
        try:
            gap = json.loads(f'"{gap}"', strict=False)
        except ValueError:
            return match.end(), None
    return match.end(), gap


def _slashes_before(text: str, place: int) -> int:
    count = 0
    while count < place and text[place - count - 1] == "\\":
        count += 1
    return count


def _escapes(slashes: int, depth: int) -> bool:
    """Whether a run of backslashes escapes what follows it, in one of the strings."""
    for _ in range(depth):
        if slashes % 2:
            return True
        slashes //= 2
    return False


def _is_letter(units: str) -> bool:
    """Whether a UTF-16 unit, or a pair ("d83d|de00"), is a letter or digit."""
    high, _, low = units.partition("|")
    if high and "dc00" <= low.lower() <= "dfff":
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00).isalnum()
    return chr(int(low, 16)).isalnum()
