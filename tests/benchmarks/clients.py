"""A client of any server with OpenAI's chat completions: the same for the daemon and for what it is held against."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from edge_agent.bench.baseline_process import Timing
from tests.daemon.running_daemon import RunningDaemon

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Server:
    """Where to ask, and for which model. Every answer is greedy."""

    http: httpx.Client
    model: str

    @classmethod
    def of(cls, running: RunningDaemon) -> Server:
        """The daemon, asked for its local model."""
        return cls(running.http, "local")

    def whole(self, messages: Messages, tokens: int) -> int:
        """Ask without streaming: the tokens of the answer."""
        answer = self.http.post("/v1/chat/completions", json=self._body(messages, tokens))
        answer.raise_for_status()
        return int(answer.json()["usage"]["completion_tokens"])

    def streamed(self, messages: Messages, tokens: int, **more: Any) -> Timing:
        """Ask with streaming: when the first text came, when the last."""
        body = {**self._body(messages, tokens), **more, "stream": True, "stream_options": {"include_usage": True}}
        asked = time.perf_counter()
        first, text, usage = 0.0, "", {"prompt_tokens": 0, "completion_tokens": 0}
        with self.http.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code != 200:
                response.read()
                response.raise_for_status()
            for line in response.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                piece = "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices", ()))
                if piece and not text:
                    first = time.perf_counter()
                text += piece
                usage = chunk.get("usage") or usage
        ended = time.perf_counter()
        return Timing((first or ended) - asked, ended - asked, usage["prompt_tokens"], usage["completion_tokens"], text)

    def total_speed(self, questions: Sequence[Messages], tokens: int, *, stream: bool = False) -> float:
        """All asked at once: tokens a second in all, from the first question to the last answer's end."""

        def ask(messages: Messages) -> int:
            return self.streamed(messages, tokens).completion_tokens if stream else self.whole(messages, tokens)

        started = time.perf_counter()
        with ThreadPoolExecutor(len(questions)) as askers:
            answered = sum(askers.map(ask, questions))
        return answered / (time.perf_counter() - started)

    def _body(self, messages: Messages, tokens: int) -> dict[str, Any]:
        return {"model": self.model, "messages": list(messages), "max_tokens": tokens, "temperature": 0}


def story(number: int) -> Messages:
    """A question for a long answer. All begin alike: once one has been read, only the end of the next is new."""
    text = f"Describe the work of a lighthouse keeper in a storm, hour by hour, in detail. Day {number}."
    return [{"role": "user", "content": text}]


def log_book(number: int, entries: int) -> Messages:
    """A long prompt that is new for each `number`, from its first words on."""
    kept = " ".join(f"Entry {number}-{entry}: the lamp burned and the sea was rough." for entry in range(entries))
    return [{"role": "user", "content": f"Log book {number}. {kept} What does the keeper write next?"}]
