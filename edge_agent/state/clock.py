"""Whether the device's clock can be right.

By the clock certificates are judged, signatures are dated, a day's budget begins and the ledger says when something
left. So while it is surely wrong nothing may leave. Two things show it without a network: a time before this program
was written, and a time long before the newest that this device itself has on record. What other devices of the same
person recorded is no measure of this one's clock: theirs may be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from cloud_bridge.protocol.problems import Unavailable
from edge_agent.state import ulid
from edge_agent.state.log import Log, Reader
from edge_agent.state.times import EARLIEST_S

BORNE_S = 86_400.0
"""How far the clock may be behind the newest event: one that ran ahead was set right."""


@dataclass(slots=True)
class _Newest:
    """The latest time that this device recorded in the events up to `rowid`, in milliseconds since 1970."""

    rowid: int = 0
    at_ms: int | None = None


_NEWEST: WeakKeyDictionary[Log, _Newest] = WeakKeyDictionary()
"""Of each open log: events are only ever added, so what was looked through once is not looked through again."""


def check(log: Log) -> None:
    """Raise Unavailable code "clock_wrong" where the clock cannot be right."""
    now = log.now()
    if now < EARLIEST_S:
        raise _wrong("before this program was written", trust=False)
    with log.reading() as tx:
        newest_ms = _newest_ms(tx) if _ids_are_ahead(tx, now) else None
    behind_s = 0.0 if newest_ms is None else newest_ms / 1000 - now
    if behind_s > BORNE_S:
        raise _wrong(f"{behind_s / BORNE_S:.0f} days before what this device has on record", trust=True)


def _ids_are_ahead(tx: Reader, now: float) -> bool:
    """An id is later than every time on record up to the year 4199, other devices' too: most often that is enough."""
    (newest,) = tx.db.execute("SELECT max(id) FROM events").fetchone()
    return newest is not None and ulid.stamp_of(newest).ms / 1000 - now > BORNE_S


def _newest_ms(tx: Reader) -> int | None:
    known = _NEWEST.setdefault(tx.log, _Newest())
    rowid, at_ms = tx.db.execute(
        "SELECT max(rowid), max(CASE WHEN device = ? THEN at_ms END) FROM events WHERE rowid > ?",
        (tx.log.device, known.rowid),
    ).fetchone()
    known.rowid = max(known.rowid, rowid or 0)
    known.at_ms = max((ms for ms in (known.at_ms, at_ms) if ms is not None), default=None)
    return known.at_ms


def _wrong(what: str, *, trust: bool) -> Unavailable:
    hint = "Nothing was sent. Set this device's clock."
    if trust:
        hint += ' If it is right, and was ahead before, set [privacy] clock = "trusted" in config.toml.'
    return Unavailable(f"This device's clock shows a time {what}.", code="clock_wrong", hint=hint, retry_after_s=60)
