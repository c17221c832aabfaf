"""What this device has of its group's events, what it tells of its own, and how it takes in what others tell.

A replica is a set of events, one dense row of numbers for each origin; merging two is a union. Order is that of the
ids, which carry a hybrid logical clock, so it is the same everywhere whatever was delivered first, or twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloud_bridge.protocol.envelope import conversation_to_json
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import Conflict
from cloud_bridge.protocol.sync import KeyObject, Segment
from edge_agent.state import bodies, projection, sessions
from edge_agent.state.event import COLUMNS, Event, canonical
from edge_agent.state.history import Message
from edge_agent.state.log import DOCUMENTS, Log, Reader, Transaction
from edge_agent.state.mappings import MappingEntry, StoredMapping
from edge_agent.state.sync import marks
from edge_agent.state.sync.keys import GroupKeys
from edge_agent.state.sync.segments import SHARED_KINDS, SHARED_META, SharedEvent, damaged, pack, unpack

MAX_EVENTS = 256
MAX_TEXT_BYTES = 512 * 1024
"""Bounds of one stretch: what is held in memory at a time."""

MAX_BODY_BYTES = 2 * 1024 * 1024
"""Of one event: a segment has room for it beside a full stretch."""

MAX_GONE = 3000
"""Subjects told at once."""

_TOLD_GONE = "told_gone"

Adopt = Callable[[Sequence[StoredMapping], Sequence[StoredMapping]], Sequence[MappingEntry]]
"""Which of the second entries can join the first in one session's mapping."""


@dataclass(frozen=True, slots=True)
class Said:
    """An event to be told, with its body in the clear: to be masked before it goes anywhere.

    `escalation`: the masked envelope that the same request was queued or sent in, where it was.
    """

    event: Event
    document: Mapping[str, Any] | None = field(repr=False)
    escalation: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """The body of an event as the group may hear it: masked, with what some of its placeholders stand for.

    `withheld`: why there is none; the others are told that there was something.
    """

    masked: Masked | None
    mapping: Sequence[StoredMapping] = ()
    withheld: str = ""

    @property
    def size(self) -> int:
        """Bytes before anything is sealed."""
        return len(bodies.pack(bodies.to_json(self.to_json())))

    def to_json(self) -> dict[str, Any]:
        """What is sealed."""
        messages = [] if self.masked is None else conversation_to_json(self.masked.conversation)["messages"]
        mapping = [[entry.placeholder, entry.type, entry.value] for entry in self.mapping]
        return {"messages": messages, "mapping": mapping, "withheld": self.withheld}


@dataclass(frozen=True, slots=True)
class Stretch:
    """The shared events of `origin` numbered from `after` + 1 up to `through`."""

    origin: str
    after: int
    through: int
    events: Sequence[Said]


@dataclass(frozen=True, slots=True)
class Heard:
    """An event of another device: its messages, None where it has none, and what their placeholders stand for.

    `withheld`: why the other device keeps the messages to itself.
    """

    event: SharedEvent
    messages: Sequence[Message] | None = field(repr=False)
    mapping: Sequence[StoredMapping] = ()
    withheld: str = ""


