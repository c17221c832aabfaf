"""Room on the disk of the models."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cloud_bridge.protocol.problems import InvalidRequest, Unavailable

SPARE = 64 * 2**20
"""Bytes that are left to others: a disk that is full to its last byte stops more than a download."""


HINT = "Make room there, or use a larger disk: EDGE_AGENT_HOME says where the models are."


def free_disk(folder: Path) -> int:
    """Bytes that are free where `folder` lies, or will lie."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def check_room(folder: Path, needed: int, free: Callable[[Path], int] = free_disk) -> None:
    """Raises Unavailable code "not_enough_disk" unless `needed` bytes and some more fit where `folder` lies."""
    if needed and free(folder) < needed + SPARE:
        raise not_enough_disk(folder, needed)


def not_enough_disk(folder: Path, needed: int | None = None) -> Unavailable:
    """The problem to raise when `folder`'s disk is too small; `needed` in bytes."""
    free = f"{free_disk(folder) / 1e6:,.0f} MB are free"
    amount = f"{needed / 1e6:,.0f} MB are needed, {free}" if needed else free
    return Unavailable(
        f"There is not enough room on the disk of {folder}: {amount}.",
        code="not_enough_disk",
        hint=HINT,
    )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Say of what is written into `folder` within the block when there is no room for it.

    Raises Unavailable code "not_enough_disk", and InvalidRequest code "file_too_large" where the file system has none
    so large.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise not_enough_disk(folder) from error
        if error.errno == errno.EFBIG:
            raise InvalidRequest(
                f"The file system of {folder} takes no file so large.",
                code="file_too_large",
                hint="FAT32, as on many USB sticks, ends at 4 GB: use exFAT, or export fewer models at once.",
            ) from error
        raise
