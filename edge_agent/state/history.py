"""Where a request stands in its session, told from keyed fingerprints, so that only what is new is stored.

A client sends its history each time. The longest prefix of it that ends in an answer of ours says which answer the
request continues: the newest one, or an earlier one (a branch), or none (a new beginning). A history that was cut at
the front has no such prefix: there the answer and the message before it say so, the newest of those alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edge_agent.state.event import canonical
from edge_agent.state.keys import SessionKey
from edge_agent.state.log import Reader

Message = Mapping[str, Any]
"""A message as `cloud_bridge.protocol.envelope.conversation_to_json` spells it."""

TURNS = 16
"""How many turns of a session are opened at once, unless more are asked for."""

MAX_CHARACTERS = 16_000
"""Of what a next request carries: about half of what a local model reads at most (8192 tokens)."""

_LOOK_BACK = 64  # answers; a history in which the last 64 are all unknown is not ours
_RANDOM_PART = slice(13, None)  # of a ULID


@dataclass(frozen=True, slots=True)
class Place:
    """The answer that a request continues, and what it adds.

    `mac` is the fingerprint of the whole conversation up to here, `asked` that of its last message.
    """

    parent: str | None
    added: tuple[Message, ...]
    mac: str
    asked: str

    @property
    def meta(self) -> dict[str, str]:
        """The fingerprints, as `request.accepted` keeps them."""
        return {"mac": self.mac, "asked": self.asked}


def of_answer(key: SessionKey, request: Mapping[str, Any], message: Message) -> dict[str, str]:
    """The fingerprints that an answer keeps: of all up to it, and of it and what it answers. `request`: its `meta`."""
    marks = {"mac": continued(key, request["mac"], message)}
    if "asked" in request:  # a request from before there were these has none
        marks["tail"] = continued(key, request["asked"], message)
    return marks


def place(tx: Reader, session_id: str, key: SessionKey, messages: Sequence[Message]) -> Place:
    """Find where `messages` continue the session. System messages count as new each time: they are instructions."""
    instructions = [message for message in messages if message["role"] == "system"]
    said = [message for message in messages if message["role"] != "system"]
    asked = continued(key, "", said[-1]) if said else ""
    marks = [""]
    for message in said:
        marks.append(continued(key, marks[-1], message))
    ends = [count for count in range(len(said), 0, -1) if said[count - 1]["role"] == "assistant"][:_LOOK_BACK]
    whole = _newest(tx, session_id, "mac", [marks[count] for count in ends])
    if whole is not None:
        return Place(whole[1], (*instructions, *said[ends[whole[0]] :]), marks[-1], asked)
    cut = _newest(tx, session_id, "tail", [_tail(key, said, count) for count in ends])
    if cut is not None:
        number, answer_id, mac = cut
        added = said[ends[number] :]
        for message in added:
            mac = continued(key, mac, message)
        return Place(answer_id, (*instructions, *added), mac, asked)
    return Place(None, (*instructions, *said), marks[-1], asked)


def continued(key: SessionKey, mac: str, message: Message) -> str:
    """The fingerprint of a conversation of fingerprint `mac` ("": none yet) with one more message."""
    # Clients trim white space and drop names when they send an answer back.
    parts = [
        {name: value.strip() if isinstance(value, str) else value for name, value in part.items()}
        for part in message["parts"]
    ]
    return key.mac(bytes.fromhex(mac) + canonical([message["role"], parts]).encode()).hex()


@dataclass(frozen=True, slots=True)
class Step:
    """A turn of the line that goes on, and the answer to it that the line goes through, if there is one."""

    turn_id: str
    answer_id: str | None


def tip(tx: Reader, session_id: str) -> Step | None:
    """Where the session goes on: at its newest turn, or at the answer that a person chose after that."""
    newest = tx.row("SELECT id FROM turns WHERE session_id = ? ORDER BY id DESC LIMIT 1", session_id)
    chosen = tx.row(
        # Of another device the choice may come before what it chooses: until then there is none.
        "SELECT choices.id, answers.id AS answer_id, turn_id FROM choices JOIN answers ON answers.id = answer_id"
        " WHERE choices.session_id = ?",
        session_id,
    )
    if chosen is not None and (newest is None or chosen["id"] > newest["id"]):
        return Step(chosen["turn_id"], chosen["answer_id"])
    if newest is None:
        return None
    answer = tx.row("SELECT id FROM answers WHERE turn_id = ? ORDER BY provisional, id DESC LIMIT 1", newest["id"])
    return Step(newest["id"], None if answer is None else answer["id"])


def walk(tx: Reader, session_id: str, turns: int | None = TURNS) -> list[Message]:
    """What a next request carries: the newest turns of the line that goes on, oldest first, instructions before all.

    All of them where they are at most `turns` (None: however many) and `MAX_CHARACTERS`; else between half and the
    whole of that.
    """
    steps = _line(tx, session_id, turns)
    documents = tx.documents([name for step in steps for name in (step.turn_id, step.answer_id) if name])
    said = [_said(step, documents, is_newest=number == 0) for number, step in enumerate(steps)]
    carried = said[: _window(steps, said, turns)]
    messages = [message for part in reversed(carried) for message in part]
    return sorted(messages, key=lambda message: message["role"] != "system")


def _said(step: Step, documents: Mapping[str, Mapping[str, Any]], *, is_newest: bool) -> list[Message]:
    request, answer = documents.get(step.turn_id), documents.get(step.answer_id or "")
    added = [] if request is None else request["conversation"]["messages"]
    kept = [message for message in added if is_newest or message["role"] != "system"]
    return [*kept, *([] if answer is None else [answer["message"]])]


def _line(tx: Reader, session_id: str, turns: int | None) -> list[Step]:
    """The line that goes on, the newest turn first; one more than `turns`, where there are more."""
    newest = tip(tx, session_id)
    if newest is None:
        return []
    found = tx.rows(
        "WITH RECURSIVE line (turn_id, answer_id, parent, number) AS ("
        " SELECT id, ?, parent, 0 FROM turns WHERE id = ?"
        " UNION ALL SELECT turns.id, answers.id, turns.parent, number + 1 FROM line"
        " JOIN answers ON answers.id = line.parent JOIN turns ON turns.id = answers.turn_id"
        # Whatever another device says of parents: a line ends.
        " WHERE turns.id < line.turn_id AND number < ?) SELECT turn_id, answer_id FROM line ORDER BY number",
        *(newest.answer_id, newest.turn_id, 1 << 62 if turns is None else turns),
    )
    return [Step(row["turn_id"], row["answer_id"]) for row in found]


def _window(steps: Sequence[Step], said: Sequence[Sequence[Message]], turns: int | None) -> int:
    """How many of the newest turns are carried.

    A window that moved with each turn would change what every request begins with, and no prompt cache would ever be
    used. So it begins at the turn with the smallest random number among those where it may: that one stays the same
    until it is too long ago (the minimum of a sliding window, Schleimer et al., "Winnowing", SIGMOD 2003).
    """
    most = len(steps) if turns is None else turns
    sizes = [sum(len(text) for message in part for text in _texts(message)) for part in said]
    whole = _fitting(sizes, most, MAX_CHARACTERS)
    if whole == len(steps):
        return whole
    half = _fitting(sizes, max(1, most // 2), MAX_CHARACTERS // 2)
    return min(range(half, whole + 1), key=lambda count: steps[count - 1].turn_id[_RANDOM_PART])


def _fitting(sizes: Sequence[int], turns: int, characters: int) -> int:
    """How many of the newest turns fit; the newest always does."""
    total = 0
    for number, size in enumerate(sizes):
        total += size
        if number and (number >= turns or total > characters):
            return number
    return len(sizes)


def _texts(message: Message) -> list[str]:
    return [value for part in message["parts"] for value in part.values() if isinstance(value, str)]


def _tail(key: SessionKey, said: Sequence[Message], count: int) -> str:
    """The fingerprint of the answer that ends the first `count` messages, and of the message before it."""
    before = continued(key, "", said[count - 2]) if count > 1 else ""
    return continued(key, before, said[count - 1])


def _newest(
    tx: Reader, session_id: str, column: Literal["mac", "tail"], marks: Sequence[str]
) -> tuple[int, str, str] | None:
    """The first of `marks` that an answer has: which one, the id of the newest such answer, and its `mac`."""
    if not marks:
        return None
    row = tx.row(
        f"SELECT given.key AS number, answers.id, mac FROM json_each(?) AS given JOIN answers ON answers.id ="  # noqa: S608 - constants
        f" (SELECT id FROM answers WHERE session_id = ? AND {column} = given.value ORDER BY id DESC LIMIT 1)"
        " ORDER BY given.key LIMIT 1",
        *(json.dumps(marks), session_id),
    )
    return None if row is None else (row["number"], row["id"], row["mac"])