class Replica:
    """The group's side of one home's log. Blocking and thread-safe, as the log is."""

    def __init__(self, log: Log, adopt: Adopt) -> None:
        self._log = log
        self._adopt = adopt
        self._to_erase: list[tuple[str, str | None]] = []

    def have(self) -> dict[str, int]:
        """Up to which number this device has each origin's events, its own among them."""
        with self._log.reading() as tx:
            return _have(tx)

    def stretch(self, origin: str, after: int) -> Stretch | None:
        """The next bounded stretch of an origin's events beyond `after`; None where there is nothing beyond it."""
        with self._log.reading() as tx:
            newest = _have(tx).get(origin, 0)
            if newest <= after:
                return None
            said: list[Said] = []
            size = 0
            for event in _shared(tx, origin, after):
                found = _said(tx, event)
                if found is None:
                    continue  # forgotten since
                size += 0 if found.document is None else len(bodies.to_json(found.document))
                if said and size > MAX_TEXT_BYTES:
                    return Stretch(origin, after, event.seq - 1, said)
                said.append(found)
                if len(said) == MAX_EVENTS:
                    return Stretch(origin, after, event.seq, said)
            return Stretch(origin, after, newest, said)

    def seal(self, group: GroupKeys, stretch: Stretch, told: Mapping[str, Told]) -> tuple[Segment, list[KeyObject]]:
        """A stretch for the bridge, and the share keys that open it. `told`: the bodies by their events' ids."""
        events, objects, keys = [], dict[str, KeyObject](), dict[str, bytes]()
        with self._log.reading() as tx:
            for said in stretch.events:
                event = said.event
                named = None
                if said.document is not None:
                    row = tx.key_row(event.session_id)
                    if row is None or row[0] != event.key_id:
                        continue  # forgotten meanwhile
                    named = row[0]
                    if named not in keys:
                        key = self._log.unwrapped(named, event.session_id, row[1])
                        keys[named] = key.share_key
                        subject = group.subject(event.session_id, str(event.meta.get("after", "")))
                        objects[named] = KeyObject(named, subject, *group.seal_key(named, subject, key.share_key))
                meta = {name: value for name, value in event.meta.items() if name in SHARED_META}
                events.append(
                    SharedEvent(
                        *(event.id, event.seq, event.at_ms, event.session_id, event.parent, event.kind, meta, named),
                        None if said.document is None else told[event.id].to_json(),
                    )
                )
        header = _header(group.id, stretch.origin, stretch.after, stretch.through, tuple(sorted(keys)))
        epoch, sealed = group.seal_segment(header, pack(events, keys))
        segment = Segment(stretch.origin, stretch.after, stretch.through, epoch, tuple(sorted(keys)), sealed)
        return segment, list(objects.values())

    def open(self, group: GroupKeys, segment: Segment, keys: Mapping[str, KeyObject]) -> list[Heard]:
        """The events of a segment that this device lacks and that were not forgotten, bodies still masked.

        Raises Broken "sync_damaged", Unavailable "sync_key_missing"; then nothing of it is used.
        """
        header = _header(group.id, segment.origin, segment.after, segment.through, segment.keys)
        payload = group.open_segment(segment.epoch, header, segment.sealed)

        def share_key(name: str) -> bytes | None:
            found = keys.get(name)  # one that the bridge has not any more was forgotten
            return None if found is None else group.open_key(name, found.subject, found.epoch, found.sealed)

        events = unpack(payload, share_key)
        with self._log.reading() as tx:
            have = _have(tx).get(segment.origin, 0)
            return [_heard(event) for event in events if event.seq > have and not _is_dead(tx, event)]

    def take(self, origin: str, after: int, through: int, heard: Sequence[Heard]) -> bool:
        """Take in an origin's events up to `through`, restored, all or none. False where they do not continue.

        Raises Conflict "sync_restored" where this device numbered other events the same.
        """
        with self._log.transaction() as tx:
            have = _have(tx).get(origin, 0)
            if not after <= have < through:
                return False
            for each in heard:
                if have < each.event.seq <= through:
                    self._to_erase += _insert(tx, origin, each)
            _adopt_mappings(tx, heard, self._adopt)
            tx.db.execute("INSERT OR REPLACE INTO replicas VALUES (?, ?)", (origin, through))
        self.erase()
        return True

    def erase(self) -> None:
        """Remove what is left of the keys that `take` destroyed; what cannot be removed now is tried again next time.

        Raises Unavailable `traces_left`, as forgetting a session here does.
        """
        while self._to_erase:
            sessions.erase(self._log, *self._to_erase[-1])
            self._to_erase.pop()

    def gone(self, group: GroupKeys) -> tuple[int, list[str]]:
        """Subjects of what was forgotten since `told_gone`, and how far that goes."""
        with self._log.reading() as tx:
            told = tx.row("SELECT value FROM sync_state WHERE name = ?", _TOLD_GONE)
            rows = list(
                tx.rows(
                    "SELECT rowid, id, session_id FROM events INDEXED BY events_forgotten"
                    " WHERE kind = 'session.forgotten' AND rowid > ? ORDER BY rowid LIMIT 1000",
                    0 if told is None else int(told["value"]),
                )
            )
            subjects: list[str] = []
            through = 0
            for row in rows:
                earlier = tx.rows(
                    "SELECT id FROM events WHERE session_id = ? AND kind = 'session.forgotten' AND id < ?"
                    " ORDER BY id DESC LIMIT ?",
                    *(row["session_id"], row["id"], MAX_GONE // 2),
                )
                epochs = ["", *(found["id"] for found in earlier)]
                if len(subjects) + len(epochs) > MAX_GONE:
                    break
                subjects += [group.subject(row["session_id"], epoch) for epoch in epochs]
                through = row["rowid"]
            return through, subjects

    def told_gone(self, through: int) -> None:
        """The bridge has heard what `gone` gave."""
        self.note({_TOLD_GONE: str(through)})

    def note(self, values: Mapping[str, str]) -> None:
        """Keep by their names what `edge-agent sync status` tells, and what need not be done twice."""
        with self._log.transaction() as tx:
            tx.db.executemany("INSERT OR REPLACE INTO sync_state VALUES (?, ?)", list(values.items()))


def _have(tx: Reader) -> dict[str, int]:
    found = {str(row["device"]): int(row["through"]) for row in tx.rows("SELECT * FROM replicas")}
    own = tx.row("SELECT coalesce(max(seq), 0) AS newest FROM events WHERE device = ?", tx.log.device)
    found[tx.log.device] = max(found.get(tx.log.device, 0), 0 if own is None else int(own["newest"]))
    return found


def _shared(tx: Reader, origin: str, after: int) -> Iterable[Event]:
    kinds = ", ".join("?" * len(SHARED_KINDS))
    sql = f"SELECT {COLUMNS} FROM events WHERE device = ? AND seq > ? AND kind IN ({kinds}) ORDER BY seq"  # noqa: S608
    for row in tx.db.execute(sql, (origin, after, *SHARED_KINDS)):
        yield Event.of_row(row)


def _said(tx: Reader, event: Event) -> Said | None:
    if event.session_id.startswith(DOCUMENTS):
        return None  # this device's own
    if event.kind == "session.forgotten":
        return Said(event, None)
    body = tx.body(event)
    if body is None:
        return None
    if not body:
        return Said(event, None)
    return Said(event, bodies.from_json(body), _escalation(tx, event))


def _escalation(tx: Reader, event: Event) -> bytes | None:
    """The envelope of a request's job. It is queued next in its session; where it was not, it is not looked for."""
    if event.kind != "request.accepted":
        return None
    row = tx.row(
        "SELECT id, request_id FROM jobs WHERE session_id = ? AND id > ? ORDER BY id LIMIT 1",
        *(event.session_id, event.id),
    )
    job = None if row is None or row["request_id"] != event.id else tx.event(row["id"])
    return None if job is None else tx.body(job)


def _header(group_id: str, origin: str, after: int, through: int, keys: tuple[str, ...]) -> bytes:
    return canonical([group_id, origin, after, through, list(keys)]).encode()


def _heard(event: SharedEvent) -> Heard:
    if event.document is None:
        return Heard(event, None)
    try:
        mapping = [StoredMapping(*(str(part) for part in entry)) for entry in event.document["mapping"]]
        return Heard(event, list(event.document["messages"]), mapping, str(event.document["withheld"]))
    except (TypeError, KeyError) as error:
        raise damaged() from error


def _is_dead(tx: Reader, event: SharedEvent) -> bool:
    return event.kind != "session.forgotten" and event.after < projection.forgotten_at(tx.db, event.session_id)


def _insert(tx: Transaction, origin: str, heard: Heard) -> list[tuple[str, str | None]]:
    """One event of another device, sealed under this device's own key. Returns the sessions that it forgot."""
    shared = heard.event
    if _is_dead(tx, shared):
        return []
    known = tx.row("SELECT id FROM events WHERE (device = ? AND seq = ?) OR id = ?", origin, shared.seq, shared.id)
    if known is not None:
        if known["id"] == shared.id:
            return []
        raise _restored()
    is_forgetting = shared.kind == "session.forgotten"
    epoch = shared.id if is_forgetting else shared.after
    erased: list[tuple[str, str | None]] = []
    if epoch > projection.forgotten_at(tx.db, shared.session_id):
        erased.append((shared.session_id, sessions.destroy_key(tx, shared.session_id)))
    tx.log.observe(shared.id)
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
    return erased


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


def _adopt_mappings(tx: Transaction, heard: Sequence[Heard], adopt: Adopt) -> None:
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
        "This home was restored from a backup that is older than what it had shared, and was used before it was"
        " reconciled.",
        code="sync_restored",
        hint="Run 'edge-agent sync leave', export what is new here, and join again with a fresh EDGE_AGENT_HOME.",
    )
