"""W3C Trace Context: the `traceparent` header. Ids are made elsewhere and passed in."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Traceparent:
    """A place in a trace: 32 and 16 lower-case hexadecimal digits, neither all zeros."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def __post_init__(self) -> None:
        if not _TRACEPARENT.fullmatch(self.header) or not int(self.trace_id, 16) or not int(self.span_id, 16):
            raise ValueError("a trace id is 32, a span id 16 lower-case hexadecimal digits, not all zeros")

    @property
    def header(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"

    def child(self, span_id: str) -> Traceparent:
        """The same trace, one span further."""
        return Traceparent(self.trace_id, span_id, self.sampled)


def parse_traceparent(header: str | None) -> Traceparent | None:
    """The header read; None where it is absent or invalid: the standard then starts a new trace."""
    match = _TRACEPARENT.fullmatch(header.strip()) if header is not None else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    try:
        return Traceparent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))
    except ValueError:
        return None


def make_traceparent(trace_id: str, span_id: str, *, sampled: bool = True) -> str:
    """The header's value. Raises ValueError where an id is not as the standard wants it."""
    return Traceparent(trace_id, span_id, sampled).header
