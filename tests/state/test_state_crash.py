"""SIGKILL at any moment: the file is whole, and everything that was acknowledged is there."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State

WRITER = Path(__file__).with_name("writer.py")
KILLS = 10


def run_and_kill(home: Path, after_s: float) -> list[dict[str, str]]:
    """Let a process write, kill it, and return what it was told is done."""
    writer = subprocess.Popen([sys.executable, WRITER, home], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    time.sleep(after_s)
    writer.send_signal(signal.SIGKILL)
    output, _ = writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    lines = output.split(b"\n")[:-1]  # the last one may be cut
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_nothing_that_was_acknowledged_is_lost(home: Path) -> None:
    moments = random.Random(7)  # noqa: S311 - moments, not secrets
    acknowledged: list[dict[str, str]] = []
    for _ in range(KILLS):
        acknowledged += run_and_kill(home, moments.uniform(0.01, 0.4))
    with State.open(home / "state.db", HomeKey(home).open(), owner=True) as state:
        turns = {turn.id: turn for session in state.sessions() for turn in state.session(session.id).turns}
        jobs = {job.id: job for job in state.jobs()}
        done = {ack["id"]: ack["did"] for ack in acknowledged}
        assert len(done) > 20
        for ack in acknowledged:
            match ack["did"]:
                case "accepted":
                    assert ack["id"] in turns
                case "finished":
                    assert turns[ack["id"]].answers[0].text == ack["answer"]
                case "departed":
                    assert state.ledger_entry(ack["id"]).body == ack["body"].encode()
                case "queued":
                    assert ack["id"] in jobs
                case "mapped":
                    assert ack["value"] in [entry.value for entry in state.load(ack["id"])]
        # Nothing is left half done: what was under way says so.
        finished = {ack["id"] for ack in acknowledged if ack["did"] == "finished"}
        assert {turn.status for turn in turns.values()} <= {"done", "interrupted"}
        assert all(turns[turn_id].status == "done" for turn_id in finished)
        assert all(job.status in {"queued", "done"} for job in jobs.values())
        assert state.verify_ledger() >= sum(ack["did"] == "departed" for ack in acknowledged)
        seqs = [seq for (seq,) in state._log._db.execute("SELECT seq FROM events ORDER BY id")]
        assert seqs == list(range(1, len(seqs) + 1))
