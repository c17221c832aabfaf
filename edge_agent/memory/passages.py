"""A document in passages: stretches of some 150 to 200 words that a question is compared with and a model can read.

A passage is a slice of the text, so that nothing is lost or reworded: what lies between two is white space. It ends
with a section, a sentence or an item of a list where it can, and begins with the last sentence of the one before where
both are of one section.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MOST_WORDS = 190
"""Words of a passage, but for what it repeats."""

BYTES_PER_WORD = 8
"""UTF-8 bytes that count as a word at least: what is written without spaces is measured, too."""

MOST_REPEATED = 30
"""Words of the passage before that are repeated; nothing, where its last sentence is longer."""

PAGE_BREAK = "\f"

MOST_PAGES = 5_000
"""Of a text with more, the marks between them count as line ends."""

_LINE = re.compile(r"\f|[^\n\f]+")
_HEADING = re.compile(r"[ ]{0,3}(#{1,6})[ \t]+(\S.*)$")
_UNDERLINE = re.compile(r"[ ]{0,3}(=+|-{3,})[ \t]*$")
_FENCE = re.compile(r"[ ]{0,3}(?:```|~~~)")
_ITEM = re.compile(r"[ \t]*(?:[-*+\u2022|]|\d{1,3}[.)])[ \t]")
# Tried once for each run of marks: a line of nothing but dots costs what it is long, and not its square.
_SENTENCE_END = re.compile(
    r"(?<![.!?\u2026\u3002\uff01\uff1f])[.!?\u2026\u3002\uff01\uff1f]++[\"')\]\u00bb\u201d\u2019]*+"
    r"(?:\s+|(?<=[\u3002\uff01\uff1f]))"
)
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a passage lies in its text, in characters, and the headings that it stands under: "Garden > Water"."""

    start: int
    end: int
    heading: str = ""


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is kept together: a heading, a sentence, an item of a list, or a piece of a longer one."""

    start: int
    end: int
    words: int
    heading: str
    is_heading: bool = False
    begins: bool = False


def split(text: str) -> tuple[Stretch, ...]:
    """The passages of `text`, in order. Every character that is not white space is in one."""
    return tuple(_packed(_units(text)))


def _packed(units: Iterable[_Unit]) -> Iterator[Stretch]:
    held: list[_Unit] = []
    fresh = 0  # of `held`, what is not repeated
    for unit in units:
        if unit.begins and any(not each.is_heading for each in held):
            yield _stretch(held)
            held, fresh = [], 0
        elif fresh and sum(each.words for each in held) + unit.words > MOST_WORDS:
            yield _stretch(held)
            held = _repeated(held, unit)
            fresh = 0
        held.append(unit)
        fresh += 1
    if held:
        yield _stretch(held)


def _stretch(units: list[_Unit]) -> Stretch:
    return Stretch(units[0].start, units[-1].end, units[-1].heading)


def _repeated(held: list[_Unit], following: _Unit) -> list[_Unit]:
    last = held[-1]
    fits = last.words <= MOST_REPEATED and last.words + following.words <= MOST_WORDS
    return [last] if fits and not last.is_heading and len(held) > 1 else []


@dataclass(slots=True)
class _Reader:
    """Reads line by line: what it is under, and the block of lines that is not ended yet."""

    text: str
    path: list[tuple[int, str]] = field(default_factory=list)
    page: int = 0
    begins: bool = False
    is_fenced: bool = False
    block: list[tuple[int, int]] = field(default_factory=list)

    @property
    def heading(self) -> str:
        page = [f"page {self.page}"] if self.page else []
        return " > ".join([*page, *(title for _, title in self.path)])

    def line(self, start: int, end: int) -> Iterator[_Unit]:
        line = self.text[start:end]
        if _FENCE.match(line):
            self.is_fenced = not self.is_fenced
        if line.isspace():
            yield from self.ended()
        elif not self.is_fenced and (found := _HEADING.match(line)):
            yield from self.ended()
            yield self._headed(len(found[1]), found[2].rstrip(" \t#") or found[2], start, end)
        elif not self.is_fenced and len(self.block) == 1 and _UNDERLINE.match(line):
            ((first, last),) = self.block
            self.block = []
            level = 1 if "=" in line else 2
            yield self._headed(level, self.text[first:last].strip(), first, end)
        else:
            if _ITEM.match(line):
                yield from self.ended()
            self.block.append((start, end))

    def ended(self) -> Iterator[_Unit]:
        """The block's units; the next line begins another."""
        if self.block:
            start, end = self.block[0][0], self.block[-1][1]
            self.block = []
            for first, last, words in _sentences(self.text, start, end):
                yield _Unit(first, last, words, self.heading, begins=self.begins)
                self.begins = False

    def turned(self) -> Iterator[_Unit]:
        """The page's units; the next line begins another page."""
        yield from self.ended()
        self.page, self.begins = self.page + 1, True

    def _headed(self, level: int, title: str, start: int, end: int) -> _Unit:
        while self.path and self.path[-1][0] >= level:
            self.path.pop()
        self.path.append((level, title))
        self.begins = False
        return _Unit(start, end, _words(self.text[start:end]), self.heading, is_heading=True, begins=True)


def _units(text: str) -> Iterator[_Unit]:
    has_pages = 0 < text.count(PAGE_BREAK) < MOST_PAGES
    reader = _Reader(text, page=int(has_pages))
    position = 0
    for found in _LINE.finditer(text):
        # An empty line is none to the pattern.
        if text.count("\n", position, found.start()) > 1:
            yield from reader.ended()
        if found[0] != PAGE_BREAK:
            yield from reader.line(found.start(), found.end())
        elif has_pages:
            yield from reader.turned()
        position = found.end()
    yield from reader.ended()


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Start, end and words of each sentence in a block; of one that is too long for a passage, of its pieces."""
    position = start
    for found in _SENTENCE_END.finditer(text, start, end):
        yield from _pieces(text, position, found.end())
        position = found.end()
    yield from _pieces(text, position, end)


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    words = _words(text[start:end])
    if not words:
        return
    if words <= MOST_WORDS:
        yield start, end, words
        return
    first, last, held = start, start, 0
    for begin, finish in _short_words(text, start, end):
        count = _words(text[begin:finish])
        if held and held + count > MOST_WORDS:
            yield first, last, held
            first, held = begin, 0
        last, held = finish, held + count
    yield first, last, held


def _short_words(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where words are; what no language would call one word is cut into several."""
    most = MOST_WORDS * BYTES_PER_WORD // 8
    for found in _WORD.finditer(text, start, end):
        for begin in range(found.start(), found.end(), most):
            yield begin, min(found.end(), begin + most)


def _words(text: str) -> int:
    words = len(text.split())
    return max(words, len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_WORD) if words else 0
