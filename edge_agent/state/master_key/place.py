"""What a place for the master key must be able to do. There are three: a file, the system's keyring, a passphrase."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

PlaceName = Literal["file", "keyring", "passphrase"]
Choice = Literal["auto", "file", "keyring", "passphrase"]


class Place(Protocol):
    """Keeps a key under a record: a file of the home that is the key itself, or leads to it. All of it blocks."""

    @property
    def name(self) -> PlaceName:
        """As `[vault] key` and `vault move` call it."""

    @property
    def record_name(self) -> str:
        """What the record is called in the folder `keys`."""

    def keep(self, record: Path, master: bytes) -> None:
        """Keep the key, durably. Raises FileExistsError where the record exists, and Problem; nothing is kept then."""

    def read(self, record: Path) -> bytes:
        """The key. Raises Problem where it is locked, damaged or gone."""

    def fingerprint(self, record: Path) -> str | None:
        """The kept key's fingerprint, without unlocking anything; None where the record is damaged."""

    def destroy(self, record: Path) -> None:
        """Overwrite and remove the key and its record. Raises Problem where the key cannot be reached."""
