"""Server-sent events, both ways, as the WHATWG HTML standard frames them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloud_bridge.protocol.problems import Unavailable

MAX_EVENT_BYTES = 8 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event: its data, and its type where the sender named one."""

    data: str
    event: str = "message"


class SseDecoder:
    """Events out of bytes that may be cut anywhere. An event that the stream ends in is dropped, as the standard says.

    Raises Unavailable code "stream_event_too_large" where one event needs more than `max_event_bytes`.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._rest = bytearray()
        self._after_cr = False
        self._first_line = True
        self._data: list[str] = []
        self._size = 0
        self._event = ""

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that these bytes complete."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if not data:
            return []
        self._after_cr = data.endswith(b"\r")
        head, *lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest += head
        events: list[SseEvent] = []
        for following in lines:
            event = self._take_line(bytes(self._rest))
            if event is not None:
                events.append(event)
            self._rest = bytearray(following)
        self._check_size()
        return events

    def _take_line(self, line: bytes) -> SseEvent | None:
        if self._first_line:
            line = line.removeprefix(_BOM)
            self._first_line = False
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(line)
            self._check_size()
        elif name == "event":
            self._event = value
        return None

    def _dispatch(self) -> SseEvent | None:
        data, event = self._data, self._event or "message"
        self._data, self._event, self._size = [], "", 0
        return SseEvent("\n".join(data), event) if data else None

    def _check_size(self) -> None:
        if self._size + len(self._rest) > self._max:
            raise Unavailable(
                f"The stream sent an event of more than {self._max} bytes.",
                code="stream_event_too_large",
                hint="Ask for a shorter answer, or use another provider.",
            )


def encode_sse(data: str, event: str | None = None) -> bytes:
    """One event as bytes. A line break in `data` becomes a second data line; the other side joins them with LF."""
    lines = [] if event is None else [f"event: {event}"]
    lines += [f"data: {line}" for line in _LINE_END.split(data)]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")
