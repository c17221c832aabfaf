"""The event log: immutable, ordered by a hybrid logical clock, bodies sealed under their session's key.

Everything is written through `Log.transaction()`: what it appended, and the views of it, are there together
and durable when the block ends, or not at all.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken, Conflict, InvalidRequest, Unavailable
from edge_agent.state import bodies, projection, ulid
from edge_agent.state.database import check_integrity, connect, readable_errors, sync_write_ahead
from edge_agent.state.event import COLUMNS, Event, canonical
from edge_agent.state.hlc import LATEST_MS, HybridClock
from edge_agent.state.keys import KeyRing, SessionKey
from edge_agent.state.migrations import migrate

_SESSION_ID_LIMIT = 256

_ROOM_MS = 1 << 40
"""How far ids have risen beyond the latest time at most: 2**56 events. As much and more is left for this device."""

DOCUMENTS = "document/"
"""What the ids of sessions begin with that hold a document each, and no conversation."""

SYNC = "sync/"
"""What the id begins with that the ledger has for what goes to the group's devices."""

_OWN_ROOMS = {
    DOCUMENTS: frozenset({"document.added", "document.text", "document.path", "session.forgotten"}),
    SYNC: frozenset({"ledger.departed"}),
}


class Log:
    """The open database. Thread-safe; several processes may have the same file open."""

    def __init__(
        self, path: Path, keys: KeyRing, *, now: Callable[[], float], random_bits: Callable[[int], int]
    ) -> None:
        """Open, migrate, and check that `keys` are this database's. Raises Broken or Conflict where it cannot."""
        self.path = path
        self.keys = keys
        self.now = now
        self._random_bits = random_bits
        self._clock = HybridClock(lambda: int(now() * 1000))
        self._lock = threading.RLock()
        self._unwrapped: dict[str, SessionKey] = {}
        self._is_introduced = False
        self._observed: str | None = None
        self._db = connect(path)
        try:
            with readable_errors(path):
                migrate(self._db, path)
            self.device = self._introduce()
            self._is_introduced = True
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. Nothing may be called afterwards."""
        with self._lock:
            self._unwrapped.clear()
            self._db.close()

    def new_id(self) -> str:
        """A fresh ULID."""
        return ulid.encode(self._clock.tick(), self._random_bits(ulid.RANDOM_BITS))

    def observe(self, event_id: str) -> None:
        """From now on make ids later than another device's. Raises InvalidRequest for what no device makes."""
        stamp = ulid.stamp_of(event_id)
        if stamp.ms > LATEST_MS + _ROOM_MS:
            raise InvalidRequest(
                "The id of that event is later than any that a device makes.",
                code="bad_id",
                hint="Another device of the group is broken; remove it: edge-agent sync remove",
            )
        self._clock.observe(stamp)

    def check(self) -> None:
        """Raise Broken where the file is damaged."""
        with self._lock:
            check_integrity(self._db, self.path)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Write: all of the block or nothing, on disk when it ends. Blocks other writers; do not nest."""
        with self._begun("BEGIN IMMEDIATE"):
            (newest,) = self._db.execute("SELECT max(id) FROM events").fetchone()
            if newest is not None and newest != self._observed:
                self._clock.observe(ulid.stamp_of(newest))
                self._observed = newest
            yield Transaction(self, self._db)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Read one consistent state of the database."""
        with self._begun("BEGIN"):
            yield Reader(self, self._db)

    def erase_traces(self) -> None:
        """Empty the write-ahead file, in which pages from before a deletion may still lie.

        Raises Unavailable `traces_left` where another process reads on for longer than `BUSY_TIMEOUT_S`.
        """
        with self._lock, readable_errors(self.path):
            (is_busy, *_) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            # SQLite does not sync the truncation, and a power cut would bring back what was in the file.
            sync_write_ahead(self.path)
        if is_busy:
            raise Unavailable(
                "The old key is destroyed, but a trace of it is left in the database's write-ahead file.",
                code="traces_left",
                hint="Another process reads the database. End it, and run the command again.",
                retry_after_s=1,
            )

    def use_keys(self, keys: KeyRing) -> None:
        """Go on with another master key; the database is its already."""
        with self._lock:
            self.keys = keys
            self._unwrapped.clear()

    def drop_key(self, key_id: str) -> None:
        """Keep a session's key in memory no longer."""
        with self._lock:
            self._unwrapped.pop(key_id, None)

    def rebuild(self) -> None:
        """Make the views afresh from the log."""
        with self.transaction() as tx:
            projection.clear(tx.db)
            for event, sealed in tx.scan():
                projection.apply(tx.db, event, sealed)

    @contextmanager
    def _begun(self, begin: str) -> Iterator[None]:
        with self._lock, readable_errors(self.path):
            self._db.execute(begin)
            try:
                self._check_key()
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._db.rollback()
                raise

    def _check_key(self) -> None:
        """What this process wrote under a key that another has replaced meanwhile, nobody could read."""
        if self._is_introduced and self._written_with() != self.keys.fingerprint:
            raise Conflict(
                "The master key was replaced meanwhile.", code="master_key_rotated", hint="Run the command again."
            )

    def _written_with(self) -> str:
        (fingerprint,) = self._db.execute("SELECT value FROM facts WHERE name = 'master_key'").fetchone()
        return str(fingerprint)

    def _introduce(self) -> str:
        with self.reading() as tx:
            facts = dict(tx.db.execute("SELECT name, value FROM facts").fetchall())
        if not facts:
            with self.transaction() as writer:
                # Another process may have come first; its facts hold.
                sql = "INSERT OR IGNORE INTO facts (name, value) VALUES (?, ?)"
                writer.db.execute(sql, ("device", self.new_id()))
                writer.db.execute(sql, ("master_key", self.keys.fingerprint))
                facts = dict(writer.db.execute("SELECT name, value FROM facts").fetchall())
        if facts["master_key"] != self.keys.fingerprint:
            raise Broken(
                f"{self.path} was written with another master key.",
                code="wrong_master_key",
                hint=f"Put back the keys folder that belongs to it, or move {self.path} away to start afresh.",
            )
        return str(facts["device"])

    def unwrapped(self, key_id: str, session_id: str, wrapped: bytes) -> SessionKey:
        """The session key, unwrapped once per process. Call under the lock."""
        key = self._unwrapped.get(key_id)
        if key is None:
            if len(self._unwrapped) > 1000:
                self._unwrapped.clear()
            key = self._unwrapped[key_id] = self.keys.unwrap(wrapped, key_id, session_id)
        return key


