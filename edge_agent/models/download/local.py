"""Files that are on this machine already: a mirror folder, or what comes with edge-agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edge_agent.models.download.stream import CHUNK, SourceFailed, Stream
from edge_agent.models.manifest import FileSource


def mirrored(source: FileSource, environ: Mapping[str, str], model_id: str, relative: str) -> Path:
    """Where the mirror keeps the file. Raises SourceFailed "not_set" where the user named no mirror."""
    folder = environ.get(source.folder_env)
    if not folder:
        raise SourceFailed("not_set")
    return Path(folder).expanduser() / model_id / relative


@contextmanager
def open_local(path: Path, offset: int) -> Iterator[Stream]:
    """The file at `path` from `offset` on. Raises SourceFailed "not_found" or "unreadable"."""
    try:
        with path.open("rb") as opened:
            opened.seek(offset)
            yield Stream(offset, iter(lambda: opened.read(CHUNK), b""))
    except FileNotFoundError as error:
        raise SourceFailed("not_found") from error
