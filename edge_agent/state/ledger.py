"""The ledger: every byte that left this device, written before it leaves, in a hash chain.

Each entry's link covers its sealed bytes and the link before; the newest link is kept with a keyed
fingerprint, so that altering, removing, reordering and cutting off the end all show.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any

from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.problems import Broken, NotFound
from edge_agent.state.event import START, Event
from edge_agent.state.log import Log, Reader
from edge_agent.state.times import iso


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One departure. `body` and `sha256` are None where its session was forgotten."""

    id: str
    seq: int
    session_id: str
    decision_id: str | None
    provider: str
    url: str
    sent_at: str
    size: int
    sha256: str | None
    body: bytes | None = field(repr=False)

    def to_json(self, *, with_body: bool = True) -> dict[str, Any]:
        """As a door shows it; a body that is not UTF-8 comes as base64 under `body_base64`."""
        document: dict[str, Any] = {
            "id": self.id,
            "seq": self.seq,
            "session_id": self.session_id,
            "decision_id": self.decision_id,
            "provider": self.provider,
            "url": self.url,
            "sent_at": self.sent_at,
            "bytes": self.size,
            "sha256": self.sha256,
        }
        if with_body:
            try:
                document["body"] = None if self.body is None else self.body.decode()
            except UnicodeDecodeError:
                document["body_base64"] = base64.b64encode(self.body or b"").decode()
        return document


def record(log: Log, session_id: str, decision_id: str | None, departure: Departure) -> str:
    """Record what is about to leave, durably; only then may it. Returns the entry's id."""
    with log.transaction() as tx:
        newest = tx.row("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1")
        seq, previous = (newest["seq"] + 1, newest["hash"]) if newest else (1, START)
        meta = {
            "seq": seq,
            "previous": previous,
            "decision_id": decision_id,
            "provider": departure.provider,
            "url": departure.url,
            "bytes": len(departure.body),
        }
        event = tx.append("ledger.departed", session_id, departure.body, meta=meta)
        (link,) = tx.db.execute("SELECT hash FROM ledger WHERE id = ?", (event.id,)).fetchone()
        tx.db.execute("INSERT OR REPLACE INTO ledger_head VALUES (1, ?, ?, ?)", (seq, link, _mac(log, seq, link)))
    return event.id


def entries(log: Log, limit: int | None) -> list[LedgerEntry]:
    """What left, the newest first."""
    with log.reading() as tx:
        ids = tx.db.execute("SELECT id FROM ledger ORDER BY seq DESC LIMIT ?", (-1 if limit is None else limit,))
        events = (tx.event(event_id) for (event_id,) in ids.fetchall())
        return [_entry(tx, event) for event in events if event is not None]


def one(log: Log, ledger_id: str) -> LedgerEntry:
    """One entry with its body. Raises NotFound."""
    with log.reading() as tx:
        event = tx.event(ledger_id)
        if event is None or event.kind != "ledger.departed":
            raise NotFound("There is no such entry.", code="unknown_entry", hint="'edge-agent ledger list' lists them.")
        return _entry(tx, event)


def verify(log: Log) -> int:
    """Check the whole chain and return its length. Raises Broken that names the first entry that is wrong."""
    with log.reading() as tx:
        links = dict(tx.db.execute("SELECT id, hash FROM ledger").fetchall())
        seq, previous = 0, START
        for event, sealed in tx.scan("ledger.departed"):
            _check(event, sealed, seq + 1, previous, links)
            seq, previous = seq + 1, links[event.id]
        head = tx.row("SELECT seq, hash, mac FROM ledger_head")
    if head is None and not seq:
        return 0
    if head is None or head["mac"] != _mac(log, head["seq"], head["hash"]):
        raise _altered(f"the record of the newest entry (number {seq})", "was altered or removed")
    if head["seq"] > seq:
        raise _altered(f"entry number {seq + 1}", "was removed")
    if (head["seq"], head["hash"]) != (seq, previous):
        raise _altered(f"entry number {seq}", "was altered or added")
    return seq


def _check(event: Event, sealed: bytes | None, seq: int, previous: str, links: dict[str, str]) -> None:
    if event.meta.get("seq") != seq:
        raise _altered(f"entry number {seq}", "was removed or moved")
    if links.get(event.id) != event.link(sealed):
        raise _altered(f"entry number {seq} ({event.id})", "was altered")
    if event.meta.get("previous") != previous:
        raise _altered(f"entry number {seq - 1}", "was altered or moved")


def _altered(what: str, how: str) -> Broken:
    return Broken(
        f"The ledger does not hold: {what} {how}.",
        code="ledger_altered",
        hint="Entries before it are intact. Compare state.db with a backup to see what was changed.",
    )


def _mac(log: Log, seq: int, link: str) -> str:
    return log.keys.ledger_mac(f"{log.device}|{seq}|{link}".encode()).hex()


def _entry(tx: Reader, event: Event) -> LedgerEntry:
    body = tx.body(event)
    return LedgerEntry(
        id=event.id,
        seq=event.meta["seq"],
        session_id=event.session_id,
        decision_id=event.meta["decision_id"],
        provider=event.meta["provider"],
        url=event.meta["url"],
        sent_at=iso(event.at_ms),
        size=event.meta["bytes"],
        sha256=None if body is None else hashlib.sha256(body).hexdigest(),
        body=body,
    )
