"""A process that writes to a home as a daemon does, and says on stdout what it was told is done."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import Departure, Escalation
from cloud_bridge.protocol.masked import Masked
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State


def say(did: str, id_: str, **more: str) -> None:
    sys.stdout.write(json.dumps({"did": did, "id": id_, **more}) + "\n")
    sys.stdout.flush()


def write_turn(state: State, number: int) -> None:
    session_id = f"s{number % 5}"
    part = {"type": "text", "text": f"question {number}"}
    request_id = state.accept_request(session_id, {"messages": [{"role": "user", "name": None, "parts": [part]}]})
    say("accepted", request_id)
    value = f"value {number} of {request_id}"
    state.add(session_id, [StoredMapping(f"<PERSON_{number}>", "PERSON", value)])
    say("mapped", session_id, value=value)
    body = f"body {number}"
    say("departed", state.record_departure(session_id, None, Departure("p", "http://p", body.encode())), body=body)
    masked = Masked(Conversation((Message("user", (Text("<PERSON_1>"),)),)), {"PERSON": 1})
    job = state.enqueue(
        Escalation(masked, f"key-{request_id}", session_id, ""), "cloud_unreachable", request_id=request_id
    )
    say("queued", job.id)
    report = {"decision_id": state.new_id(), "session_id": session_id, "route": "local", "provisional": True}
    state.finish_request(request_id, f"answer {number}", report)
    say("finished", request_id, answer=f"answer {number}")
    claimed = state.claim_next(time.time())
    if claimed is not None and number % 3:
        state.finish_job(claimed.id, "late answer")


def main(home: Path) -> None:
    with State.open(home / "state.db", HomeKey(home).open(), owner=True) as state:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        number = 0
        while True:
            write_turn(state, number)
            number += 1


main(Path(sys.argv[1]))
