r"""Where the stand-ins of a session are written in a text.

A form is a row of words (runs of letters and digits) with what stands between them: `thornholt`, `7 | thornholt`,
`+1 | 212 - 555 - 0142`. It is found as whole words, in any case, with any white space for a space; the longest form
wins. In the source of a JSON string an escape such as `\n` is white space, not the letter n.

The forms are a trie of alternate words and gaps, so that a text is read once however many forms there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edge_agent.privacy.surrogates.escapes import after_word, gap_after, word_start

LONGEST_GAP = 8
"""Characters between two words of one form, at most."""

_FIRST_WORD = re.compile(r"\+?[^\W_]+|\+\Z")
_WORD = re.compile(r"[^\W_]+")


@dataclass(slots=True)
class _Node:
    """A place in the trie. `beginnings` are those of its children's keys, for a text that may go on."""

    children: dict[str, _Node] = field(default_factory=dict)
    beginnings: set[str] = field(default_factory=set)
    stands_for: dict[str, str] = field(default_factory=dict, repr=False)
    """How the form was written, to what it stands for; the first one also for other spellings."""
    spellings: dict[str, str] = field(default_factory=dict, repr=False)
    """What this may mean as well, where nothing stands above."""

    def child(self, key: str) -> _Node:
        self.beginnings.update(key[:end] for end in range(len(key) + 1))
        return self.children.setdefault(key, _Node())


@dataclass(frozen=True, slots=True)
class Found:
    """A form at `start` to `end`, which stands for `value`.

    `unfinished`: it may become one when more text comes. Neither: it may mean two values, and stays as it is.
    """

    start: int
    end: int
    value: str | None = field(default=None, repr=False)
    unfinished: bool = False


class Forms:
    """The written forms of a session's stand-ins."""

    def __init__(self) -> None:
        self._root = _Node()
        self.empty = True

    def add(self, written: str, value: str) -> None:
        """`written` stands for `value`. Raises ValueError where it stands for something else already."""
        if self._node(written).stands_for.setdefault(written, value) != value:
            raise ValueError("one stand-in for two values")

    def add_spelling(self, written: str, value: str) -> None:
        """`written` is how a model may write what stands for `value`; left as it is where it could be another's."""
        self._node(written).spellings[value] = written

    def meant(self, written: str) -> str | None:
        """What `written`, in this or another case and spacing, stands for; None where it is no form."""
        found = next(self.all(written), None)
        if found is None or (found.start, found.end) != (0, len(written)):
            return None
        return written if found.value is None else found.value

    def all(self, text: str) -> Iterator[Found]:
        """Every form in a plain text."""
        at = 0
        while (found := self.find(text, at, at, lambda _: 0, whole=True)) is not None:
            yield found
            at = found.end

    def find(self, text: str, begin: int, at: int, depth_at: Callable[[int], int], *, whole: bool) -> Found | None:
        """The first form at `at` or later in `text`, which is read from `begin`, a little before.

        `depth_at` says in how many JSON strings a place of the text stands, and is asked of each place once, in order.
        `whole`: no more text comes.
        """
        if self.empty:
            return None
        for match in _FIRST_WORD.finditer(text, begin):
            start, end = match.span()
            start += start < at and text[start] == "+"  # the sign was given out already
            escaped = start > 0 and text[start - 1] == "\\"
            if end <= at or not (escaped or (start >= at and self._may_begin(text[start:end], end, text, whole=whole))):
                continue
            depth = depth_at(start)
            word = word_start(text, start, depth) if escaped else start
            for place in (word, word + 1) if word is not None and text[start] == "+" else (word,):
                if place is not None and at <= place < end:
                    found = self._at(text, place, end, depth, whole=whole)
                    if found is not None:
                        return found
        return None

    def _may_begin(self, word: str, end: int, text: str, *, whole: bool) -> bool:
        key = word.lower()
        if key in self._root.children or key[0] == "+":
            return True
        return not whole and end == len(text) and key in self._root.beginnings

    def _at(self, text: str, start: int, end: int, depth: int, *, whole: bool) -> Found | None:
        """The longest form whose first word is at `start` to `end`."""
        node, word, best = self._root, start, None
        while True:
            key = text[word:end].lower()
            follows = after_word(text, end, depth)
            if (end == len(text) or follows == "cut") and not whole and key in node.beginnings:
                return Found(start, end, unfinished=True)
            after = node.children.get(key)
            if after is None or follows == "letter":
                return best
            if after.stands_for or after.spellings:
                best = Found(start, end, _stood_for(text[start:end], after))
            word, gap = gap_after(text, end, depth)
            if gap is None or len(gap) > LONGEST_GAP:
                return best
            gap = re.sub(r"\s+", " ", gap)
            if word == len(text) and not whole and gap in after.beginnings:
                return Found(start, word, unfinished=True)
            following, match = after.children.get(gap), _WORD.match(text, word)
            if following is None or match is None:
                return best
            node, end = following, match.end()

    def _node(self, written: str) -> _Node:
        self.empty = False
        node, end = self._root, 0
        match = _FIRST_WORD.search(written)
        while match is not None:
            if end:
                node = node.child(re.sub(r"\s+", " ", written[end : match.start()]))
            node, end = node.child(match.group().lower()), match.end()
            match = _WORD.search(written, end)
        return node


def _stood_for(written: str, node: _Node) -> str | None:
    """The value; in capitals, or in small letters, where its stand-in was written so and not given out so.

    None where it could be one of several.
    """
    exact = node.stands_for.get(written)
    if exact is not None:
        return exact
    if not node.stands_for and len(node.spellings) > 1:
        return None
    value = next(iter(node.stands_for.values() or node.spellings))
    if len(written) > 1 and written.isupper():
        return value.upper()
    return value.lower() if written.islower() else value
