"""The control groups around this process: a container's limits are in one of them, and bind whoever is inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups that this process is in, its own first, then those around it, as `root`/proc tells.

    Both versions: in the first one `controller` ("cpu", "memory") names the tree, in the second there is one for all.
    Some folders may not exist. Without /proc the trees' own folders are given, which are the container's.
    """
    mounts = root / "sys/fs/cgroup"
    lines = text_of(root / "proc/self/cgroup").splitlines()
    for line in lines or ["0::/", f"1:{controller}:/"]:
        _, _, controllers_and_path = line.partition(":")
        controllers, _, path = controllers_and_path.partition(":")
        if not controllers:
            # The hybrid layout has the second version's groups beside the first's.
            yield from _with_parents(mounts, path)
            yield from _with_parents(mounts / "unified", path)
        elif controller in controllers.split(","):
            yield from _with_parents(mounts / controllers, path)
            yield from _with_parents(mounts / controller, path)


def text_of(file: Path) -> str:
    """A file of the kernel's, "" where it is absent."""
    with suppress(OSError, ValueError):
        return file.read_text(encoding="ascii").strip()
    return ""


def _with_parents(mount: Path, path: str) -> Iterator[Path]:
    # In a container the path may be the host's: then only the mount is there.
    parts = PurePosixPath(path.lstrip("/"))
    if ".." not in parts.parts:
        yield mount / parts
        yield from (mount / parent for parent in parts.parents)
    else:
        yield mount
