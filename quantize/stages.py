"""The finished parts of long work, so that a run that was stopped is taken up where it was.

Dequantized weights, an importance matrix, a reference's logits, the candidates of a comparison: each is a folder
that is there completely or not at all, with what is known of it in `facts.json`. They belong to one source and one
format, and go when the work that needed them has succeeded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edge_agent.models.locks.lock import exclusive
from edge_agent.models.progress import Progress
from quantize.artifact import building

Facts = dict[str, Any]

_FACTS = "facts.json"
_KEPT = "kept"
_LOCK = "lock"
_TOOLS = ("llama-cpp-python", "edge-agent")


class Stages:
    """The parts under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """Where they lie."""
        return self._folder

    def has(self, name: str) -> bool:
        """Whether the part was finished."""
        return (self._folder / name / _FACTS).is_file()

    def part(self, name: str, make: Callable[[Path], Mapping[str, Any]]) -> tuple[Path, Facts]:
        """The part's folder and its facts: those of an earlier run, or what `make` writes into the folder and returns.

        Raises what `make` raises, and Unavailable code "not_enough_disk"; of a part that failed nothing stays.
        """
        folder = self._folder / name
        if not self.has(name):
            shutil.rmtree(folder, ignore_errors=True)
            with building(folder) as scratch:
                facts = dict(make(scratch))
                (scratch / _FACTS).write_text(json.dumps(facts), "utf-8")
        found: Facts = json.loads((folder / _FACTS).read_text("utf-8"))
        return folder, found

    def drop(self, name: str) -> None:
        """Remove a part that is no longer needed."""
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def remembered(self, name: str) -> Facts | None:
        """What `remember` kept, None where it was nothing."""
        record = self._folder / _KEPT / f"{name}.json"
        return json.loads(record.read_text("utf-8")) if record.is_file() else None

    def remember(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep `facts` beyond the work's success: they are small, and took minutes to find."""
        record = self._folder / _KEPT / f"{name}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        half = record.with_suffix(".half")
        half.write_text(json.dumps(facts), "utf-8")
        half.replace(record)

    def clear(self) -> None:
        """The work has succeeded: remove all parts but what is remembered."""
        for entry in self._folder.iterdir():
            if entry.name not in {_KEPT, _LOCK}:
                shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def stages_of(home: Path, what: str, files: Sequence[Mapping[str, Any]], progress: Progress) -> Iterator[Stages]:
    """The stages of making `what` from these source files (each with its "sha256"), for this run alone.

    They lie under `home`/quantize/work, and count only for the versions of the tools that made them.
    """
    facts = [sorted(str(file["sha256"]) for file in files), [f"{name} {version(name)}" for name in _TOOLS]]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    folder = home / "quantize" / "work" / f"{what}-{key}"
    with exclusive(folder / _LOCK, lambda: progress.advance(0, 0, "waiting for another run with this source")):
        for left in folder.glob(".*"):  # a run that was killed could not clean up
            shutil.rmtree(left, ignore_errors=True)
        yield Stages(folder)
