"""The finished parts of long work, so that a run that was stopped is taken up where it was.

Dequantized weights, an importance matrix, a reference's logits, the candidates of a comparison: each is a folder
that is there completely or not at all, with what is known of it in `facts.json`. They belong to one source and one
format, and go when the work that needed them has succeeded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_agent.models.digest import sha256_of
from edge_agent.models.libraries import library_for
from edge_agent.models.locks.lock import exclusive
from edge_agent.models.progress import Progress
from quantize import export_environment
from quantize.artifact import building, remove_unused

Facts = dict[str, Any]

_FACTS = "facts.json"
_KEPT = "kept"
_LOCK = "lock"
_TOOLS = ("edge-agent", "llama-cpp-python")  # the latter makes what artifacts are held against


class Stages:
    """The parts under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sound: set[str] = set()

    @property
    def path(self) -> Path:
        """Where they lie."""
        return self._folder

    def part(self, name: str, make: Callable[[Path], Mapping[str, Any]]) -> tuple[Path, Facts]:
        """The part's folder and its facts: those of an earlier run, or what `make` writes into the folder and returns.

        Of an earlier run's every file is read once, and a part that is not as it was written is made again.
        Raises what `make` raises, and Unavailable code "not_enough_disk"; of a part that failed nothing stays.
        """
        folder = self._folder / name
        record = _read(folder / _FACTS) or {}
        if "facts" not in record or (name not in self._sound and record.get("files") != _digests(folder)):
            shutil.rmtree(folder, ignore_errors=True)
            with building(folder) as scratch:
                facts = dict(make(scratch))
                record = {"facts": facts, "files": _digests(scratch)}
                (scratch / _FACTS).write_text(json.dumps(record), "utf-8")
        self._sound.add(name)
        found: Facts = record["facts"]
        return folder, found

    def digests(self, name: str) -> dict[str, str]:
        """The sha256 of each file of a part, as they were taken when it was made."""
        found: dict[str, str] = json.loads((self._folder / name / _FACTS).read_text("utf-8"))["files"]
        return found

    def drop(self, name: str) -> None:
        """Remove a part that is no longer needed."""
        self._sound.discard(name)
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def remembered(self, name: str) -> Facts | None:
        """What `remember` kept, None where it was nothing, or is damaged."""
        return _read(self._folder / _KEPT / f"{name}.json")

    def remember(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep `facts` beyond the work's success: they are small, and took minutes to find."""
        record = self._folder / _KEPT / f"{name}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        half = record.with_suffix(".half")
        with half.open("w", encoding="utf-8") as file:
            file.write(json.dumps(facts))
            file.flush()
            os.fsync(file.fileno())
        half.replace(record)

    def clear(self) -> None:
        """The work has succeeded: remove all parts but what is remembered."""
        self._sound.clear()
        for entry in self._folder.iterdir():
            if entry.name not in {_KEPT, _LOCK}:
                shutil.rmtree(entry, ignore_errors=True)


def _digests(folder: Path) -> dict[str, str]:
    """The sha256 of each file but the record."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / _FACTS)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def _read(record: Path) -> Facts | None:
    try:
        found = json.loads(record.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@contextmanager
def stages_of(home: Path, what: str, files: Sequence[Mapping[str, Any]], progress: Progress) -> Iterator[Stages]:
    """The stages of making `what` from these source files (each with its "sha256"), for this run alone.

    They lie under `home`/quantize/work, and count only for the versions of the tools that made them: those of others
    are removed, unless a run uses them.
    """
    work, made_with = home / "quantize" / "work", f"{what}-{_digest(_tools(what))[:8]}-"
    folder = work / f"{made_with}{_digest(sorted(str(file['sha256']) for file in files))[:16]}"
    with exclusive(folder / _LOCK, lambda: progress.advance(0, 0, "waiting for another run with this source")):
        for left in folder.glob(".*"):  # a run that was killed could not clean up
            shutil.rmtree(left, ignore_errors=True)
        for other in work.glob(f"{what}-*"):
            if not other.name.startswith(made_with):
                remove_unused(other / _LOCK)
        yield Stages(folder)


def _tools(what: str) -> Sequence[str]:
    """The versions of all that decides what comes out: here, and in the environment that exports."""
    library = library_for(what)
    packages = sorted({*_TOOLS, *(library.packages if library else ())})
    exporter = [sha256_of(export_environment.requirements()), export_environment.TORCH]
    return [*(f"{name} {_version(name)}" for name in packages), *exporter]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _digest(facts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
