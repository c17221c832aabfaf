"""One pass over a text for every kind of identifier.

A candidate is a run of groups of letters and digits with single separators between them. How long the groups
are says which identifiers it may be, so most candidates cost one look into a table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from edge_agent.privacy.finders.hits import Hit, announced

Layout = tuple[int, ...]
"""The lengths of a number's groups."""

MOST_GROUPS = 7

FAINT = 0.15
"""Below this score a number says so little that it is not reported at all."""


@dataclass(frozen=True, slots=True)
class Identifier:
    """A kind of number: its type, how it is grouped, its shape without separators, its check.

    `layouts`: spellings as the groups' lengths, "11 6-5" for eleven digits in one or as six and five.
    `alone` and `spelled`: the score where no word announces it, written in one and in groups.
    `checked`: whether `valid` proves anything; then an announced number is certain.
    """

    type: str
    layouts: str
    shape: re.Pattern[str]
    valid: Callable[[str], bool]
    words: tuple[str, ...]
    alone: float = 0.2
    spelled: float = 0.3
    checked: bool = True

    def score(self, text: str, start: int, end: int, *, groups: int) -> float:
        """How certain this number is at `start` to `end` of `text`, where it stands in so many groups."""
        if announced(text, start, end, self.words):
            return 1.0 if self.checked else 0.7
        return self.alone if groups == 1 else self.spelled


Table = Mapping[Layout, tuple[Identifier, ...]]


def table(identifiers: Iterable[Identifier]) -> Table:
    """The identifiers by each of their layouts."""
    by_layout: dict[Layout, list[Identifier]] = {}
    for identifier in identifiers:
        for layout in identifier.layouts.split():
            by_layout.setdefault(tuple(map(int, layout.split("-"))), []).append(identifier)
    return {layout: tuple(kinds) for layout, kinds in by_layout.items()}


def find(text: str, known: Table) -> Iterator[tuple[str, Hit]]:
    """Each identifier in `text` with its type, the faint left out. Several types may claim the same characters."""
    for candidate in _CANDIDATE.finditer(text):
        start = _with_letters_before(text, candidate.start())
        groups = [match.span() for match in _GROUP.finditer(text, start, candidate.end())]
        for first in range(len(groups)):
            yield from _from(text, groups[first : first + MOST_GROUPS], known)


# A digit, and what may belong to its number: separators only where another group with a digit, or one or two
# capitals, follow.
_CANDIDATE = re.compile(
    r"(?<![A-Za-z0-9])\d(?:[0-9A-Za-z]|[ ./\-+](?=[A-Z]{0,4}\d|[A-Z]{1,2}(?![A-Za-z])))+"
    r"|(?<=[A-Z])\d(?:[0-9A-Za-z]|[ ./\-+](?=[A-Z]{0,4}\d|[A-Z]{1,2}(?![A-Za-z])))+"
)
_GROUP = re.compile(r"[0-9A-Za-z]+")
_LETTERS = re.compile(r"(?<![A-Za-z0-9])[A-Z]{1,8}[ ./\-]?$")


def _with_letters_before(text: str, start: int) -> int:
    letters = _LETTERS.search(text, max(0, start - 10), start)
    return letters.start() if letters else start


def _from(text: str, groups: list[tuple[int, int]], known: Table) -> Iterator[tuple[str, Hit]]:
    start = groups[0][0]
    compact = ""
    layout: Layout = ()
    for group_start, group_end in groups:
        compact += text[group_start:group_end].upper()
        layout += (group_end - group_start,)
        for identifier in known.get(layout, ()):
            if identifier.shape.fullmatch(compact) and identifier.valid(compact):
                score = identifier.score(text, start, group_end, groups=len(layout))
                if score >= FAINT:
                    yield identifier.type, (start, group_end, score)


def digits(count: int) -> re.Pattern[str]:
    """The shape of a number of so many digits."""
    return re.compile(rf"(?!(\d)\1*$)\d{{{count}}}", re.ASCII)


def shape(pattern: str) -> re.Pattern[str]:
    """A shape: the whole compact number, in capitals."""
    return re.compile(pattern, re.ASCII)


def by_weights(weights: Iterable[int], modulus: int = 11, *, then: int | None = None) -> Callable[[str], bool]:
    """A check whose last digit is the weighted sum modulo `modulus`, and again modulo `then`."""
    fixed = tuple(weights)

    def valid(number: str) -> bool:
        rest = sum(int(digit) * weight for digit, weight in zip(number, fixed, strict=False)) % modulus
        return (rest % then if then else rest) == int(number[-1])

    return valid


def to_zero(weights: Iterable[int], modulus: int = 11) -> Callable[[str], bool]:
    """A check whose weighted sum, the check digit included, is zero modulo `modulus`."""
    fixed = tuple(weights)
    return lambda number: sum(int(d) * w for d, w in zip(number, fixed, strict=True)) % modulus == 0


def is_date(day: str, month: str) -> bool:
    """Whether some year has this day."""
    return (
        1 <= int(month) <= 12
        and 1 <= int(day) <= (29, 30, 31)[(int(month) != 2) + (int(month) not in {2, 4, 6, 9, 11})]
    )
