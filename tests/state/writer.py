"""A process that writes to a home as a daemon does, and says on stdout what it was told is done.

python writer.py HOME [TURNS]      without TURNS: until it is killed
"""

from __future__ import annotations

import json
import sys
import time
from itertools import count
from pathlib import Path

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import Departure, Escalation
from cloud_bridge.protocol.masked import Masked
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State

SESSIONS = 5
FORGETS_EVERY = 9


def say(did: str, id_: str, session_id: str, **more: str) -> None:
    sys.stdout.write(json.dumps({"did": did, "id": id_, "session": session_id, **more}) + "\n")
    sys.stdout.flush()


def write_turn(state: State, number: int) -> None:
    session_id = f"s{number % SESSIONS}"
    part = {"type": "text", "text": f"question {number}"}
    request_id = state.accept_request(session_id, {"messages": [{"role": "user", "name": None, "parts": [part]}]})
    say("accepted", request_id, session_id)
    value = f"value {number} of {request_id}"
    state.add(session_id, [StoredMapping(f"<PERSON_{number}>", "PERSON", value)])
    say("mapped", session_id, session_id, value=value)
    body = f"body {number}"
    entry_id = state.record_departure(session_id, None, Departure("p", "http://p", body.encode()))
    say("departed", entry_id, session_id, body=body)
    masked = Masked(Conversation((Message("user", (Text("<PERSON_1>"),)),)), {"PERSON": 1})
    job = state.enqueue(
        Escalation(masked, f"key-{request_id}", session_id, ""), "cloud_unreachable", request_id=request_id
    )
    say("queued", job.id, session_id)
    report = {"decision_id": state.new_id(), "session_id": session_id, "route": "local", "provisional": True}
    state.finish_request(request_id, f"answer {number}", report)
    say("finished", request_id, session_id, answer=f"answer {number}")
    claimed = state.claim_next(time.time())
    if claimed is not None:
        say("claimed", claimed.id, claimed.session_id)
        if number % 3:
            state.finish_job(claimed.id, f"late answer {number}")
            say("answered", claimed.id, claimed.session_id, answer=f"late answer {number}")
    if number % FORGETS_EVERY == FORGETS_EVERY - 1:
        forget(state, session_id)


def forget(state: State, session_id: str) -> None:
    """Forget the session, telling the key that must be nowhere afterwards."""
    with state.log.reading() as tx:
        key = tx.key_row(session_id)
    wrapped = "" if key is None else key[1].hex()
    say("forgetting", state.new_id(), session_id)
    state.forget(session_id)
    say("forgotten", session_id, session_id, wrapped=wrapped)


def main(home: Path, turns: int | None) -> None:
    with State.open(home / "state.db", HomeKey(home).open(), owner=True) as state:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for number in count() if turns is None else range(turns):
            write_turn(state, number)


main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
