"""An event without its body, and the bytes that name it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cloud_bridge.protocol.problems import Broken

COLUMNS = "id, device, seq, at_ms, session_id, parent, kind, meta, key_id"
START = "0" * 64
"""What the ledger's first entry has for the link before it."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: everything but the body. `meta` holds ids, times, counts and model names, never text."""

    id: str
    device: str
    seq: int
    at_ms: int
    session_id: str
    parent: str | None
    kind: str
    meta: Mapping[str, Any]
    key_id: str | None

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> Event:
        """The event in a row of `COLUMNS`."""
        event_id, device, seq, at_ms, session_id, parent, kind, meta, key_id = row
        try:
            return cls(event_id, device, seq, at_ms, session_id, parent, kind, json.loads(meta), key_id)
        except ValueError as error:
            raise Broken(
                f"Entry {event_id} of the state database was altered.",
                code="state_damaged",
                hint="Restore state.db from a backup.",
            ) from error

    def sealed_with(self, key_id: str | None) -> Event:
        """The same event, its body under that key."""
        named = (self.id, self.device, self.seq, self.at_ms, self.session_id, self.parent, self.kind, self.meta)
        return Event(*named, key_id)

    @property
    def bound(self) -> bytes:
        """What the body is sealed to: it opens under no other id, session, kind, parent, clock or meta."""
        return canonical(
            [
                self.id,
                self.device,
                self.seq,
                self.at_ms,
                self.session_id,
                self.parent,
                self.kind,
                self.meta,
                self.key_id,
            ]
        ).encode()

    def link(self, sealed: bytes | None) -> str:
        """A ledger entry's link of the hash chain; `meta["previous"]` is the link before.

        Over the ciphertext, so that the chain still holds, and can be checked, when the session was forgotten.
        """
        return hashlib.sha256(self.bound + hashlib.sha256(sealed or b"").digest()).hexdigest()


canonical: Callable[[Any], str] = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""JSON in which equal values are equal text. One encoder: to make it takes as long as an event's worth of encoding."""
