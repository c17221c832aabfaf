"""Memory that takes room only where it was written to, and whose room can be given back in parts."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Linux takes the pages at once. macOS would keep their content under that name; there they are only free to be taken.
_GIVE_BACK: int | None = getattr(mmap, "MADV_DONTNEED" if sys.platform == "linux" else "MADV_FREE", None)


class Pages:
    """An array of zeros in pages of its own. It keeps its address; its bytes must not be resized."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        size = int(np.prod(shape)) * dtype.itemsize
        if sys.platform == "win32":
            self._pages = mmap.mmap(-1, size)
        else:
            # Shared pages, which are the default, would stay when this process no longer needs them.
            self._pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            # One cell would make 2 MiB resident where the system prefers large pages; some kernels know none.
            with suppress(OSError):
                self._pages.madvise(mmap.MADV_NOHUGEPAGE)
        self.array: NDArray[Any] = np.frombuffer(self._pages, dtype).reshape(shape)

    def give_back(self, begin: int, end: int) -> None:
        """Free whole pages from byte `begin` to byte `end`, whose content is not needed any more. Zeros on Linux."""
        first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
        last = end // mmap.PAGESIZE * mmap.PAGESIZE
        if _GIVE_BACK is not None and first < last:
            self._pages.madvise(_GIVE_BACK, first, last - first)
