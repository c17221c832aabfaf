"""The most memory that a model's process took."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no types

_HIGH_WATER = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)
_MIB = 2**20


class PeakMemory:
    """Of those processes that this one started to run the model at `path`.

    Linux and Windows keep the figure themselves; elsewhere it is the most that was seen at a `look`.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._most = 0

    @property
    def mb(self) -> int:
        """MiB, 0 where nothing was seen."""
        return -(-self._most // _MIB)

    def look(self) -> None:
        """Take notice of what it is now."""
        taken = 0
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error, OSError):  # one that is gone takes nothing
                if self._path in process.cmdline():
                    taken += _bytes(process)
        self._most = max(self._most, taken)


def _bytes(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status")
    if status.is_file() and (found := _HIGH_WATER.search(status.read_text("utf-8"))):
        return int(found[1]) * 1024
    memory = process.memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))
