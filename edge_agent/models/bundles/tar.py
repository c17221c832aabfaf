"""Tar archives whose every member is known before it comes.

Headers are read by the standard library one at a time. Nothing is extracted: whoever reads names the member that
must come next, and anything else (a link, a device, another name or size) ends it.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO

from edge_agent.models.bundles.bundle import refused, unreadable
from edge_agent.models.download.stream import CHUNK
from edge_agent.models.manifest import plain

_BLOCK = tarfile.BLOCKSIZE
_MAX_PAX_BYTES = 1 << 14
_PAX_RECORD = re.compile(rb"(\d{1,5}) ([^=]{1,100})=")
_HARMLESS = frozenset({"path", "size", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname"})
_KINDS = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder",
}


class TarWriter:
    """Members in the order of `add`, with nothing in them of this machine or this moment. `close` it."""

    def __init__(self, target: IO[bytes]) -> None:
        # Not the mode for streams: abandoned half way, that one writes its end into a file that is closed.
        self._tar = tarfile.TarFile(fileobj=target, mode="w", format=tarfile.PAX_FORMAT, copybufsize=CHUNK)

    def add(self, name: str, size: int, content: IO[bytes]) -> None:
        """One member; reads `size` bytes of `content`. Raises OSError where it has fewer."""
        info = tarfile.TarInfo(name)
        info.size = size
        info.mode = 0o644
        self._tar.addfile(info, content)

    def close(self) -> None:
        """Write the end."""
        self._tar.close()


class TarReader:
    """Reads from `source`, which may be a pipe. Every method raises Broken code "bundle_unreadable" or
    "bundle_truncated", and NotAllowed code "bundle_refused".
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._begun = False

    def whole(self, name: str, at_most: int) -> bytes:
        """The member `name`, which must come next."""
        size = self._next(name)
        if size > at_most:
            raise refused(f"has {size} bytes of {name}")
        return b"".join(self._content(size))

    def member(self, name: str, size: int) -> Iterator[bytes]:
        """The bytes of the member `name`, which must come next, in pieces; read all of them."""
        found = self._next(name)
        if found != size:
            raise refused(f"has {found} bytes of {name} in place of {size}")
        return self._content(size)

    def finish(self) -> None:
        """Check that nothing follows."""
        if any(self._exactly(_BLOCK)):
            raise refused("has a member that its list does not have, or one twice")
        rest = self._source.read(tarfile.RECORDSIZE)
        if any(rest) or len(rest) < _BLOCK or self._source.read(1):
            raise unreadable("has no proper end")

    def _next(self, name: str) -> int:
        info, pax = self._header(), dict[str, str]()
        if info.type == tarfile.XHDTYPE:
            if info.size > _MAX_PAX_BYTES:
                raise refused("has a header of senseless size")
            pax = _records(b"".join(self._content(info.size)))
            info = self._header()
        if info.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or info.linkname:
            raise refused(f"holds {_KINDS.get(info.type, 'something that is no plain file')}: {plain(info.name)}")
        found, size = pax.get("path", info.name), pax.get("size", str(info.size))
        if found != name:
            raise refused(f"holds {plain(found)!r} where {name} must come")
        if not size.isascii() or not size.isdigit() or len(size) > 19:
            raise unreadable("has a header that cannot be read")
        return int(size)

    def _header(self) -> tarfile.TarInfo:
        block = self._exactly(_BLOCK)
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if not self._begun:
                raise unreadable("is none: this is another kind of file") from error
            if not any(block):
                raise unreadable("ends before all that its list has", "bundle_truncated") from error
            raise unreadable("has a header that cannot be read") from error
        if info.size < 0:
            raise unreadable("has a header that cannot be read")
        self._begun = True
        return info

    def _content(self, size: int) -> Iterator[bytes]:
        left = size
        while left:
            chunk = self._source.read(min(left, CHUNK))
            if not chunk:
                raise _cut()
            left -= len(chunk)
            yield chunk
        self._exactly(-size % _BLOCK)

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self._source.read(size - len(found))
            if not more:
                raise _cut() if self._begun else unreadable("is none: this is another kind of file")
            found += more
        return found


class Told:
    """A file that is written to, or read, while `seen` hears every piece."""

    def __init__(self, inner: IO[bytes], seen: Callable[[bytes], None]) -> None:
        self._inner = inner
        self._seen = seen

    def write(self, data: bytes) -> int:
        """See `IO`."""
        self._seen(data)
        return self._inner.write(data)

    def tell(self) -> int:
        """See `IO`."""
        return self._inner.tell()

    def read(self, size: int = -1) -> bytes:
        """See `IO`."""
        data = self._inner.read(size)
        self._seen(data)
        return data


def _records(body: bytes) -> dict[str, str]:
    """The "length key=value" lines of a PAX header. Only such keys are let through that change no more than a name."""
    records: dict[str, str] = {}
    while body:
        found = _PAX_RECORD.match(body)
        length = int(found[1]) if found else 0
        if found is None or not found.end() < length <= len(body) or body[length - 1 : length] != b"\n":
            raise unreadable("has a header that cannot be read")
        key = found[2].decode("ascii", "replace")
        if key not in _HARMLESS or key in records:
            raise refused(f"has a header that no bundle has: {plain(key)}")
        records[key] = body[found.end() : length - 1].decode("utf-8", "surrogateescape")
        body = body[length:]
    return records


def _cut() -> Exception:
    return unreadable("is cut short", "bundle_truncated")
