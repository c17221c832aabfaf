"""Times as people and JSON see them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cloud_bridge.protocol.problems import InvalidRequest

_FIRST_MS = -62135596800000  # the year 1, where the calendar begins
_LAST_MS = 253402300799999  # the end of the year 9999, where it ends

EARLIEST_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""No copy of this program has run before, in seconds since 1970."""


def iso(ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601, UTC. Clocks beyond the calendar show as its first or last moment."""
    ms = max(_FIRST_MS, min(ms, _LAST_MS))
    moment = datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def midnight(now: float) -> float:
    """When the day of `now` began, by UTC: daily budgets start there. Both in seconds since 1970, in any year."""
    return now - now % 86_400


_SECONDS = {"m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 7 * 86_400.0}


def seconds(text: str, param: str = "since") -> float:
    """A length of time as people write it, in seconds: 30m, 24h, 7d, 4w. Raises InvalidRequest code "invalid_value"."""
    found = re.fullmatch(r"([0-9]{1,5})([mhdw])", text.strip())
    if found is None:
        raise InvalidRequest(
            "That is no length of time.",
            code="invalid_value",
            hint="Give minutes, hours, days or weeks: 30m, 24h, 7d, 4w.",
            param=param,
        )
    return int(found[1]) * _SECONDS[found[2]]
