"""The master key in a file that only its owner can read: for a machine that starts without a person."""

from __future__ import annotations

from pathlib import Path

from edge_agent.state.keys import KEY_BYTES, KeyRing
from edge_agent.state.master_key import record as records
from edge_agent.state.master_key.place import PlaceName


class FilePlace:
    """See `Place`. The record is the key's 32 bytes."""

    name: PlaceName = "file"
    record_name = "master.key"

    def keep(self, record: Path, master: bytes) -> None:
        """See `Place`."""
        records.create(record, master)

    def read(self, record: Path) -> bytes:
        """See `Place`."""
        master = records.read(record)
        if len(master) != KEY_BYTES:
            raise records.damaged(record)
        return master

    def fingerprint(self, record: Path) -> str | None:
        """See `Place`."""
        master = records.read(record)
        return KeyRing(master).fingerprint if len(master) == KEY_BYTES else None

    def destroy(self, record: Path) -> None:
        """See `Place`."""
        records.wipe(record)
