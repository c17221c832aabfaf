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


def began(log: Log, session_id: str, event_id: str | None = None) -> str | None:
    """The id of the session's key, or of the key that one of its events was sealed with; None where there is none."""
    with log.reading() as tx:
        if event_id is not None:
            event = tx.event(event_id)
            return None if event is None else event.key_id
        row = tx.key_row(session_id)
        return None if row is None else row[0]


def add(log: Log, session_id: str, entries: Iterable[MappingEntry], began: str | None = None) -> None:
    """Keep more entries, durably.

    `began`: of the function of that name, when the work on the values began. Raises Conflict `session_forgotten` where
    the session was forgotten since, though it may have begun anew: then they stay forgotten.
    """
    rows = [[entry.placeholder, entry.type, entry.value] for entry in entries]
    if rows:
        with log.transaction() as tx:
            if began is not None:
                tx.require_key(session_id, began)
            tx.append("mapping.added", session_id, bodies.to_json({"entries": rows}))
