"""Putting back what the stand-ins stand for, in a text that comes in pieces."""

from __future__ import annotations

import re

from edge_agent.privacy.escaping import in_json
from edge_agent.privacy.nesting import Nesting
from edge_agent.privacy.surrogates.forms import Forms

_REMEMBERED = 48
"""Characters that are looked back upon: a word's beginning, and the escape before it."""

_JSON_NUMBER = re.compile(r"[1-9][0-9]{0,15}")


class Carry:
    """One channel's text; `held` is the end that could still become a stand-in, and nothing more.

    However the text is cut, the joined result is that of the whole. In a JSON string, and in one inside it, values
    are escaped as the string needs it; at least `least_depth` times. In a document that is known to be one
    (`least_depth`), a value that is no number becomes a string where its stand-in is a bare number.
    """

    def __init__(self, forms: Forms, *, least_depth: int = 0) -> None:
        self._forms = forms
        self._least_depth = least_depth
        self._nesting = Nesting()
        self._before = ""
        self.held = ""

    def push(self, text: str, *, last: bool = False) -> str:
        """What is certain now; all that is left where this was the `last`."""
        if self._forms.empty:
            return text
        begin, at = 0, len(self._before)
        text = self._before + self.held + text
        read = at

        def depth_at(place: int) -> int:
            nonlocal read
            self._nesting.feed(text[read:place])
            read = max(read, place)
            return max(self._least_depth, self._nesting.depth)

        pieces: list[str] = []
        end = len(text)
        while (found := self._forms.find(text, begin, at, depth_at, whole=last)) is not None:
            pieces.append(text[at : found.start])
            if found.unfinished:
                at = end = found.start
                break
            written = text[found.start : found.end]
            pieces.append(written if found.value is None else self._escaped(found.value, depth_at(found.start)))
            begin = at = found.end
        depth_at(end)
        pieces.append(text[at:end])
        self._before, self.held = text[max(0, end - _REMEMBERED) : end], text[end:]
        return "".join(pieces)

    def _escaped(self, value: str, depth: int) -> str:
        if self._least_depth and self._nesting.is_outside:
            return value if _JSON_NUMBER.fullmatch(value) else f'"{in_json(value)}"'
        return in_json(value, depth)
