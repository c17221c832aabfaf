"""The table of a session's placeholders and values, kept in the log like everything else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from edge_agent.state import bodies
from edge_agent.state.log import Log


class MappingEntry(Protocol):
    """What is kept of a masked value."""

    @property
    def placeholder(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def value(self) -> str: ...


@dataclass(frozen=True, slots=True)
class StoredMapping:
    """A placeholder, the type of what it stands for, and the value, which stays out of `repr`."""

    placeholder: str
    type: str
    value: str = field(repr=False)


def load(log: Log, session_id: str) -> list[StoredMapping]:
    """The session's entries in the order in which they were added; none where it is unknown or forgotten."""
    with log.reading() as tx:
        stored = [tx.body(event) for event in tx.events(session_id, "mapping.added")]
    return [StoredMapping(*entry) for body in stored if body is not None for entry in bodies.from_json(body)["entries"]]


def add(log: Log, session_id: str, entries: Iterable[MappingEntry]) -> None:
    """Keep more entries, durably."""
    rows = [[entry.placeholder, entry.type, entry.value] for entry in entries]
    if rows:
        with log.transaction() as tx:
            tx.append("mapping.added", session_id, bodies.to_json({"entries": rows}))
