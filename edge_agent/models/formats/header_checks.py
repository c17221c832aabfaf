"""Whether what is installed could be loaded at all: one cheap look at a file's header, remembered until it changes."""

from __future__ import annotations

from pathlib import Path

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.damage import damaged
from edge_agent.models.formats import gguf_header
from edge_agent.models.manifest import Manifest


class HeaderChecks:
    """Of GGUF files, which one native library reads whole; other formats are checked when they are loaded."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, ...], Broken | None]] = {}

    def problem(self, manifest: Manifest, folder: Path) -> Broken | None:
        """Why the model in `folder` cannot be run, if its header says so. Reads nothing for a file that is missing."""
        path = folder / manifest.files[0].path
        try:
            state = path.stat()
        except OSError:
            return None
        if manifest.format != "gguf":
            return None
        signature = (state.st_mtime_ns, state.st_size, state.st_ino)
        known = self._known.get(path)
        if known is None or known[0] != signature:
            known = self._known[path] = (signature, _problem(manifest, path))
        return known[1]


def _problem(manifest: Manifest, path: Path) -> Broken | None:
    try:
        gguf_header.check(path)
    except Broken as problem:
        return damaged(manifest, f"cannot be run. {problem.message.removesuffix('.')}", problem.code)
    return None
