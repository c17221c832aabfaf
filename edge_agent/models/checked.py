"""Which files of a model were found whole, so that a second pull need not read gigabytes again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edge_agent.models.digest import sha256_of
from edge_agent.models.manifest import ModelFile

_NAME = ".checked.json"


class Checked:
    """Kept beside the files: for each the sha256 found, with the size and time it then had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = _read(folder / _NAME)

    def is_whole(self, file: ModelFile) -> bool:
        """Whether the file is there with the right sha256; reads it only if it changed since it was last read."""
        path = self._folder / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        return self._seen.get(file.path) == _state(path, file.sha256) or self.reads_whole(file)

    def reads_whole(self, file: ModelFile, read: Callable[[int], None] = lambda _: None) -> bool:
        """The same, always reading the file. Blocks; `read` hears the bytes read so far."""
        path = self._folder / file.path
        state = _state(path, file.sha256)
        if path.stat().st_size == file.size and sha256_of(path, read) == file.sha256:
            self._seen[file.path] = state
            return True
        self._seen.pop(file.path, None)
        return False

    def add(self, file: ModelFile) -> None:
        """The file was just written and its sha256 was right."""
        self._seen[file.path] = _state(self._folder / file.path, file.sha256)

    def save(self) -> None:
        """Write it down, where that can be: losing it costs only time."""
        whole = self._folder / _NAME
        fresh = whole.with_name(f"{_NAME}.{os.getpid()}")
        try:
            fresh.write_text(json.dumps(self._seen, indent=1, sort_keys=True), encoding="utf-8")
            fresh.replace(whole)
        except OSError:  # a full disk, or a folder that may only be read
            with suppress(OSError):
                fresh.unlink(missing_ok=True)


def _state(path: Path, sha256: str) -> list[str | int]:
    found = path.stat()
    return [sha256, found.st_size, found.st_mtime_ns]


def _read(path: Path) -> dict[str, list[str | int]]:
    try:
        seen = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return seen if isinstance(seen, dict) else {}
