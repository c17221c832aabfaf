"""Where in JSON a stream of characters stands: in how many strings, one in another.

A tool's arguments are a JSON document, and one of its strings may be a JSON document itself. What is put into the
inner one has to be escaped twice, or it ends the string.
"""

from __future__ import annotations

_DECODED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_BETWEEN = frozenset(" \t\r\n,:0123456789+-.eEtrufalsn")
"""What stands outside strings and brackets: white space, numbers, and true, false and null."""

_DEEPEST = 4


class Nesting:
    """Reads a document character by character. What does not go on as a JSON object or array is none, for good."""

    def __init__(self, deepest: int = _DEEPEST) -> None:
        self._deepest = deepest
        self._open: list[str] = []
        self._before = ""
        self._document: bool | None = None  # not known before the first character that is no white space
        self._string: Nesting | None = None
        self._in_string = False
        self._escape: str | None = None

    @property
    def depth(self) -> int:
        """In how many strings, one in another, the next character stands; 0 outside of strings and of JSON."""
        if not self._in_string:
            return 0
        return 1 + (self._string.depth if self._string is not None else 0)

    @property
    def is_outside(self) -> bool:
        """Whether the next character stands in a document, and in none of its strings."""
        return self._document is True and not self._in_string

    @property
    def in_escape(self) -> bool:
        r"""Whether the next character belongs to an escape that has begun, such as the n of `\n`."""
        return self._escape is not None or (self._string is not None and self._string.in_escape)

    def feed(self, text: str) -> None:
        """Go on behind `text`."""
        if self._document is False:
            return
        for character in text:
            if self._in_string:
                self._inside(character)
            else:
                self._outside(character)  # which reads nothing where there is no document

    def _outside(self, character: str) -> None:
        if character.isspace() or self._document is False:
            return
        if self._document is None:
            self._document = character in "{["
            if not self._document:
                return
        fits = '"}' if self._before == "{" else ""
        if (fits and character not in fits) or (self._before and not self._open):
            self._document = False
        elif character in "{[":
            self._open.append(character)
        elif character in "}]":
            if not self._open or self._open.pop() + character not in {"{}", "[]"}:
                self._document = False
        elif character == '"':
            self._in_string = True
            self._string = Nesting(self._deepest - 1) if self._deepest > 1 else None
        elif character not in _BETWEEN:
            self._document = False
        self._before = character

    def _inside(self, character: str) -> None:
        if self._escape is not None:
            self._escaped(character)
        elif character == "\\":
            self._escape = ""
        elif character == '"':
            self._in_string, self._string = False, None
        elif character < " ":
            self._document, self._in_string, self._string = False, False, None
        elif self._string is not None:
            self._string.feed(character)

    def _escaped(self, character: str) -> None:
        """An escape's next character: one that is complete is a character of the string."""
        escape = (self._escape or "") + character
        if escape[0] == "u" and len(escape) < 5 and character in "u0123456789abcdefABCDEF":
            self._escape = escape
            return
        self._escape = None
        if self._string is None:
            return
        if escape[0] != "u":
            self._string.feed(_DECODED.get(escape, escape))
        else:
            self._string.feed(_code_unit(escape[1:]))


def _code_unit(digits: str) -> str:
    try:
        return chr(int(digits, 16))
    except ValueError:  # a broken escape, as models write them
        return "\ufffd"
