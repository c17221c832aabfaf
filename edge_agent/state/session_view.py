"""One session as a person sees it, page by page: however long it is, a page costs the same."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_bridge.protocol.problems import NotFound
from edge_agent.state import history
from edge_agent.state.history import Message
from edge_agent.state.log import Log, Reader
from edge_agent.state.times import iso
from edge_agent.state.turns import text_of

PAGE_TURNS = 200
"""How many turns are held in memory at a time where all are wanted."""

MAX_BRANCH = 99
"""No branch has a higher number: so many are not counted each time."""


@dataclass(frozen=True, slots=True)
class AnswerView:
    """One answer of a turn. `revises` is the provisional answer that it came later to replace; both stay.

    `chosen`: a person said that the session goes on from it.
    """

    id: str
    at: str
    text: str
    provisional: bool
    revises: str | None
    decision_id: str | None
    message: Message
    chosen: bool

    def to_json(self) -> dict[str, Any]:
        """As a door shows it."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class TurnView:
    """A request and its answers. `messages` is what it added to the answer `parent`.

    `status` is open, done, queued, refused, failed or interrupted. `branch` numbers the turns that continue
    the same turn (or ask the same first question again), from 0 to `MAX_BRANCH`.
    """

    id: str
    at: str
    parent: str | None
    branch: int
    status: str
    code: str | None
    messages: Sequence[Message]
    answers: Sequence[AnswerView]

    def to_json(self) -> dict[str, Any]:
        """As a door shows it."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        return {**shown, "answers": [answer.to_json() for answer in self.answers]}


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session and some of its turns, in the order in which they were asked. `more`: there are turns before these.

    `continues` is the answer that the next request continues, None where its turn has none.
    """

    id: str
    started_at: str
    updated_at: str
    continues: str | None
    more: bool
    turns: Sequence[TurnView]

    def to_json(self) -> dict[str, Any]:
        """As a door shows it."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        return {**shown, "turns": [turn.to_json() for turn in self.turns]}


def view(log: Log, session_id: str, limit: int | None = None, before: str | None = None) -> SessionView:
    """The newest `limit` turns of the session, all with None; `before`: of those before the turn of that id.

    Raises NotFound for what is not there, saying so where the session was forgotten.
    """
    with log.reading() as tx:
        session = require_session(tx, session_id)
        if before is not None:
            _require_turn(tx, session_id, before)
        rows = list(
            tx.rows(
                _TURNS + " AND turns.id < ? ORDER BY turns.id DESC LIMIT ?",
                *(session_id, before or "~", -1 if limit is None else limit + 1),
            )
        )
        shown = rows if limit is None else rows[:limit]
        newest = history.tip(tx, session_id)
        return SessionView(
            id=session_id,
            started_at=iso(session["started_ms"]),
            updated_at=iso(session["updated_ms"]),
            continues=None if newest is None else newest.answer_id,
            more=len(shown) < len(rows),
            turns=_turns(tx, session_id, shown[::-1]),
        )


def turns_from_the_first(log: Log, session_id: str) -> Iterator[TurnView]:
    """All turns of the session, some of them in memory at a time. Raises NotFound also when it is forgotten meanwhile.

    Turns that come while these are read come last.
    """
    after = ""
    while True:
        with log.reading() as tx:
            require_session(tx, session_id)
            rows = list(
                tx.rows(_TURNS + " AND turns.id > ? ORDER BY turns.id LIMIT ?", *(session_id, after, PAGE_TURNS))
            )
            page = _turns(tx, session_id, rows)
        yield from page
        if len(page) < PAGE_TURNS:
            return
        after = page[-1].id


def require_session(tx: Reader, session_id: str) -> Mapping[str, Any]:
    """The session's row. Raises NotFound, saying so where it was forgotten."""
    row = tx.row("SELECT * FROM sessions WHERE id = ?", session_id)
    if row is not None:
        return dict(row)
    if tx.row("SELECT 1 FROM events WHERE session_id = ? AND kind = 'session.forgotten' LIMIT 1", session_id):
        raise NotFound("That session was forgotten.", code="session_forgotten", hint="It cannot be brought back.")
    raise NotFound("There is no such session.", code="unknown_session", hint="'edge-agent sessions list' lists them.")


_TURNS = f"""
    SELECT turns.*, events.at_ms, CASE
        WHEN answered.turn_id IS NULL THEN (SELECT count(*) FROM (SELECT 1 FROM turns AS other
            WHERE other.session_id = turns.session_id AND other.mac = turns.mac AND other.parent IS NULL
            AND other.id < turns.id LIMIT {MAX_BRANCH}))
        ELSE (SELECT count(*) FROM (SELECT 1 FROM answers AS sibling CROSS JOIN turns AS other
            ON other.parent = sibling.id WHERE sibling.turn_id = answered.turn_id
            AND other.id < turns.id LIMIT {MAX_BRANCH}))
    END AS branch
    FROM turns JOIN events USING (id) LEFT JOIN answers AS answered ON answered.id = turns.parent
    WHERE turns.session_id = ?
"""  # noqa: S608 - constants


def _turns(tx: Reader, session_id: str, rows: Sequence[sqlite3.Row]) -> list[TurnView]:
    answers: dict[str, list[sqlite3.Row]] = {row["id"]: [] for row in rows}
    for answer in tx.rows(
        "SELECT answers.*, at_ms FROM json_each(?) AS turn CROSS JOIN answers ON turn_id = turn.value"
        " JOIN events ON events.id = answers.id ORDER BY answers.id",
        json.dumps(list(answers)),
    ):
        answers[answer["turn_id"]].append(answer)
    documents = tx.documents([*answers, *(row["id"] for found in answers.values() for row in found)])
    chosen = tx.row("SELECT answer_id FROM choices WHERE session_id = ?", session_id)
    chosen_id = None if chosen is None else chosen["answer_id"]
    return [
        TurnView(
            id=row["id"],
            at=iso(row["at_ms"]),
            parent=row["parent"],
            branch=row["branch"],
            status=row["status"],
            code=row["code"],
            messages=documents[row["id"]]["conversation"]["messages"],
            answers=tuple(_answer(each, documents[each["id"]]["message"], chosen_id) for each in answers[row["id"]]),
        )
        for row in rows
    ]


def _answer(row: sqlite3.Row, message: Message, chosen_id: str | None) -> AnswerView:
    return AnswerView(
        id=row["id"],
        at=iso(row["at_ms"]),
        text=text_of(message),
        provisional=bool(row["provisional"]),
        revises=row["revises"],
        decision_id=row["decision_id"],
        message=message,
        chosen=row["id"] == chosen_id,
    )


def _require_turn(tx: Reader, session_id: str, turn_id: str) -> None:
    if tx.row("SELECT 1 FROM turns WHERE id = ? AND session_id = ?", turn_id, session_id) is None:
        raise NotFound(
            "There is no such turn in that session.",
            code="unknown_turn",
            hint="Ask for what comes before with the id of the first turn that you were given.",
            param="before",
        )
