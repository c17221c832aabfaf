"""What an interrupted `edge-agent calibrate` has answered already, so that the next one goes on from there.

One file for each set of questions and model, `calibrating/DIGEST.jsonl` in the home. A line is appended as soon as an
example is answered. It holds the numbers that a calibration is made from, and no word of a question or an answer.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_agent.routing.calibration.fitting import Example
from edge_agent.routing.calibration.signals import Signals

FOLDER = "calibrating"
KEPT_S = 30 * 86_400.0
"""How long the answers of a run that nobody goes on with are kept."""


class Answered:
    """The examples answered so far, by their line in the data. What cannot be written is answered again next time."""

    def __init__(self, home: Path, circumstances: Mapping[str, Any]) -> None:
        """`circumstances`: all that an answer depends on, as JSON can hold it; other ones, another file."""
        name = hashlib.sha256(json.dumps(circumstances, sort_keys=True).encode()).hexdigest()
        self._path = home / FOLDER / f"{name}.jsonl"
        _clear_out(self._path.parent)
        self._known = dict(_read(self._path))

    def __len__(self) -> int:
        return len(self._known)

    def get(self, line: int) -> Example | None:
        """The example in that line, if it was answered."""
        return self._known.get(line)

    def add(self, line: int, example: Example) -> None:
        """Keep one that was answered now."""
        self._known[line] = example
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            # In one write, behind a line that a crash may have cut.
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"\n{json.dumps({'line': line, **asdict(example)})}\n")

    def forget(self) -> None:
        """The calibration is made: the next one asks anew."""
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._path.parent.rmdir()


def _read(path: Path) -> list[tuple[int, Example]]:
    """Whatever lines can be read: one that cannot is answered again."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        with suppress(ValueError, LookupError, TypeError):
            known = json.loads(line)
            whole, prefix = Signals(**known["whole"]), Signals(**known["prefix"])
            found.append((int(known["line"]), Example(whole, prefix, bool(known["right"]))))
    return found


def _clear_out(folder: Path) -> None:
    with suppress(OSError):
        for path in folder.iterdir():
            if path.stat().st_mtime < time.time() - KEPT_S:
                path.unlink()
