r"""What a placeholder looks like, as we write it and as models write it back.

We write `<PERSON_1>`. Back come `< Person_1 >`, `<PERSON\_1>`, `\<PERSON\_1\>`, `&lt;PERSON_1&gt;`,
`<PERSON 1>`, `<PERSON_1's>`, `[PERSON_1]`, and in JSON `\u003cPERSON_1\u003e`: the same type and number, so never
a guess between two.

The pattern both restores answers and finds what the user wrote that looks like a placeholder. So whatever
would be restored by mistake has been escaped on the way out, and masking then restoring gives back every text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from edge_agent.privacy import kinds

if TYPE_CHECKING:
    import regex

LONGEST = 160
"""No written form of a placeholder is longer, in characters."""


class Grammar(NamedTuple):
    """The written forms in plain text, and those inside a JSON document."""

    text: regex.Pattern[str]
    json: regex.Pattern[str]


def placeholder(entity: str, number: int) -> str:
    """As we write it."""
    return f"<{entity}_{number}>"


def canonical(match: regex.Match[str]) -> str:
    """The placeholder that a match of a grammar stands for."""
    words = re.split(r"[^A-Za-z]+", match["type"])
    return placeholder("_".join(words).upper(), int(match["number"]))


def grammar(types: Iterable[str] = ()) -> Grammar:
    """The forms for our own types and `types`."""
    return _grammar(frozenset(types) | kinds.DEFAULT_TYPES | {kinds.LITERAL})


@lru_cache(maxsize=64)
def _grammar(types: frozenset[str]) -> Grammar:
    return Grammar(_pattern(types, r"\\"), _pattern(types, r"\\\\"))


def _pattern(types: frozenset[str], backslash: str) -> regex.Pattern[str]:
    import regex  # noqa: PLC0415 (slow, and the daemon starts without it)

    separator = rf"(?:(?:{backslash})?[_\-]|[ ])"
    space = r"[ \t\u00a0]{0,2}"
    names = "|".join(separator.join(name.split("_")) for name in sorted(types, key=lambda name: (-len(name), name)))
    inside = rf"{space}(?P<type>{names}){separator}(?P<number>[1-9][0-9]{{0,6}})(?P<possessive>['\u2019]s)?{space}"
    # "[Person 1]" is how people write a template: in square brackets only the joined form is ours.
    joined = inside.replace(separator, rf"(?:{backslash})?_")
    forms = [("<", ">"), (rf"{backslash}<", rf"{backslash}>"), (r"&(?:lt|\#60|\#x3c);", r"&(?:gt|\#62|\#x3e);")]
    if backslash != r"\\":
        forms.append((r"\\u003c", r"\\u003e"))
    # One alternative per kind of bracket: opened one way, it must be closed the same way.
    alternatives = "|".join(f"{opening}{inside}{closing}" for opening, closing in forms)
    alternatives += rf"|(?:{backslash})?\[{joined}(?:{backslash})?\]"
    return regex.compile(f"(?|{alternatives})", regex.IGNORECASE | regex.ASCII)
