"""A process that claims and finishes jobs until none is left, and prints what it claimed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State


def main(home: Path) -> None:
    with State.open(home / "state.db", HomeKey(home).open()) as state:
        print("ready", flush=True)
        sys.stdin.readline()
        while state.count_jobs()["queued"]:
            job = state.claim_next(time.time())
            if job is not None:
                print(job.id, flush=True)
                state.finish_job(job.id, "answer")


main(Path(sys.argv[1]))
