"""Whether the device's clock can be right.

By the clock certificates are judged, signatures are dated, a day's budget begins and the ledger says when something
left. So while it is surely wrong nothing may leave. Two things show it without a network: a time before this program
was written, and a time long before the newest event on record, since those are stamped in rising order.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cloud_bridge.protocol.problems import Unavailable
from edge_agent.state import ulid
from edge_agent.state.log import Log

EARLIEST_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""No copy of this program has run before, in seconds since 1970."""

BORNE_S = 86_400.0
"""How far the clock may be behind the newest event: one that ran ahead was set right."""


def check(log: Log) -> None:
    """Raise Unavailable code "clock_wrong" where the clock cannot be right."""
    now = log.now()
    if now < EARLIEST_S:
        raise _wrong("before this program was written", trust=False)
    with log.reading() as tx:
        (newest,) = tx.db.execute("SELECT max(id) FROM events").fetchone()
    behind_s = 0.0 if newest is None else ulid.stamp_of(newest).ms / 1000 - now
    if behind_s > BORNE_S:
        raise _wrong(f"{behind_s / BORNE_S:.0f} days before what this device has on record", trust=True)


def _wrong(what: str, *, trust: bool) -> Unavailable:
    hint = "Nothing was sent. Set this device's clock."
    if trust:
        hint += ' If it is right, and was ahead before, set [privacy] clock = "trusted" in config.toml.'
    return Unavailable(f"This device's clock shows a time {what}.", code="clock_wrong", hint=hint, retry_after_s=60)
