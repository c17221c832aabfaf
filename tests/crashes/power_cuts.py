"""Power cuts: what a real process did to its home is recorded, the disk is rebuilt as a cut may leave it, and opened.

python -m tests.crashes.power_cuts --cuts 200
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from random import Random

from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from tests.crashes.disk import Disk, Operation, read_trace
from tests.state.acknowledged import check, check_traces, read
from tests.state.killed_writer import WRITER

SOURCE = Path(__file__).with_name("recorder.c")
SECTORS = (512, 4096)
MAKING = 8
"""After so many words from the writer its home, keys and all, is made."""


def compiler() -> str | None:
    """A C compiler that can make what Linux preloads, or None."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None) if sys.platform == "linux" else None


def record(folder: Path, turns: int) -> tuple[Path, list[Operation]]:
    """Let a writer write so many turns into a home; the home, and all that it did."""
    library, home, trace = folder / "recorder.so", folder / "home", folder / "trace"
    command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True)
    home.mkdir()
    environ = {"LD_PRELOAD": str(library), "RECORD_UNDER": str(home), "RECORD_TO": str(trace)}
    writer = [sys.executable, str(WRITER), str(home), str(turns)]
    subprocess.run(writer, env={**os.environ, **environ}, check=True, capture_output=True, timeout=120)
    return home, read_trace(trace)


def moments(operations: Sequence[Operation], cuts: int, random: Random) -> list[int]:
    """Before which operations the power goes: anywhere, at a write to the database file itself, after a word,
    while the home is made.

    A quarter each: of the second and the last there are few, and the third is when something was promised a moment ago.
    """
    files: dict[int, str] = {}
    checkpoints, words = [], []
    for index, done in enumerate(operations):
        if done.op == "o":
            files[done.fd] = done.path
        elif done.op in "wtf" and files.get(done.fd, "").endswith("state.db"):
            checkpoints.append(index + 1)
        elif done.op == "s":
            words.append(index + 1)
    first = range(words[min(len(words), MAKING) - 1])
    kinds = (range(len(operations) + 1), checkpoints, words, first)
    return sorted(random.choice(kinds[number % 4]) for number in range(cuts))


def cut(folder: Path, turns: int, cuts: int, random: Random) -> Iterator[int]:
    """Cut, open, check; so often. Yields how much had been acknowledged at each."""
    home, operations = record(folder, turns)
    disk, done = Disk(folders={str(home)}), 0
    for moment in moments(operations, cuts, random):
        for operation in operations[done:moment]:
            disk.apply(operation)
        done = moment
        under_way = operations[moment] if moment < len(operations) else None
        said = read(b"".join(operation.data for operation in operations[:moment] if operation.op == "s"))
        shutil.rmtree(home)
        home.mkdir()
        for path, content in deepcopy(disk).after_cut(random, random.choice(SECTORS), under_way):
            if content is None:
                Path(path).mkdir(mode=0o700)
            elif Path(path).parent.exists():
                Path(path).touch(0o600)
                Path(path).write_bytes(content)
        with State.open(home / "state.db", HomeKey(home).open(), owner=True) as state:
            check_traces(home, said)
            check(state, said)
        yield len(said)


def main() -> None:
    """Cut so often, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashes.power_cuts")
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--turns", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-cuts-") as scratch:
        found = list(cut(Path(scratch), given.turns, given.cuts, Random(given.seed)))  # noqa: S311 - moments
    sys.stdout.write(json.dumps({"cuts": len(found), "acknowledged": sum(found)}) + "\n")


if __name__ == "__main__":
    main()
