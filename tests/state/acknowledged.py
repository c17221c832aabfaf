"""What `writer.py` was told is done, held against the state that is found after its end, however it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from edge_agent.state.state import State

Said = Mapping[str, str]
BEGUN = "forgetting"
VIEWS = ("sessions", "turns", "answers", "decisions", "jobs", "ledger")


def read(output: bytes) -> list[Said]:
    """The lines that it said, without the first ("ready") and a last one that is cut."""
    return [json.loads(line) for line in output.split(b"\n")[:-1] if line != b"ready"]


def check(state: State, said: Sequence[Said]) -> None:
    """All that was said holds, and nothing is half done. `state` is open as its home's owner."""
    with state.log.reading() as tx:
        assert tx.db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert tx.db.execute("PRAGMA foreign_key_check").fetchall() == []
        seqs = [seq for (seq,) in tx.db.execute("SELECT seq FROM events ORDER BY id")]
    assert seqs == list(range(1, len(seqs) + 1))
    departures = {ack["id"]: ack["body"].encode() for ack in said if ack["did"] == "departed"}
    assert len(departures) <= state.verify_ledger() <= len(departures) + _lives(said)
    if departures:
        assert {entry.signed_by for entry in state.ledger()} == {state.ledger_head().public_key}
    forgotten = _forgotten(state, said)
    turns = {turn.id: turn for session in state.sessions() for turn in state.session(session.id).turns}
    jobs = {job.id: job for job in state.jobs()}
    for index, ack in enumerate(said):
        if index < forgotten.get(ack["session"], 0):
            _check_forgotten(state, ack, jobs)
        else:
            _check_kept(state, ack, turns, jobs)
    # Nothing is left half done: what was under way says so.
    assert {turn.status for turn in turns.values()} <= {"done", "interrupted"}
    assert {job.status for job in jobs.values()} <= {"queued", "done", "dropped"}
    before = views(state)
    state.rebuild()
    assert views(state) == before


def check_traces(folder: Path, said: Sequence[Said]) -> None:
    """No key of what was forgotten is in any file of the home."""
    content = b"".join(path.read_bytes() for path in folder.glob("state.db*") if not path.name.endswith("-shm"))
    for ack in said:
        if ack["did"] == "forgotten" and ack["wrapped"]:
            assert bytes.fromhex(ack["wrapped"]) not in content


def views(state: State) -> dict[str, list[Any]]:
    """Every row of every view."""
    with state.log.reading() as tx:
        return {name: tx.db.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in VIEWS}  # noqa: S608 - constants


def _lives(said: Sequence[Said]) -> int:
    """How many departures may be on record that nobody was told of: the one under way at each end."""
    return 1 + sum(ack["did"] == "accepted" for ack in said)


def _forgotten(state: State, said: Sequence[Said]) -> dict[str, int]:
    """Up to which line each session is forgotten. A forgetting that was under way at an end may be done or not."""
    until: dict[str, int] = {}
    for session_id in {ack["session"] for ack in said}:
        found = [event.id for event in state.events(session_id) if event.kind == "session.forgotten"]
        begun = [(n, ack["id"]) for n, ack in enumerate(said) if (ack["did"], ack["session"]) == (BEGUN, session_id)]
        for (index, after), (_, before) in pairwise([*begun, (0, "~")]):
            is_done = any(after < event_id < before for event_id in found)
            was_told = index + 1 < len(said) and said[index + 1]["did"] == "forgotten"
            assert is_done or not was_told
            if is_done:
                until[session_id] = index + 1
    return until


def _check_kept(state: State, ack: Said, turns: Mapping[str, Any], jobs: Mapping[str, Any]) -> None:
    match ack["did"]:
        case "accepted":
            assert ack["id"] in turns
        case "finished":
            assert turns[ack["id"]].status == "done"
            assert turns[ack["id"]].answers[0].text == ack["answer"]
        case "departed":
            assert state.ledger_entry(ack["id"]).body == ack["body"].encode()
        case "queued":
            assert ack["id"] in jobs
        case "claimed":
            # A call may have been in flight: it is done, or the record says that it is made again.
            assert jobs[ack["id"]].status == "done" or jobs[ack["id"]].repeated
        case "answered":
            assert jobs[ack["id"]].status == "done"
            assert jobs[ack["id"]].answer == ack["answer"]
        case "mapped":
            assert ack["value"] in [entry.value for entry in state.load(ack["id"])]


def _check_forgotten(state: State, ack: Said, jobs: Mapping[str, Any]) -> None:
    """That bytes left, and that there was a job, stays on record; its text does not."""
    match ack["did"]:
        case "departed":
            assert state.ledger_entry(ack["id"]).body is None
        case "queued":
            assert jobs[ack["id"]].status in {"done", "dropped"}
            assert jobs[ack["id"]].answer is None
        case "mapped":
            assert ack["value"] not in [entry.value for entry in state.load(ack["id"])]
