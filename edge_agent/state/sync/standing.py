"""How far this device has come with its group, as `edge-agent sync status` tells it."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.state.log import Log
from edge_agent.state.sync.replica import LEFT_OUT, SHARED
from edge_agent.state.sync.segments import SHARED_KINDS


@dataclass(frozen=True, slots=True)
class Standing:
    """`last_ok_ms`: of the last whole exchange, since 1970. `last_error`: the code of what ended the latest one.

    `left_out`: events whose key the bridge has not, though nobody is known to have forgotten their sessions.
    """

    last_ok_ms: int | None
    last_error: str | None
    left_out: int


def standing(log: Log) -> Standing:
    """What the exchanges noted."""
    with log.reading() as tx:
        found = {str(row["name"]): str(row["value"]) for row in tx.rows("SELECT name, value FROM sync_state")}
    last_ok = found.get("last_ok_ms", "")
    return Standing(
        int(last_ok) if last_ok.isdecimal() else None, found.get("last_error") or None, int(found.get(LEFT_OUT, 0))
    )


def untold(log: Log, through: int) -> int:
    """How many of this device's own events its group is to hear of, beyond that number."""
    sql = f"SELECT count(*) AS number FROM events WHERE {SHARED}"  # noqa: S608 - constants
    with log.reading() as tx:
        row = tx.row(sql, log.device, through, *SHARED_KINDS)
    return 0 if row is None else int(row["number"])
