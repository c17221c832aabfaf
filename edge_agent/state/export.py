"""A session as text to take away: JSON Lines for programs, Markdown for people. In the clear, as it was said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

from edge_agent.state.history import Message
from edge_agent.state.sessions import SessionView, TurnView

Format = Literal["jsonl", "markdown"]


def export(session: SessionView, form: Format) -> str:
    """The whole session; ends in a newline."""
    lines = _jsonl(session) if form == "jsonl" else _markdown(session)
    return "\n".join(lines) + "\n"


def _jsonl(session: SessionView) -> Iterator[str]:
    document = session.to_json()
    turns = document.pop("turns")
    yield json.dumps({"record": "session", **document}, ensure_ascii=False)
    for turn in turns:
        yield json.dumps({"record": "turn", "session_id": session.id, **turn}, ensure_ascii=False)


def _markdown(session: SessionView) -> Iterator[str]:
    yield f"# Session {session.id}"
    yield f"\nStarted {session.started_at}, last changed {session.updated_at}."
    for turn in session.turns:
        yield f"\n## {turn.at}{_marks(turn)}"
        for message in turn.messages:
            yield f"\n**{message['role']}:**\n\n{_prose(message)}"
        for answer in turn.answers:
            mark = " (provisional)" if answer.provisional else f" (revision, {answer.at})" if answer.revises else ""
            yield f"\n**assistant{mark}:**\n\n{_prose(answer.message)}"


def _marks(turn: TurnView) -> str:
    branch = f", branch {turn.branch}" if turn.branch else ""
    status = "" if turn.status == "done" else f", {turn.status}"
    return f"{branch}{status}"


def _prose(message: Message) -> str:
    return "\n\n".join(
        part["text"] if part["type"] == "text" else f"```json\n{json.dumps(part, ensure_ascii=False, indent=2)}\n```"
        for part in message["parts"]
    )
