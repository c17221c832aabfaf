"""Stands in for the system's keyring (Secret Service, Keychain), which cannot be had here, at keyring's own interface.

Entries are in the JSON file that $DISK_KEYRING names; it is locked while a file of that name and `.locked` exists.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError


class DiskKeyring(KeyringBackend):
    priority = 5

    @property
    def path(self) -> Path:
        return Path(os.environ["DISK_KEYRING"])

    def entries(self) -> dict[str, str]:
        if self.path.with_name(f"{self.path.name}.locked").exists():
            raise KeyringLocked("locked, and planted-in-an-error is nobody's business")
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries().get(f"{service}/{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._write({**self.entries(), f"{service}/{username}": password})

    def delete_password(self, service: str, username: str) -> None:
        entries = self.entries()
        if entries.pop(f"{service}/{username}", None) is None:
            raise PasswordDeleteError("not there")
        self._write(entries)

    def _write(self, entries: dict[str, str]) -> None:
        draft = self.path.with_name(f"{self.path.name}.part")
        draft.write_text(json.dumps(entries))
        draft.replace(self.path)
