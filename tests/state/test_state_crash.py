"""SIGKILL at any moment: the file is whole, and everything that was acknowledged is there.

500 times, with the daemon in the place of the writer: python -m tests.benchmarks --only crashes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.state.killed_writer import kill_writers

KILLS = 10
OPEN_AND_CLOSE = """
import sys
from pathlib import Path
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
home = Path(sys.argv[1])
State.open(home / "state.db", HomeKey(home).open()).close()
"""


@pytest.mark.slow
def test_nothing_that_was_acknowledged_is_lost(home: Path) -> None:
    assert kill_writers(home, KILLS, Random(7)) > 20  # noqa: S311 - moments, not secrets


def test_a_second_connection_that_is_closed_leaves_the_first_its_locks(open_at: Any, home: Path, talk: Any) -> None:
    """Else the next command would take itself for the last user of the file, and remove the log that is in use."""
    daemon = open_at(owner=True)
    daemon.accept_request("s", talk("Before"))
    open_at().close()
    subprocess.run([sys.executable, "-c", OPEN_AND_CLOSE, str(home)], check=True, timeout=60)
    daemon.accept_request("s", talk("After"))
    subprocess.run([sys.executable, "-c", OPEN_AND_CLOSE, str(home)], check=True, timeout=60)
    assert len(open_at().session("s").turns) == 2
    assert (home / "state.db-wal").exists()
