"""sha256 of files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

_CHUNK = 1 << 20


def sha256_of(path: Path, read: Callable[[int], None] = lambda _: None) -> str:
    """The file's sha256 in hexadecimal. Blocks: a second or more per GB; `read` hears the bytes read so far."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            read(done)
    return digest.hexdigest()
