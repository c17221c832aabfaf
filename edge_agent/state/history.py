"""Where a request stands in its session, told from keyed fingerprints, so that only what is new is stored.

A client sends its whole history each time. The longest prefix of it that ends in an answer of ours says which
answer the request continues: the newest one, or an earlier one (a branch), or none (a new beginning).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.state.event import canonical
from edge_agent.state.keys import SessionKey
from edge_agent.state.log import Reader

Message = Mapping[str, Any]
"""A message as `cloud_bridge.protocol.envelope.conversation_to_json` spells it."""

_NOTHING = b""
_LOOK_BACK = 64  # answers; a history in which the last 64 are all unknown is not ours


@dataclass(frozen=True, slots=True)
class Place:
    """The answer that a request continues, what it adds, and the fingerprint of the whole."""

    parent: str | None
    added: tuple[Message, ...]
    mac: str


def place(tx: Reader, session_id: str, key: SessionKey, messages: Sequence[Message]) -> Place:
    """Find where `messages` continue the session. System messages count as new each time: they are instructions."""
    instructions = [message for message in messages if message["role"] == "system"]
    said = [message for message in messages if message["role"] != "system"]
    marks = [_NOTHING]
    for message in said:
        marks.append(_mark(key, marks[-1], message))
    ends = [count for count in range(len(said), 0, -1) if said[count - 1]["role"] == "assistant"]
    for count in ends[:_LOOK_BACK]:
        known = tx.row(
            "SELECT id FROM answers WHERE session_id = ? AND mac = ? ORDER BY id DESC LIMIT 1",
            *(session_id, marks[count].hex()),
        )
        if known is not None:
            return Place(known["id"], (*instructions, *said[count:]), marks[-1].hex())
    return Place(None, (*instructions, *said), marks[-1].hex())


def continued(key: SessionKey, mac: str, message: Message) -> str:
    """The fingerprint of a conversation with fingerprint `mac`, once `message` is added."""
    return _mark(key, bytes.fromhex(mac), message).hex()


def walk(tx: Reader, session_id: str) -> list[Message]:
    """The session's current line of messages, oldest first, with the newest answer of each turn on it."""
    turn = tx.row("SELECT id, parent FROM turns WHERE session_id = ? ORDER BY id DESC LIMIT 1", session_id)
    line: list[list[Message]] = []
    answer_id = _newest_answer(tx, turn["id"]) if turn else None
    while turn is not None:
        request = tx.document(turn["id"]) or {"conversation": {"messages": []}}
        answer = tx.document(answer_id) if answer_id else None
        added = [message for message in request["conversation"]["messages"] if message["role"] != "system" or not line]
        line.append([*added, *([answer["message"]] if answer else [])])
        answer_id = turn["parent"]
        turn = tx.row(
            "SELECT turns.id, turns.parent FROM turns JOIN answers ON answers.turn_id = turns.id WHERE answers.id = ?",
            *(answer_id,),
        )
    messages = [message for part in reversed(line) for message in part]
    return sorted(messages, key=lambda message: message["role"] != "system")


def _newest_answer(tx: Reader, turn_id: str) -> str | None:
    row = tx.row("SELECT id FROM answers WHERE turn_id = ? ORDER BY provisional, id DESC LIMIT 1", turn_id)
    return None if row is None else str(row["id"])


def _mark(key: SessionKey, before: bytes, message: Message) -> bytes:
    # Clients trim white space and drop names when they send an answer back.
    parts = [
        {name: value.strip() if isinstance(value, str) else value for name, value in part.items()}
        for part in message["parts"]
    ]
    return key.mac(before + canonical([message["role"], parts]).encode())
