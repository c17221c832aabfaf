"""A writer of a state that is killed again and again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from tests.state.acknowledged import Said, check, check_traces, read

WRITER = Path(__file__).with_name("writer.py")


def kill_writers(home: Path, kills: int, moments: Random, *, check_every: int = 10) -> int:
    """Kill so many, the state checked after every `check_every`th. Returns how much they were told is done."""
    said: list[Said] = []
    for number in range(1, kills + 1):
        said += _run_and_kill(home, moments.uniform(0.01, 0.4))
        if number % check_every == 0 or number == kills:
            with State.open(home / "state.db", HomeKey(home).open(), owner=True) as state:
                check(state, said)
            check_traces(home, said)
    return len(said)


def _run_and_kill(home: Path, after_s: float) -> list[Said]:
    """Let a process write, kill it, and return what it was told is done."""
    writer = subprocess.Popen([sys.executable, WRITER, home], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    time.sleep(after_s)
    writer.send_signal(signal.SIGKILL)
    output, _ = writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    return read(output)
