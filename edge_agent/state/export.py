"""A session as text to take away: JSON Lines for programs, Markdown for people. In the clear, as it was said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from shlex import quote
from typing import Literal

from edge_agent.state.history import Message
from edge_agent.state.log import Log
from edge_agent.state.session_view import AnswerView, SessionView, TurnView, turns_from_the_first, view

Format = Literal["jsonl", "markdown"]


def export(log: Log, session_id: str, form: Format) -> Iterator[str]:
    """The whole session in pieces that each end in a newline, some turns in memory at a time. Raises as `view`."""
    session = view(log, session_id, limit=0)
    turns = turns_from_the_first(log, session_id)
    return _jsonl(session, turns) if form == "jsonl" else _markdown(session, turns)


def shown(session: SessionView) -> Iterator[str]:
    """Some turns of a session as Markdown, with the ids that a person needs to choose among answers."""
    branches = [turn for turn in session.turns if turn.branch or len(turn.answers) > 1]
    name = quote(session.id)
    if session.more:
        yield f"Turns before these: edge-agent sessions show {name} --before {session.turns[0].id}\n\n"
    yield from _markdown(session, iter(session.turns), with_ids=bool(branches))
    if branches:
        yield (
            f"\nThe next request continues {session.continues or 'the newest turn'}. Another answer to go on from:"
            f" edge-agent sessions choose {name} ANSWER_ID\n"
        )


def _jsonl(session: SessionView, turns: Iterator[TurnView]) -> Iterator[str]:
    document = session.to_json()
    del document["turns"], document["more"]
    yield json.dumps({"record": "session", **document}, ensure_ascii=False) + "\n"
    for turn in turns:
        yield json.dumps({"record": "turn", "session_id": session.id, **turn.to_json()}, ensure_ascii=False) + "\n"


def _markdown(session: SessionView, turns: Iterator[TurnView], *, with_ids: bool = False) -> Iterator[str]:
    yield f"# Session {session.id}\n\nStarted {session.started_at}, last changed {session.updated_at}.\n"
    for turn in turns:
        yield f"\n## {turn.at}{_marks(turn)}\n"
        for message in turn.messages:
            yield f"\n**{message['role']}:**\n\n{_prose(message)}\n"
        for answer in turn.answers:
            yield f"\n**assistant{_kind(answer, with_id=with_ids)}:**\n\n{_prose(answer.message)}\n"


def _kind(answer: AnswerView, *, with_id: bool) -> str:
    marks = [
        *(["provisional"] if answer.provisional else []),
        *([f"revision, {answer.at}"] if answer.revises and not answer.provisional else []),
        *(["chosen"] if answer.chosen else []),
        *([answer.id] if with_id else []),
    ]
    return f" ({', '.join(marks)})" if marks else ""


def _marks(turn: TurnView) -> str:
    branch = f", branch {turn.branch}" if turn.branch else ""
    status = "" if turn.status == "done" else f", {turn.status}"
    return f"{branch}{status}"


def _prose(message: Message) -> str:
    return "\n\n".join(
        part["text"] if part["type"] == "text" else f"```json\n{json.dumps(part, ensure_ascii=False, indent=2)}\n```"
        for part in message["parts"]
    )
