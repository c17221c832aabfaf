"""Who sent how much to whom, and when: a hash chain without a word of text.

Each link covers its record and the link before; the newest is kept apart, so that altering, removing, reordering
and cutting off the end all show. Whoever can rewrite the whole file can rewrite the chain: note the head elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from cloud_bridge.database import BridgeDatabase
from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.problems import Broken

START = hashlib.sha256(b"cloud-bridge audit").hexdigest()


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain that is whole: how many records, and the newest link."""

    entries: int
    head: str


class AuditLog:
    """Append-only. Blocking; safe to use from many threads and processes."""

    def __init__(self, database: BridgeDatabase, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def record(self, device: str, call_key: str, departure: Departure, *, repeated: bool) -> None:
        """Record what is about to leave, durably. `repeated`: an earlier call with this key may have been answered."""
        record = json.dumps(
            {
                "at": round(self._now(), 3),
                "device": device,
                "call": hashlib.sha256(call_key.encode()).hexdigest(),
                "provider": departure.provider,
                "bytes": len(departure.body),
                "sha256": hashlib.sha256(departure.body).hexdigest(),
                "repeated": repeated,
            },
            sort_keys=True,
        )
        with self._database.transaction() as db:
            newest = next(iter(db.query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")), None)
            seq, previous = (newest["seq"] + 1, newest["hash"]) if newest else (1, START)
            link = _link(previous, seq, record)
            db.execute("INSERT INTO audit VALUES (?, ?, ?)", (seq, record, link))
            db.execute("INSERT OR REPLACE INTO audit_head VALUES (1, ?, ?)", (seq, link))

    def verify(self) -> Verified:
        """Read the whole chain. Raises Broken code "audit_broken" that names the first record that does not fit."""
        with self._database.transaction() as db:
            head = next(iter(db.query("SELECT seq, hash FROM audit_head")), {"seq": 0, "hash": START})
            seq, link = 0, START
            for row in db.query("SELECT * FROM audit ORDER BY seq"):
                seq, link = seq + 1, _link(link, seq + 1, row["record"])
                if (row["seq"], row["hash"]) != (seq, link):
                    raise _broken(f"record {seq} was altered or removed")
            if (seq, link) != (head["seq"], head["hash"]):
                raise _broken(f"the end was cut off after record {seq}")
        return Verified(seq, link)


def _link(previous: str, seq: int, record: str) -> str:
    return hashlib.sha256(f"{previous}\n{seq}\n{record}".encode()).hexdigest()


def _broken(what: str) -> Broken:
    return Broken(
        f"The audit chain is broken: {what}.",
        code="audit_broken",
        hint="Compare the file with a backup; keep it as evidence before you change anything.",
    )
