"""Models that are in use: whoever loads one shares a lock on it, and who would take it away needs the lock alone.

The system takes the lock back from a process that dies, however it dies.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from cloud_bridge.protocol.problems import Conflict, Unavailable
from edge_agent.models.locks.lock import POLL_S, open_lock, try_alone, try_lock

_MOST_NAMES = 4096
"""Bytes of a lock file: who used the model, one line each. It is only read to be told to a person."""


class Hold:
    """A model that is in use until `release`, the end of a `with` block or of the process. See `hold`."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """It is not in use any more. May be called again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


def hold(lock: Path, *, told: int | None = None) -> Hold:
    """Use a model, together with whoever else does; look only afterwards whether it is there.

    Waits the moment that it takes to move one away. Where the lock file cannot be made, as in a models folder that
    may only be read, the model is used without: nobody can remove it there either. `told`: the process that a person
    knows, if it is not this one.
    """
    try:
        descriptor = open_lock(lock)
    except Unavailable:
        return Hold(_read_only(lock))
    try:
        while not try_lock(descriptor, shared=True):
            time.sleep(POLL_S)
        if os.fstat(descriptor).st_size > _MOST_NAMES:
            os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {told or os.getpid()}\n".encode())
    except OSError:  # a file system without locks, or a full one
        pass
    except BaseException:
        os.close(descriptor)
        raise
    return Hold(descriptor)


@contextmanager
def unused(lock: Path, model_id: str) -> Iterator[None]:
    """Within the block nobody uses the model, and who wants to waits: keep it short.

    Raises Conflict code "model_in_use", at once, and Unavailable code "models_folder_not_writable".
    """
    descriptor = open_lock(lock)
    try:
        if not try_alone(descriptor, lock):
            raise in_use(model_id, _users(descriptor))
        os.ftruncate(descriptor, 0)
        yield
    finally:
        os.close(descriptor)


def in_use(model_id: str, processes: Sequence[int] = ()) -> Conflict:
    """Why a model cannot be removed or replaced now."""
    who = f"process {', '.join(map(str, processes))}" if processes else "another process"
    return Conflict(
        f"The model {model_id} is in use by {who}.",
        code="model_in_use",
        hint="Stop it, or wait until it unloads the model ([models] keep_alive_s), and try again.",
    )


def _users(descriptor: int) -> Sequence[int]:
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no types; the daemon listens without it

    found: set[int] = set()
    with suppress(OSError, ValueError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        for line in os.read(descriptor, 2 * _MOST_NAMES).decode("ascii").splitlines():
            user, _, told = line.partition(" ")
            if psutil.pid_exists(int(user)):
                found.add(int(told))
    return sorted(found)


def _read_only(lock: Path) -> int | None:
    with suppress(OSError):
        descriptor = os.open(lock, os.O_RDONLY)
        if try_lock(descriptor, shared=True):
            return descriptor
        os.close(descriptor)
    return None
