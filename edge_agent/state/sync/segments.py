"""A stretch of events as bytes, before it is sealed for the group: what all may read, then each body under its own key.

    4 bytes: the size of the head | head: deflated JSON, the events without bodies | the bodies, one after the other

Bodies are sealed under their session's share key, so a forgotten session's stay shut for whoever has the group key.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloud_bridge.protocol.problems import Broken
from edge_agent.state import bodies
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

_NONCE_BYTES = 12
_MAX_HEAD_BYTES = 16 * 1024 * 1024


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
    """The inverse of `pack`. Events whose share key is None are left out: their session was forgotten.

    Raises Broken "sync_damaged", and what `share_key` raises.
    """
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
            opened = _opened(event, sealed, share_key)
            if opened is not None and event.kind in SHARED_KINDS:
                found.append(opened)
        if at != len(payload):
            raise damaged()
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise damaged() from error
    return found


def damaged() -> Broken:
    """What came is not what a device of the group made."""
    return Broken(
        "What came from another device cannot be read.",
        code="sync_damaged",
        hint="Nothing of it was used. Upgrade the older of the devices; if they are equal, check the bridge.",
    )


def _seal(event: SharedEvent, share_keys: Mapping[str, bytes]) -> bytes:
    if event.document is None or event.key is None:
        return b""
    nonce = os.urandom(_NONCE_BYTES)
    body = bodies.pack(bodies.to_json(event.document))
    return nonce + AESGCM(share_keys[event.key]).encrypt(nonce, body, event.id.encode())


def _opened(event: SharedEvent, sealed: bytes, share_key: Callable[[str], bytes | None]) -> SharedEvent | None:
    if event.key is None:
        return event
    key = share_key(event.key)
    if key is None:
        return None
    try:
        body = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], event.id.encode())
    except InvalidTag as error:
        raise damaged() from error
    document = bodies.from_json(bodies.unpack(body))
    return SharedEvent(
        *(event.id, event.seq, event.at_ms, event.session_id, event.parent, event.kind, event.meta, event.key, document)
    )
