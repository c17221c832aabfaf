"""Recording a turn durably."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import conversation_to_json
from cloud_bridge.protocol.report import Report
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from tests.benchmarks.figure import Figure, compared, milliseconds


def measure(models: Path, scratch: Path) -> list[Figure]:
    """A turn (two encrypted, durable commits) against two bare inserts with the same durability."""
    conversation = conversation_to_json(Conversation((Message("user", (Text("How do I report a lost card?"),)),)))
    bare = sqlite3.connect(scratch / "bare.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE turns (body TEXT)"):
        bare.execute(statement)
    with State.open(scratch / "state.db", HomeKey(scratch).open()) as state:

        def ours(number: int) -> None:
            request = state.accept_request(f"session-{number % 10}", conversation)
            report = Report(state.new_id(), f"session-{number % 10}", "0" * 32, "local")
            state.finish_request(request, "Call the number on the back of the card.", report)

        def theirs(_: int) -> None:
            bare.execute("INSERT INTO turns VALUES (?)", ("x" * 600,))
            bare.execute("INSERT INTO turns VALUES (?)", ("x" * 600,))

        figure = compared(
            "recording a local turn",
            milliseconds(ours, times=200),
            milliseconds(theirs, times=200),
            "two bare sqlite3 inserts",
            "ms",
        )
    bare.close()
    return [figure]
