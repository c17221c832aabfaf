"""What was called, under which idempotency key, and what came back: at most one finished call a key.

started ──▶ done ──(retention)──▶ expired        started, failed, expired ──▶ started again
        └─▶ failed
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlite_utils import Database

from cloud_bridge.database import BridgeDatabase, Row
from cloud_bridge.protocol.envelope import event_from_json, event_to_json
from cloud_bridge.protocol.events import Event
from cloud_bridge.protocol.problems import Conflict

Status = Literal["started", "done", "failed", "expired"]

RETENTION_HOURS = 24.0
_HOUR_S = 3600.0
_KEYS_KEPT_S = 30 * 24 * _HOUR_S


@dataclass(frozen=True, slots=True)
class Call:
    """The record of one idempotency key. Times are seconds since 1970.

    `repeated`: it was called again although an earlier call may have been answered: that one was in flight when
    its process was killed, or its answer was past its retention.
    """

    caller: str
    key: str
    fingerprint: str
    status: Status
    attempts: int
    repeated: bool
    started_at: float
    ended_at: float | None
    provider: str | None
    code: str | None


class CallStore:
    """Calls and their masked answers, on disk. Blocking; safe to use from many threads.

    Retention counts the time that the bridge runs; what it sleeps, is off or has its clock set ahead counts for an
    hour at most each time (`ages`), so that no wrong clock makes it forget an answer and call again.
    One process at a time may make calls: a call that is `started` when another begins it is taken for a dead one's.
    """

    def __init__(
        self,
        database: BridgeDatabase,
        *,
        retention_hours: float = RETENTION_HOURS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._retention_s = retention_hours * _HOUR_S
        self._now = now
        self.purge()

    @classmethod
    def open(cls, path: Path, *, retention_hours: float = RETENTION_HOURS) -> CallStore:
        """A store in a file of its own, for `close` to close."""
        return cls(BridgeDatabase(path), retention_hours=retention_hours)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def begin(self, caller: str, key: str, fingerprint: str) -> tuple[Event, ...] | None:
        """The answer where there is one; else None, and the call is recorded as started.

        Raises Conflict where the key was used for another conversation.
        """
        self.purge()
        with self._database.transaction() as db:
            now = self._time(db)
            row = next(iter(db.query("SELECT * FROM calls WHERE caller = ? AND key = ?", (caller, key))), None)
            if row is None:
                db.execute(
                    "INSERT INTO calls (caller, key, fingerprint, status, attempts, repeated, started_at) "
                    "VALUES (?, ?, ?, 'started', 1, 0, ?)",
                    (caller, key, fingerprint, now),
                )
                return None
            if row["fingerprint"] != fingerprint:
                raise key_reused()
            if row["status"] == "done":
                return tuple(event_from_json(item) for item in json.loads(row["events"]))
            repeated = row["repeated"] or row["status"] in {"started", "expired"}
            db.execute(
                "UPDATE calls SET status = 'started', attempts = attempts + 1, repeated = ?, started_at = ?, "
                "ended_at = NULL, provider = NULL, code = NULL WHERE caller = ? AND key = ?",
                (repeated, now, caller, key),
            )
            return None

    def finish(self, caller: str, key: str, provider: str, events: Sequence[Event]) -> None:
        """Record the whole answer, so that the key is never called again while it is kept."""
        document = json.dumps([event_to_json(event) for event in events], ensure_ascii=False, separators=(",", ":"))
        with self._database.transaction() as db:
            db.execute(
                "UPDATE calls SET status = 'done', ended_at = ?, provider = ?, events = ? WHERE caller = ? AND key = ?",
                (self._time(db), provider, document, caller, key),
            )

    def fail(self, caller: str, key: str, code: str) -> None:
        """Record that no answer came, and why. The key may be called again."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE calls SET status = 'failed', ended_at = ?, code = ? WHERE caller = ? AND key = ?",
                (self._time(db), code, caller, key),
            )

    def call(self, caller: str, key: str) -> Call | None:
        """The record of a key, or None."""
        row = self._database.row("SELECT * FROM calls WHERE caller = ? AND key = ?", caller, key)
        return None if row is None else _call(row)

    def purge(self) -> None:
        """Delete the answers that are past their retention, and keys that nobody asked for in a month."""
        with self._database.transaction() as db:
            now = self._time(db)
            db.execute(
                "UPDATE calls SET status = 'expired', events = NULL WHERE status = 'done' AND ended_at <= ?",
                (now - self._retention_s,),
            )
            too_old = now - max(_KEYS_KEPT_S, self._retention_s)
            db.execute("DELETE FROM calls WHERE ended_at <= ?", (too_old,))
            # Their process died, and nobody asked again.
            db.execute("DELETE FROM calls WHERE ended_at IS NULL AND started_at <= ?", (too_old,))

    def _time(self, db: Database) -> float:
        """Now, with all records' times as this clock would have written them."""
        now = self._now()
        self._database.ages.settle(db, now)
        return now


def key_reused() -> Conflict:
    """One key, two conversations."""
    return Conflict(
        "This idempotency key was used for another request.",
        code="idempotency_key_reused",
        hint="Use a new key for each request, and the same one only to repeat it.",
    )


def _call(row: Row) -> Call:
    fields = {name: row[name] for name in Call.__dataclass_fields__}
    return Call(**{**fields, "repeated": bool(row["repeated"])})
