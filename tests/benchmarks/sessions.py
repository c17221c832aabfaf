"""A long session beside a short one: opened, and gone on with, by a client that sends its newest messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent.state.history import TURNS
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from tests.benchmarks.figure import Figure, alternating, compared

SHORT, LONG = 10, 10_000
ROUNDS = 100
WINDOW = 8
"""Messages that the client sends along."""


def measure(models: Path, scratch: Path) -> list[Figure]:
    """The newest page and what the next request carries; a request accepted and its answer recorded."""
    with State.open(scratch / "state.db", HomeKey(scratch).open()) as state:
        talks = {"short": Talk(state, "short"), "long": Talk(state, "long")}
        # Only the filling: what is measured is on disk when it returns, as ever.
        state.log._db.execute("PRAGMA synchronous = OFF")
        talks["short"].go_on(SHORT)
        talks["long"].go_on(LONG)
        state.log._db.execute("PRAGMA synchronous = FULL")
        opening = _compared("opening a session", {name: talk.open for name, talk in talks.items()})
        carried = _compared("what a next request carries", {name: talk.carry for name, talk in talks.items()})
        # Each round makes the short one longer; a fresh one each time would have its key made, too.
        adding = _compared("adding a turn", {name: talk.go_on for name, talk in talks.items()}, rounds=ROUNDS // 4)
    return [opening, carried, adding]


class Talk:
    """A session and the messages that its client still has."""

    def __init__(self, state: State, session_id: str) -> None:
        self._state = state
        self._id = session_id
        self._said: list[dict[str, Any]] = []
        self._turns = 0

    def go_on(self, turns: int = 1) -> None:
        """So many more turns."""
        for _ in range(turns):
            self._turns += 1
            sent = [*self._said[-WINDOW:], _message("user", f"Question {self._turns}: what about the weather there?")]
            request = self._state.accept_request(self._id, {"messages": sent, "tools": []})
            answer = f"Answer {self._turns}: rain for a good part of the day, then it clears up."
            report = {"decision_id": self._state.new_id(), "session_id": self._id, "route": "local"}
            self._state.finish_request(request, answer, report)
            self._said = [*sent, _message("assistant", answer)]

    def open(self) -> None:
        """As `GET /edge/v1/sessions/ID` does."""
        self._state.session(self._id, TURNS).to_json()

    def carry(self) -> None:
        """The history in that answer."""
        self._state.history(self._id)


def _compared(what: str, works: dict[str, Callable[[], None]], *, rounds: int = ROUNDS) -> Figure:
    found = alternating({name: lambda _, work=work: _taken_ms(work) for name, work in works.items()}, rounds=rounds)
    return compared(f"{what} of {LONG:,} turns", found["long"], found["short"], f"of {SHORT} turns", "ms")


def _taken_ms(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "name": None, "parts": [{"type": "text", "text": text}]}
