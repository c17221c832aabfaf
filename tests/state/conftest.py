"""A home on a real disk, states open on it, and what goes into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import Escalation
from cloud_bridge.protocol.masked import Masked
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State

OpenState = Callable[..., State]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def open_at(home: Path) -> Iterator[OpenState]:
    """Open the home's state as often as wanted, as separate processes would."""
    opened: list[State] = []

    def open_state(**options: Any) -> State:
        state = State.open(home / "state.db", HomeKey(home).open(), **options)
        opened.append(state)
        return state

    yield open_state
    for state in opened:
        state.close()


@pytest.fixture
def state(open_at: OpenState) -> State:
    return open_at()


@pytest.fixture
def talk() -> Callable[..., dict[str, Any]]:
    """A conversation's JSON of alternating user and assistant texts."""

    def conversation(*texts: str, system: str | None = None) -> dict[str, Any]:
        messages = [] if system is None else [_message("system", system)]
        messages += [_message("assistant" if index % 2 else "user", text) for index, text in enumerate(texts)]
        return {"messages": messages, "tools": []}

    return conversation


@pytest.fixture
def report(state: State) -> Callable[..., dict[str, Any]]:
    def make(session_id: str = "s", route: str = "local", **fields: Any) -> dict[str, Any]:
        return {"decision_id": state.new_id(), "session_id": session_id, "route": route, "cost_usd": 0.0, **fields}

    return make


@pytest.fixture
def escalation() -> Callable[..., Escalation]:
    def make(key: str, session_id: str = "s", text: str = "Write to <PERSON_1>.") -> Escalation:
        masked = Masked(Conversation((Message("user", (Text(text),)),)), {"PERSON": 1})
        return Escalation(masked, key, session_id, "00-" + "1" * 32 + "-" + "2" * 16 + "-01")

    return make


@pytest.fixture
def tables() -> Callable[[State], dict[str, list[Any]]]:
    """Every row of every view."""

    def rows(state: State) -> dict[str, list[Any]]:
        with state._log.reading() as tx:
            return {
                name: tx.db.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()  # noqa: S608 - constants
                for name in ("sessions", "turns", "answers", "decisions", "jobs", "ledger")
            }

    return rows


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "name": None, "parts": [{"type": "text", "text": text}]}
