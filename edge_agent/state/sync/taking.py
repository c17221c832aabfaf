"""Taking another device's event into this device's log, sealed under this device's own key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cloud_bridge.protocol.problems import Conflict
from edge_agent.state import bodies, projection, sessions
from edge_agent.state.event import Event
from edge_agent.state.log import Reader, Transaction
from edge_agent.state.mappings import MappingEntry, StoredMapping
from edge_agent.state.sync import marks
from edge_agent.state.sync.exchanged import Heard
from edge_agent.state.sync.segments import SharedEvent

Adopt = Callable[[Sequence[StoredMapping], Sequence[StoredMapping]], Sequence[MappingEntry]]
"""Which of the second entries can join the first in one session's mapping."""


def note(tx: Transaction, values: Mapping[str, str]) -> None:
    """Keep values by their names."""
    tx.db.executemany("INSERT OR REPLACE INTO sync_state VALUES (?, ?)", list(values.items()))


def is_early(tx: Reader, event: SharedEvent) -> bool:
    """Whether it continues an answer that has not come yet."""
    if event.kind != "request.accepted" or event.parent is None:
        return False
    return tx.row("SELECT 1 FROM events WHERE id = ?", event.parent) is None


def is_dead(tx: Reader, event: SharedEvent) -> bool:
    return event.kind != "session.forgotten" and event.after < projection.forgotten_at(tx.db, event.session_id)


def insert(tx: Transaction, origin: str, heard: Heard) -> None:
    """One event of another device, under this device's own key. What it forgets is noted for `sessions.erase`."""
    shared = heard.event
    known = tx.row("SELECT id FROM events WHERE (device = ? AND seq = ?) OR id = ?", origin, shared.seq, shared.id)
    if known is not None:
        if known["id"] == shared.id:
            return
        raise _restored()
    is_forgetting = shared.kind == "session.forgotten"
    epoch = shared.id if is_forgetting else shared.after
    tx.log.observe(shared.id)
    if epoch > projection.forgotten_at(tx.db, shared.session_id):
        sessions.destroy_key(tx, shared.session_id)
    named = Event(
        id=shared.id,
        device=origin,
        seq=shared.seq,
        at_ms=shared.at_ms,
        session_id=shared.session_id,
        parent=shared.parent,
        kind=shared.kind,
        meta={**shared.meta, **_marks(tx, heard)},
        key_id=None,
    )
    body = b"" if heard.messages is None else bodies.to_json(_document(shared.kind, heard))
    tx.insert(named, body, sealed=not is_forgetting)


def _document(kind: str, heard: Heard) -> dict[str, Any]:
    """The body as this device's own events have it."""
    messages = list(heard.messages or ())
    if heard.withheld:
        role = "user" if kind == "request.accepted" else "assistant"
        text = f"[kept on the device where it was said: {heard.withheld}]"
        messages = [{"role": role, "name": None, "parts": [{"type": "text", "text": text}]}]
    if kind == "request.accepted":
        return {"conversation": {"messages": messages}, "meta": {}}
    return {"message": messages[0]}


def _marks(tx: Transaction, heard: Heard) -> dict[str, str]:
    """The keyed fingerprints of the conversation up to here, under this device's key."""
    event = heard.event
    if heard.messages is None:
        return {}
    _, key = tx.session_key(event.session_id)
    document = _document(event.kind, heard)
    if event.kind == "request.accepted":
        return marks.of_request(tx, key, event.parent, document["conversation"]["messages"])
    return marks.of_answer(tx, key, event.parent, document["message"])


def adopt_mappings(tx: Transaction, heard: Sequence[Heard], adopt: Adopt) -> None:
    """Give this device the same placeholders for the same values, where it has not given them away already."""
    offered: dict[str, list[StoredMapping]] = {}
    for each in heard:
        if each.mapping and tx.event(each.event.id) is not None:
            offered.setdefault(each.event.session_id, []).extend(each.mapping)
    for session_id, entries in offered.items():
        rows = [tx.body(event) for event in tx.events(session_id, "mapping.added")]
        known = [StoredMapping(*entry) for body in rows if body for entry in bodies.from_json(body)["entries"]]
        new = [[entry.placeholder, entry.type, entry.value] for entry in adopt(known, entries)]
        if new:
            tx.append("mapping.added", session_id, bodies.to_json({"entries": new}))


def _restored() -> Conflict:
    return Conflict(
        "This home was restored from an older backup, or copied to another device, and used before it was reconciled.",
        code="sync_restored",
        hint="'edge-agent sessions export' what is new here; then move the home away, and join again with a fresh one.",
    )
