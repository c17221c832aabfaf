"""What this device has of its group's events, what it tells of its own, and how it takes in what others tell.

A replica is a set of events, one dense row of numbers for each origin; merging two is a union. Order is that of the
ids, which carry a hybrid logical clock, so it is the same everywhere whatever was delivered first, or twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from cloud_bridge.protocol.sync import KeyObject, Segment
from edge_agent.state import bodies, projection, sessions
from edge_agent.state.event import COLUMNS, Event, canonical
from edge_agent.state.log import DOCUMENTS, Log, Reader
from edge_agent.state.sync.exchanged import Heard, Said, Stretch, Told, heard
from edge_agent.state.sync.keys import GroupKeys
from edge_agent.state.sync.segments import SHARED_KINDS, SHARED_META, SharedEvent, pack, unpack
from edge_agent.state.sync.taking import Adopt, adopt_mappings, insert, is_dead, is_early, note

MAX_EVENTS = 256
MAX_TEXT_BYTES = 512 * 1024
"""Bounds of one stretch: what is held in memory at a time."""

MAX_BODY_BYTES = 2 * 1024 * 1024
"""Of one event: a segment has room for it beside a full stretch."""

MAX_GONE = 3000
"""Subjects told at once."""

_KINDS = ", ".join("?" * len(SHARED_KINDS))
SHARED = (
    f"device = ? AND seq > ? AND kind IN ({_KINDS}) AND session_id NOT GLOB '{DOCUMENTS}*'"  # noqa: S608 - constants
    " AND (key_id IS NULL OR EXISTS (SELECT 1 FROM session_keys WHERE id = key_id))"
)
"""SQL: of an origin's events beyond a number those that are told: not a device's own, and not of what was forgotten."""

LEFT_OUT = "left_out"
"""Name of the count of events that could not be opened, whose sessions nobody is known to have forgotten."""

_TOLD_GONE, _TOLD = "told_gone", "told"


class Replica:
    """The group's side of one home's log. Blocking and thread-safe, as the log is."""

    def __init__(self, log: Log, adopt: Adopt) -> None:
        self._log = log
        self._adopt = adopt

    def have(self) -> dict[str, int]:
        """Up to which number this device has each origin's events, its own among them."""
        with self._log.reading() as tx:
            return _have(tx)

    def claims(self) -> dict[str, int]:
        """As `have`, but of its own events those that it knows to have told.

        Where the bridge has more of them, this home was restored from a backup: it gets them back.
        """
        with self._log.reading() as tx:
            return _have(tx) | {self._log.device: _number(tx, _TOLD)}

    def tell(self, through: int) -> None:
        """To be called before this device's own events up to `through` are told."""
        with self._log.transaction() as tx:
            if through > _number(tx, _TOLD):
                note(tx, {_TOLD: str(through)})

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
                size += found.size
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
            have = _claimed(tx, segment.origin)
            return [heard(event) for event in events if event.seq > have and not is_dead(tx, event)]

    def take(
        self, origin: str, after: int, through: int, events: Sequence[Heard], *, certain: bool = True
    ) -> Literal["taken", "known", "early"]:
        """Take in an origin's events up to `through`, restored, all or none.

        "known": they do not continue what is here. "early": one of them continues what has not come yet, or has no key
        at the bridge though nobody is known to have forgotten its session; where not `certain`, they are taken as they
        are, what has no key is left out, and that is counted.

        Raises Conflict "sync_restored" where this device numbered other events the same.
        """
        try:
            with self._log.transaction() as tx:
                have = _claimed(tx, origin)
                if not after <= have < through:
                    return "known"
                left_out = 0
                for each in events:
                    if not have < each.event.seq <= through or is_dead(tx, each.event):
                        continue
                    if certain:
                        _require_timely(tx, each.event)
                    if each.event.is_shut:
                        left_out += 1
                    else:
                        insert(tx, origin, each)
                adopt_mappings(tx, events, self._adopt)
                tx.db.execute("INSERT OR REPLACE INTO replicas VALUES (?, ?)", (origin, through))
                if origin == self._log.device:
                    note(tx, {_TOLD: str(through)})
                if left_out:
                    note(tx, {LEFT_OUT: str(_number(tx, LEFT_OUT) + left_out)})
        except _Early:
            return "early"
        self.erase()
        return "taken"

    def erase(self) -> None:
        """Remove what is left of the keys that `take` destroyed; what cannot be removed now is tried again next time.

        Raises Unavailable `traces_left`, as forgetting a session here does.
        """
        sessions.erase(self._log)

    def gone(self, group: GroupKeys) -> tuple[int, list[str]]:
        """Subjects of what was forgotten since `told_gone`, and how far that goes."""
        with self._log.reading() as tx:
            rows = list(
                tx.rows(
                    "SELECT rowid, id, session_id FROM events INDEXED BY events_forgotten"
                    " WHERE kind = 'session.forgotten' AND rowid > ? ORDER BY rowid LIMIT 1000",
                    _number(tx, _TOLD_GONE),
                )
            )
            subjects: list[str] = []
            through = 0
            for row in rows:
                earlier = tx.rows(
                    "SELECT id FROM events WHERE session_id = ? AND kind = 'session.forgotten' AND id < ?"
                    " ORDER BY id DESC LIMIT ?",
                    # All but the newest: which of them is heard of first is chance.
                    *(row["session_id"], projection.forgotten_at(tx.db, row["session_id"]), MAX_GONE // 2),
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
            note(tx, values)


class _Early(Exception):
    """Something that these events need has not come yet."""


def _require_timely(tx: Reader, event: SharedEvent) -> None:
    if event.is_shut or is_early(tx, event):
        raise _Early


def _number(tx: Reader, name: str) -> int:
    row = tx.row("SELECT value FROM sync_state WHERE name = ?", name)
    return 0 if row is None else int(row["value"])


def _claimed(tx: Reader, origin: str) -> int:
    """Up to which number an origin's events are known to be the group's."""
    return _number(tx, _TOLD) if origin == tx.log.device else _have(tx).get(origin, 0)


def _have(tx: Reader) -> dict[str, int]:
    found = {str(row["device"]): int(row["through"]) for row in tx.rows("SELECT * FROM replicas")}
    own = tx.row("SELECT coalesce(max(seq), 0) AS newest FROM events WHERE device = ?", tx.log.device)
    found[tx.log.device] = max(found.get(tx.log.device, 0), 0 if own is None else int(own["newest"]))
    return found


def _shared(tx: Reader, origin: str, after: int) -> Iterable[Event]:
    sql = f"SELECT {COLUMNS} FROM events WHERE {SHARED} ORDER BY seq"  # noqa: S608 - constants
    for row in tx.db.execute(sql, (origin, after, *SHARED_KINDS)):
        yield Event.of_row(row)


def _said(tx: Reader, event: Event) -> Said:
    body = tx.body(event)
    if not body:
        return Said(event, None)
    return Said(event, bodies.from_json(body), _escalation(tx, event), len(body))


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
