"""Recording a turn durably."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import Departure, Escalation, conversation_to_json
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.report import Report
from edge_agent.state.jobs import IN_FLIGHT
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from tests.benchmarks.figure import Figure, alternating, compared

ROUNDS = 200
BARE_BYTES = 600
"""Of one bare insert: about what an event with its body has."""

SAID = "How do I report a lost card for Anna Schmidt?"
MASKED = "How do I report a lost card for <PERSON_1>?"
ANSWER = "Call the number on the back of the card."


def measure(models: Path, scratch: Path) -> list[Figure]:
    """A turn (request, answer, decision; an escalated one: mapping, job and ledger, too), encrypted and durable.

    Beside as many bare inserts with the same durability as it takes commits, in turns with it.
    """
    bare = sqlite3.connect(scratch / "bare.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE turns (body TEXT)"):
        bare.execute(statement)
    with State.open(scratch / "state.db", HomeKey(scratch).open()) as state:
        figures = [
            _beside_bare(bare, "recording a local turn", _local(state), commits=2),
            _beside_bare(bare, "recording an escalated turn", _escalated(state), commits=5),
        ]
    bare.close()
    return figures


def _beside_bare(bare: sqlite3.Connection, what: str, ours: Callable[[int], None], *, commits: int) -> Figure:
    def theirs() -> None:
        for _ in range(commits):
            bare.execute("INSERT INTO turns VALUES (?)", ("x" * BARE_BYTES,))

    works = {"ours": lambda number: _taken_ms(lambda: ours(number)), "theirs": lambda _: _taken_ms(theirs)}
    found = alternating(works, rounds=ROUNDS)
    return compared(what, found["ours"], found["theirs"], f"{commits} bare sqlite3 inserts", "ms")


def _taken_ms(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _local(state: State) -> Callable[[int], None]:
    conversation = _conversation(SAID)

    def turn(number: int) -> None:
        session_id = f"local-{number % 10}"
        request = state.accept_request(session_id, conversation_to_json(conversation))
        state.finish_request(request, ANSWER, Report(state.new_id(), session_id, "0" * 32, "local"))

    return turn


def _escalated(state: State) -> Callable[[int], None]:
    conversation, masked = _conversation(SAID), Masked(_conversation(MASKED), {"PERSON": 1})
    departure = Departure("acme", "https://acme.example/v1/chat/completions", b'{"messages": []}'.ljust(BARE_BYTES))

    def turn(number: int) -> None:
        session_id = f"cloud-{number % 10}"
        request = state.accept_request(session_id, conversation_to_json(conversation))
        state.add(session_id, [StoredMapping(f"<PERSON_{number}>", "PERSON", f"Anna Schmidt {number}")])
        report = Report(state.new_id(), session_id, "0" * 32, "cloud")
        escalation = Escalation(masked, report.decision_id, session_id, "00-" + "1" * 32 + "-" + "2" * 16 + "-01")
        job = state.enqueue(escalation, IN_FLIGHT, request_id=request, decision_id=report.decision_id, sending=True)
        state.record_departure(session_id, report.decision_id, departure)
        state.finish_request(request, ANSWER, replace(report, cost_usd=0.001), job_id=job.id)

    return turn


def _conversation(text: str) -> Conversation:
    return Conversation((Message("user", (Text(text),)),))
