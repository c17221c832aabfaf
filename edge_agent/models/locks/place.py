"""Where one model lies, and how its folder comes and goes: all of it in one moment, and never under who uses it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloud_bridge.protocol.problems import NotAllowed
from edge_agent.models.locks.in_use import Hold, hold, in_use, unused
from edge_agent.models.locks.lock import exclusive


@dataclass(frozen=True, slots=True)
class Place:
    """The model `model_id` of the models folder `root`. What is hidden beside its folder is ours alone."""

    root: Path
    model_id: str

    @property
    def folder(self) -> Path:
        """Its files."""
        return self.root / self.model_id

    @property
    def wheels(self) -> Path:
        """Where wheels are unpacked while it is pulled."""
        return self.root / f".wheels-{self.model_id}"

    @property
    def use_lock(self) -> Path:
        """What those who use it share. See `edge_agent.models.locks.in_use`."""
        return self.root / f".{self.model_id}.use"

    def changing(self, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """One pull, import or removal at a time; `waiting` hears that another is at work."""
        return exclusive(self.root / f".{self.model_id}.lock", waiting)

    def hold(self) -> Hold:
        """Use it: until that is released nobody can remove or replace it."""
        return hold(self.use_lock)

    def check_no_link(self) -> None:
        """Raises NotAllowed code "unsafe_path" where its folder is a link."""
        if self.folder.is_symlink():
            raise NotAllowed(
                f"{self.folder} is a link; models are not written through links.",
                code="unsafe_path",
                hint="Remove the link, or link the whole models folder instead.",
            )

    def empty(self) -> None:
        """Delete its folder. Raises Conflict code "model_in_use"."""
        with self._away():
            if self.folder.is_symlink():
                self.folder.unlink()
            else:
                self.folder.rename(self._removed)

    def fill(self, made: Path) -> None:
        """Move the complete folder `made`, of the same disk, here, in place of what may be here.

        Raises Conflict code "model_in_use" where what is here is in use, and what `check_no_link` raises.
        """
        with self._away():
            self.check_no_link()
            if self.folder.exists():
                self.folder.rename(self._removed)
            made.rename(self.folder)
            sync_folder(self.root)

    @contextmanager
    def _away(self) -> Iterator[None]:
        """Within the block the folder may be moved to `_removed`, which is deleted afterwards, and before."""
        shutil.rmtree(self._removed, ignore_errors=True)
        try:
            with unused(self.use_lock, self.model_id):
                yield
        except PermissionError as error:
            if os.name != "nt":
                raise
            raise in_use(self.model_id) from error  # Windows moves no folder with an open file
        finally:
            shutil.rmtree(self._removed, ignore_errors=True)

    @property
    def _removed(self) -> Path:
        return self.root / f".{self.model_id}.removed"


def sync_folder(folder: Path) -> None:
    """Have the names in it survive a loss of power. Does nothing where a folder cannot be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
