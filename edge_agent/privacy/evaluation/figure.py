"""One measured figure, beside what it is compared with and what it should reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeVar

Unit = Literal["share", "ratio", "count", "s", "ms"]
T = TypeVar("T")


class Watch(Protocol):
    """Passes the items on, and shows how far through them one is."""

    def __call__(self, items: Sequence[T], what: str, /) -> Iterable[T]:
        """The same items, in order; `what` names the step."""


@dataclass(frozen=True, slots=True)
class Figure:
    """`ours` beside `other`, which is `other_is`; both in `unit`.

    `target` is what `ours` should reach: at least that, or, with `at_most`, at most.
    """

    data: str
    what: str
    ours: float
    other: float | None = None
    other_is: str = ""
    target: float | None = None
    at_most: bool = False
    unit: Unit = "share"

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        return self.ours <= self.target if self.at_most else self.ours >= self.target

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "reached": self.reached}

    def cells(self) -> tuple[str, str, str, str, str, str]:
        """For a table: data, what, ours, the other with its name, the target, whether it is reached."""
        other = "" if self.other is None else f"{self._shown(self.other)} {self.other_is}"
        target = (
            "" if self.target is None else f"{'at most' if self.at_most else 'at least'} {self._shown(self.target)}"
        )
        return self.data, self.what, self._shown(self.ours), other, target, _REACHED[self.reached]

    def _shown(self, value: float) -> str:
        if self.unit == "share":
            return f"{value:.3f}"
        if self.unit == "count":
            return f"{value:.0f}"
        if self.unit == "ratio":
            return f"{value:.1f}" if value >= 1 else f"{value:.3f}"
        return f"{value:.3g} {self.unit}"


_REACHED = {True: "yes", False: "no", None: ""}


def share(part: int, whole: int) -> float:
    """`part` of `whole`; 0 where there is nothing."""
    return part / whole if whole else 0.0
