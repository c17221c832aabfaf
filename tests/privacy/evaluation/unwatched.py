"""For a measurement that nobody watches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def unwatched(items: Sequence[T], what: str) -> Iterable[T]:
    """Shows nothing."""
    return items
