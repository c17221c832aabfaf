"""Clients that keep a daemon busy until it is gone, and remember what it told them."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import httpx

from cloud_bridge.protocol.problems import Problem
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from tests.daemon.running_daemon import RunningDaemon

PLANTED = "Rebecca Thornbury"
KINDS = ("local", "cloud", "cloud", "stream", "always", "leaves", "continue", "continue", "forget")


@dataclass(frozen=True, slots=True)
class Told:
    """What a client was told: an answer, a job, or both."""

    session_id: str
    text: str | None
    job_id: str | None


@dataclass
class Memory:
    """What all clients of all lives were told. `forgotten`: sessions; those of `forgetting` may be."""

    told: list[Told] = field(default_factory=list)
    forgetting: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: count(1))


class Crowd:
    """So many clients of one daemon's life. They leave when it does not answer any more."""

    def __init__(self, running: RunningDaemon, memory: Memory, random: Random, *, clients: int) -> None:
        self._url = running.url
        self._headers = {"Authorization": f"Bearer {running.token}"}
        self._home = running.home
        self._memory = memory
        self._threads = [
            threading.Thread(target=self._run, args=(Random(random.random()),))  # noqa: S311 - repeatable, not secret
            for _ in range(clients)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _run(self, random: Random) -> None:
        last: tuple[str, list[dict[str, str]]] | None = None
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=30, trust_env=False) as http:
            while True:
                kind = random.choice(KINDS)
                try:
                    if kind == "forget":
                        last = self._forget(last)
                        continue
                    session_id, before = last if kind == "continue" and last else (self._new_session(), [])
                    last = self._ask(http, kind, session_id, before, random)
                except (httpx.TransportError, json.JSONDecodeError):
                    return

    def _new_session(self) -> str:
        return f"session-{next(self._memory.numbers)}"

    def _ask(
        self, http: httpx.Client, kind: str, session_id: str, before: list[dict[str, str]], random: Random
    ) -> tuple[str, list[dict[str, str]]] | None:
        """One request. The session and its messages, where there is an answer to continue."""
        asked = {"role": "user", "content": f"Tell {PLANTED} about number {next(self._memory.numbers)}."}
        body: dict[str, Any] = {
            "model": "local" if kind == "local" else "cloud",
            "messages": [*before, asked],
            "max_tokens": 4,
            "edge": {"session_id": session_id, "cache": False, "defer": "always" if kind == "always" else "allow"},
        }
        if kind in {"stream", "leaves"}:
            text, edge = _streamed(http, body, random.randrange(1, 4) if kind == "leaves" else None)
        else:
            response = http.post("/v1/chat/completions", json=body)
            text, edge = self._whole(response)
        if edge is None:
            return None
        self._memory.told.append(Told(session_id, text, edge.get("job_id")))
        if text is None:
            return None
        return session_id, [*before, asked, {"role": "assistant", "content": text}]

    def _whole(self, response: httpx.Response) -> tuple[str | None, dict[str, Any] | None]:
        document = response.json()
        if response.status_code == 202:
            return None, document["edge"]
        if response.status_code != 200:
            self._memory.problems.append(document["error"]["code"])
            return None, None
        return document["choices"][0]["message"]["content"], document["edge"]

    def _forget(self, last: tuple[str, Any] | None) -> None:
        """As `edge-agent sessions forget` does, without starting a process each time."""
        if last is None:
            return
        self._memory.forgetting.add(last[0])
        try:
            with State.open(self._home / "state.db", HomeKey(self._home).open()) as state:
                state.forget(last[0])
        except Problem as problem:
            self._memory.problems.append(f"forget: {problem.code}")
        else:
            self._memory.forgotten.add(last[0])


def _streamed(http: httpx.Client, body: dict[str, Any], leaves_after: int | None) -> tuple[str, dict[str, Any] | None]:
    """The text and the report of a stream that ended well; no report where the client left, or it was cut."""
    text, pieces, edge = "", 0, None
    with http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
        for line in response.iter_lines():
            data = line.removeprefix("data: ")
            if data == "[DONE]":
                return text, edge
            if not line or response.status_code != 200:
                continue
            chunk = json.loads(data)
            edge = chunk.get("edge", edge)
            for choice in chunk.get("choices", ()):
                pieces += 1
                text += choice["delta"].get("content") or ""
            if pieces == leaves_after:
                return text, None
    return text, None
