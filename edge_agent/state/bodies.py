"""Bodies of events, before they are sealed: a byte that says how, then bytes, deflated where that is smaller."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from cloud_bridge.protocol.problems import Broken

_PLAIN, _DEFLATED = b"\x00", b"\x01"
_WORTH_DEFLATING = 256
_SHORT = 16 * 1024
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def pack(body: bytes) -> bytes:
    """The form that `unpack` reads."""
    if len(body) > _WORTH_DEFLATING:
        deflated = _deflated(body)
        if len(deflated) < len(body):
            return _DEFLATED + deflated
    return _PLAIN + body


def _deflated(body: bytes) -> bytes:
    """Short bodies with a window and tables of their size: to clear zlib's usual ones takes longer than to deflate."""
    small = len(body) <= _SHORT
    deflater = zlib.compressobj(1, zlib.DEFLATED, 12 if small else 15, 5 if small else 8)
    return deflater.compress(body) + deflater.flush()


def unpack(packed: bytes, limit: int | None = None) -> bytes:
    """The inverse of `pack`. Raises ValueError where that would be more than `limit` bytes, before it is made."""
    match packed[:1]:
        case b"\x00":
            return _within(packed[1:], limit)
        case b"\x01":
            return zlib.decompress(packed[1:]) if limit is None else _inflated(packed[1:], limit)
        case _:
            raise Broken("An event is in a form this version does not know.", code="schema_newer", hint="Upgrade.")


def _inflated(deflated: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    body = _within(inflater.decompress(deflated, limit + 1), limit)
    if not inflater.eof:
        raise ValueError("cut short")
    return body


def _within(body: bytes, limit: int | None) -> bytes:
    if limit is not None and len(body) > limit:
        raise ValueError("too large")
    return body


def to_json(document: Mapping[str, Any]) -> bytes:
    """JSON as bytes; lone surrogates, which clients do send, survive."""
    return _ENCODER.encode(document).encode("utf-8", "surrogatepass")


def from_json(body: bytes) -> dict[str, Any]:
    """The inverse of `to_json`."""
    document: dict[str, Any] = json.loads(body.decode("utf-8", "surrogatepass"))
    return document