class Reader:
    """One consistent view of the database, for the length of a `with` block."""

    def __init__(self, log: Log, db: sqlite3.Connection) -> None:
        self.log = log
        self.db = db

    def row(self, sql: str, *parameters: Any) -> sqlite3.Row | None:
        """The first row, with columns by name, or None."""
        return next(self.rows(sql, *parameters), None)

    def rows(self, sql: str, *parameters: Any) -> Iterator[sqlite3.Row]:
        """Rows with columns by name."""
        cursor = self.db.cursor()
        cursor.row_factory = sqlite3.Row
        return iter(cursor.execute(sql, parameters))

    def event(self, event_id: str) -> Event | None:
        """The event, or None."""
        found = self.db.execute(f"SELECT {COLUMNS} FROM events WHERE id = ?", (event_id,)).fetchone()  # noqa: S608 - constant
        return None if found is None else Event.of_row(found)

    def events(self, session_id: str, kind: str | None = None) -> list[Event]:
        """A session's events in order."""
        where, parameters = "session_id = ?", [session_id]
        if kind is not None:
            where, parameters = f"{where} AND kind = ?", [session_id, kind]
        sql = f"SELECT {COLUMNS} FROM events WHERE {where} ORDER BY id"  # noqa: S608 - constants
        return [Event.of_row(row) for row in self.db.execute(sql, parameters)]

    def scan(self, kind: str | None = None) -> Iterator[tuple[Event, bytes | None]]:
        """All events in order, with their sealed bodies."""
        where = "" if kind is None else "WHERE kind = :kind"
        sql = f"SELECT {COLUMNS}, CAST(body AS BLOB) FROM events {where} ORDER BY id"  # noqa: S608 - constants
        for row in self.db.execute(sql, {"kind": kind}):
            yield Event.of_row(row[:-1]), row[-1]

    def body(self, event: Event) -> bytes | None:
        """The event's body, or None where its session was forgotten. Raises Broken where it was altered."""
        if event.key_id is None:
            return None
        found = self.db.execute(
            "SELECT CAST(events.body AS BLOB), wrapped FROM events LEFT JOIN session_keys ON session_keys.id = key_id"
            " WHERE events.id = ?",
            (event.id,),
        ).fetchone()
        if found is None or found[1] is None:
            return None
        key = self.log.unwrapped(event.key_id, event.session_id, found[1])
        return bodies.unpack(key.open(found[0], event.bound))

    def document(self, event_id: str) -> dict[str, Any] | None:
        """The JSON body of the event, or None where there is none to be read."""
        return self.documents([event_id]).get(event_id)

    def documents(self, event_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The JSON bodies of those events that have one to be read, by their ids. Raises Broken as `body`."""
        found = self.db.execute(
            f"SELECT {COLUMNS}, CAST(body AS BLOB),"  # noqa: S608 - constant
            " (SELECT wrapped FROM session_keys WHERE session_keys.id = key_id) FROM events"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(event_ids),),
        )
        opened = {}
        for *columns, sealed, wrapped in found.fetchall():
            event = Event.of_row(tuple(columns))
            if event.key_id is not None and wrapped is not None:
                key = self.log.unwrapped(event.key_id, event.session_id, wrapped)
                opened[event.id] = bodies.from_json(bodies.unpack(key.open(sealed, event.bound)))
        return opened

    def key_row(self, session_id: str) -> tuple[str, bytes] | None:
        """The id and the wrapped form of the session's key, or None where it has none."""
        found: tuple[str, bytes] | None = self.db.execute(
            "SELECT id, wrapped FROM session_keys WHERE session_id = ?", (session_id,)
        ).fetchone()
        return found


class Transaction(Reader):
    """A reader that may append."""

    def __init__(self, log: Log, db: sqlite3.Connection) -> None:
        super().__init__(log, db)
        self._seq: int | None = None  # of this device's newest event

    def append(
        self,
        kind: str,
        session_id: str,
        body: bytes = b"",
        *,
        meta: Mapping[str, Any] | None = None,
        parent: str | None = None,
        sealed: bool = True,
    ) -> Event:
        """Record that something happened. `sealed=False` is for what must stay true without the session's key."""
        _require_own_room(kind, session_id)
        stamp_id = self.log.new_id()
        if self._seq is None:
            (self._seq,) = self.db.execute(
                # The second: a state restored from a backup has its own newer events from others, and some never again.
                "SELECT max(coalesce((SELECT max(seq) FROM events WHERE device = ?1), 0),"
                " coalesce((SELECT through FROM replicas WHERE device = ?1), 0))",
                (self.log.device,),
            ).fetchone()
        self._seq += 1
        after = projection.forgotten_at(self.db, session_id)
        named = Event(
            id=stamp_id,
            device=self.log.device,
            seq=self._seq,
            at_ms=int(self.log.now() * 1000),
            session_id=session_id,
            parent=parent,
            kind=kind,
            meta={**(meta or {}), **({"after": after} if after else {})},
            key_id=None,
        )
        return self.insert(named, body, sealed=sealed)

    def insert(self, named: Event, body: bytes, *, sealed: bool) -> Event:
        """Enter an event, this device's or another's, its body sealed under this device's key of the session."""
        key_id, key = self.session_key(named.session_id) if sealed else (None, None)
        event = named.sealed_with(key_id)
        stored = None if key is None else key.seal(bodies.pack(body), event.bound)
        self.db.execute(
            f"INSERT INTO events ({COLUMNS}, hlc, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
            (
                *(event.id, event.device, event.seq, event.at_ms, event.session_id, event.parent, event.kind),
                *(canonical(event.meta), event.key_id, ulid.stamp_of(event.id).packed, stored),
            ),
        )
        projection.apply(self.db, event, stored)
        return event

    def session_key(self, session_id: str) -> tuple[str, SessionKey]:
        """The id and key that the session's events are sealed with; made at first use, and after forgetting."""
        # Always from the database: another process may have forgotten the session a moment ago.
        found = self.key_row(session_id)
        if found is None:
            _require_session_id(session_id)
            key_id = self.log.new_id()
            key, wrapped = self.log.keys.new_session_key(key_id, session_id)
            self.db.execute(
                "INSERT INTO session_keys (session_id, id, wrapped) VALUES (?, ?, ?)", (session_id, key_id, wrapped)
            )
            return key_id, key
        return found[0], self.log.unwrapped(found[0], session_id, found[1])

    def require_key_of(self, event: Event) -> SessionKey:
        """The key that `event` was sealed with. Raises Conflict where its session was forgotten since."""
        return self.require_key(event.session_id, event.key_id)

    def require_key(self, session_id: str, key_id: str | None) -> SessionKey:
        """The session's key, where it is still the one of that id. Raises Conflict where it was forgotten since."""
        found = self.key_row(session_id)
        if found is None or found[0] != key_id:
            raise Conflict(
                "The session was forgotten while this was under way.",
                code="session_forgotten",
                hint="Nothing more is recorded for it; begin a new session.",
            )
        return self.log.unwrapped(found[0], session_id, found[1])


def _require_session_id(session_id: str) -> None:
    if not session_id or len(session_id) > _SESSION_ID_LIMIT or not session_id.isprintable():
        raise InvalidRequest(
            "That is not a session id.",
            code="bad_session_id",
            hint=f"Use 1 to {_SESSION_ID_LIMIT} printable characters, and nothing personal.",
            param="edge.session_id",
        )


def _require_own_room(kind: str, session_id: str) -> None:
    """A client's session may not be taken for one of the device's own, nor be forgotten with one."""
    for prefix, kinds in _OWN_ROOMS.items():
        if session_id.startswith(prefix) and kind not in kinds:
            raise InvalidRequest(
                f"A session's id may not begin with {prefix!r}.",
                code="bad_session_id",
                hint="Choose another; those are this device's own.",
                param="edge.session_id",
            )
