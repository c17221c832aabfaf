"""Times as people and JSON see them."""

from __future__ import annotations

from datetime import UTC, datetime

_LAST_MS = 253402300799999  # the end of the year 9999, where the calendar ends


def iso(ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601, UTC. Clocks that are beyond the calendar show as its last moment."""
    moment = datetime.fromtimestamp(min(ms, _LAST_MS) // 1000, UTC).replace(microsecond=min(ms, _LAST_MS) % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
