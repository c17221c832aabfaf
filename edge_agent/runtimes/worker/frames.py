"""Frames on a pipe: four bytes of length, big-endian, then that many bytes of one JSON object."""

from __future__ import annotations

import json
import struct
from typing import Any

MAX_FRAME_BYTES = 64 * 1024 * 1024

_LENGTH = struct.Struct(">I")

Frame = dict[str, Any]


class FrameError(ValueError):
    """The bytes are no frames: the other side is broken, and nothing after this can be trusted."""


def encode_frame(frame: Frame) -> bytes:
    """One frame as bytes. Raises FrameError where it is larger than `MAX_FRAME_BYTES`."""
    body = json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(body)} bytes; at most {MAX_FRAME_BYTES} are allowed")
    return _LENGTH.pack(len(body)) + body


class FrameDecoder:
    """Frames out of bytes that may be cut anywhere."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max = max_frame_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete. Raises FrameError on anything that cannot be one."""
        self._rest += data
        frames: list[Frame] = []
        start = 0
        while len(self._rest) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._rest, start)
            if size > self._max:
                raise FrameError(f"a frame of {size} bytes; at most {self._max} are allowed")
            body_start = start + _LENGTH.size
            if len(self._rest) < body_start + size:
                break
            frames.append(_read(bytes(self._rest[body_start : body_start + size])))
            start = body_start + size
        del self._rest[:start]
        return frames


def _read(body: bytes) -> Frame:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FrameError("a frame that is not JSON") from error
    if not isinstance(value, dict):
        raise FrameError("a frame that is not an object")
    return value
