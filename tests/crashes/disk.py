"""A disk as a power cut leaves it, rebuilt from what `recorder.c` recorded.

What was synced is there. Of what was written to a file since its last fsync any subset of sectors is there, some of
them torn; a truncation since then has happened or not. A folder's names (created, renamed, removed) are there in
the order in which they were given, at least up to the last that the folder's own fsync followed: many file systems keep
more, and none promises it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

HEAD = struct.Struct("=ciqII")


@dataclass(frozen=True, slots=True)
class Operation:
    """One recorded call: see recorder.c. `other` is the second path of a rename or a link."""

    op: str
    fd: int
    number: int
    data: bytes
    other: str

    @property
    def path(self) -> str:
        return self.data.decode()


@dataclass(eq=False)
class File:
    """What is safe, and what was done since the last fsync: (offset, data), or (size, None) for a truncation."""

    synced: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for offset, data in self.since:
            self.synced = changed(self.synced, offset, data)
        self.since.clear()

    def after_cut(self, random: Random, sector: int) -> bytes:
        """The content as the cut may leave it."""
        content = self.synced
        share = random.choice((0.0, 0.5, 0.9, 1.0))
        for offset, data in self.since:
            if data is None:
                content = changed(content, offset, None) if random.random() < share else content
                continue
            for at, part in _sectors(offset, data, sector):
                if random.random() < share:
                    content = changed(content, at, part)
                elif random.random() < 0.1:
                    content = changed(content, at, part[: random.randrange(len(part))])  # torn
        return content


FOLDER = "folder"
"""In the place of a file: the name is a folder's."""


@dataclass
class Disk:
    """A tree of files. `names` is what a process sees now; `journals` what was done to each folder's names, in order.

    `safe`: how much of each is so for good.
    """

    names: dict[str, File] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    journals: dict[str, list[tuple[str, File | str | None]]] = field(default_factory=dict)
    safe: dict[str, int] = field(default_factory=dict)
    _open: dict[int, str | File] = field(default_factory=dict)

    def apply(self, done: Operation) -> None:
        """Let it happen."""
        match done.op:
            case "o":
                self._opened(done)
            case "c":
                self._open.pop(done.fd, None)
            case "w" | "t":
                file = self._open[done.fd]
                assert isinstance(file, File)
                file.since.append((done.number, done.data if done.op == "w" else None))
            case "f":
                self._synced(self._open[done.fd])
            case "d":
                self.folders.add(done.path)
                self._journal(done.path, FOLDER)
            case "u":
                self._name(done.path, None)
            case "r":
                self._name(done.path, self.names[done.other])
                self._name(done.other, None)
            case "l":
                self._name(done.path, self.names[done.other])

    def after_cut(self, random: Random, sector: int, torn: Operation | None) -> Iterator[tuple[str, bytes | None]]:
        """Folders (None) and files with their content. `torn`: the write that was under way, or None."""
        if torn is not None and torn.op == "w":
            self.apply(torn)
        names: dict[str, File] = {}
        for folder, journal in self.journals.items():
            for path, file in journal[: random.randint(self.safe.get(folder, 0), len(journal))]:
                if isinstance(file, File):
                    names[path] = file
                elif file == FOLDER:
                    yield path, None
                else:
                    names.pop(path, None)
        content = {id(file): file.after_cut(random, sector) for file in names.values()}
        yield from ((path, content[id(file)]) for path, file in names.items())

    def _opened(self, done: Operation) -> None:
        if done.path in self.folders:
            self._open[done.fd] = done.path
            return
        if done.path not in self.names:
            self._name(done.path, File())
        file = self._open[done.fd] = self.names[done.path]
        if done.number:
            file.since.append((0, None))

    def _synced(self, opened: str | File) -> None:
        if isinstance(opened, File):
            opened.sync()
        else:
            self.safe[opened] = len(self.journals.get(opened, ()))

    def _name(self, path: str, file: File | None) -> None:
        if file is None:
            self.names.pop(path, None)
        else:
            self.names[path] = file
        self._journal(path, file)

    def _journal(self, path: str, file: File | str | None) -> None:
        self.journals.setdefault(path.rpartition("/")[0], []).append((path, file))


def read_trace(path: Path) -> list[Operation]:
    """All operations in order."""
    raw, at, found = path.read_bytes(), 0, []
    while at < len(raw):
        op, fd, number, one, two = HEAD.unpack_from(raw, at)
        at += HEAD.size
        data, other = raw[at : at + one], raw[at + one : at + one + two].decode()
        found.append(Operation(op.decode(), fd, number, data, other))
        at += one + two
    return found


def changed(content: bytes, offset: int, data: bytes | None) -> bytes:
    """`content` with `data` at `offset`; None: cut or filled with zeros to that size."""
    if data is None:
        return content[:offset].ljust(offset, b"\0")
    return content[:offset].ljust(offset, b"\0") + data + content[offset + len(data) :]


def _sectors(offset: int, data: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        end = min(len(data), start + size - (offset + start) % size)
        yield offset + start, data[start:end]
        start = end
