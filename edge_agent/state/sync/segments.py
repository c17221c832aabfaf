"""A stretch of events as bytes, before it is sealed for the group: what all may read, then each body under its own key.

    4 bytes: the size of the head | head: deflated JSON, the events without bodies | the bodies, one after the other

Bodies are sealed under their session's share key, so a forgotten session's stay shut for whoever has the group key.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloud_bridge.protocol.problems import Broken
from edge_agent.state import aead, bodies
from edge_agent.state.event import canonical

SHARED_KINDS = (
    "request.accepted",
    "request.failed",
    "request.interrupted",
    "answer.given",
    "answer.revised",
    "session.chosen",
    "session.forgotten",
)
"""What a group's devices tell each other. Decisions, jobs and the ledger are each device's own."""

SHARED_META = frozenset({"provisional", "revises", "decision_id", "code", "answer_id", "after", "epoch"})
"""Of `Event.meta`; keyed fingerprints are made anew under each device's own key."""

_MAX_HEAD_BYTES = 16 * 1024 * 1024
_MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
_MAX_DOCUMENTS_BYTES = 32 * 1024 * 1024
"""Of one body, and of all in a stretch, once they are inflated. What a device tells is far below both."""

_HINT = (
    "Nothing of it was used. Upgrade the older of the devices that 'edge-agent sync devices' lists; if they are equal,"
    " check the bridge."
)


@dataclass(frozen=True, slots=True)
class SharedEvent:
    """An event as the group hears of it. `document`: its body, masked; None where it has none.

    `key`: the name of the share key that its body is sealed under.
    """

    id: str
    seq: int
    at_ms: int
    session_id: str
    parent: str | None
    kind: str
    meta: Mapping[str, Any]
    key: str | None = None
    document: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def is_shut(self) -> bool:
        """Whether it has a body that cannot be read."""
        return self.key is not None and self.document is None

    @property
    def after(self) -> str:
        """The newest forgetting of its session that its device knew of; "" for none."""
        return str(self.meta.get("after", ""))


def pack(events: Sequence[SharedEvent], share_keys: Mapping[str, bytes]) -> bytes:
    """The events as `unpack` reads them. `share_keys`: by the names that the events name."""
    sealed = [_seal(event, share_keys) for event in events]
    rows = [
        {
            "id": event.id,
            "seq": event.seq,
            "at": event.at_ms,
            "session": event.session_id,
            "parent": event.parent,
            "kind": event.kind,
            "meta": dict(event.meta),
            "key": event.key,
            "size": len(body),
        }
        for event, body in zip(events, sealed, strict=True)
    ]
    head = zlib.compress(canonical(rows).encode("utf-8", "surrogatepass"), 1)
    return b"".join((len(head).to_bytes(4, "big"), head, *sealed))


def unpack(payload: bytes, share_key: Callable[[str], bytes | None]) -> list[SharedEvent]:
    """The inverse of `pack`. Events whose share key is None stay shut.

    Raises Broken "sync_damaged", also where more comes out of it than a device tells, and what `share_key` raises.
    """
    room = _MAX_DOCUMENTS_BYTES
    try:
        size = int.from_bytes(payload[:4], "big")
        inflate = zlib.decompressobj()
        head = inflate.decompress(payload[4 : 4 + size], _MAX_HEAD_BYTES)
        rows = json.loads(head.decode("utf-8", "surrogatepass"))
        found, at = [], 4 + size
        for row in rows:
            sealed = payload[at : at + row["size"]]
            at += row["size"]
            event = SharedEvent(
                *(str(row["id"]), int(row["seq"]), int(row["at"]), str(row["session"]), row["parent"]),
                *(str(row["kind"]), dict(row["meta"]), row["key"]),
            )
            if event.kind in SHARED_KINDS:
                body = _opened(event, sealed, share_key, min(room, _MAX_DOCUMENT_BYTES))
                room -= len(body or b"")
                found.append(event if body is None else replace(event, document=bodies.from_json(body)))
        if at != len(payload):
            raise damaged()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        raise damaged() from error
    return found


def damaged(hint: str = _HINT) -> Broken:
    """What came through the bridge is not what a device of the group made."""
    return Broken(
        "What came from the group's devices through the bridge was altered, or is not this group's.",
        code="sync_damaged",
        hint=hint,
    )


def _seal(event: SharedEvent, share_keys: Mapping[str, bytes]) -> bytes:
    if event.document is None or event.key is None:
        return b""
    body = bodies.pack(bodies.to_json(event.document))
    return aead.seal(AESGCM(share_keys[event.key]), body, event.id.encode())


def _opened(event: SharedEvent, sealed: bytes, share_key: Callable[[str], bytes | None], limit: int) -> bytes | None:
    """The event's body of up to `limit` bytes; None where it has none, or stays shut. Raises ValueError."""
    key = None if event.key is None else share_key(event.key)
    return None if key is None else bodies.unpack(aead.unseal(AESGCM(key), sealed, event.id.encode()), limit)
