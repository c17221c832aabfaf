"""A vault that forgets everything at the end: nothing that is measured is kept."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.privacy.mapping import MappingEntry
from edge_agent.privacy.surrogates.surrogates import TYPES
from edge_agent.privacy.vault import Style, Vault

SESSION = "evaluation"
"""What is measured is in a session of this name in a vault of its own, so that each run masks alike."""


def in_memory() -> Vault:
    """A new, empty vault."""
    return Vault(_Kept())


def with_surrogates() -> Vault:
    """A new, empty vault that gives a surrogate to every value of a type that has them."""
    return Vault(_Kept(), Style(TYPES, str.encode))


class _Kept:
    def __init__(self) -> None:
        self._entries: dict[str, list[MappingEntry]] = {}

    def load(self, session_id: str) -> Sequence[MappingEntry]:
        return tuple(self._entries.get(session_id, ()))

    def began(self, _: str) -> None:
        """Nothing is forgotten here."""

    def add(self, session_id: str, entries: Sequence[MappingEntry], _: str | None) -> None:
        self._entries.setdefault(session_id, []).extend(entries)
