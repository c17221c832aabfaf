"""A library's own loop in a process of its own, so that its memory and its crashes are its own.

in   {"messages": [{"role", "content"}], "max_tokens"}, one JSON a line
out  {"name"} or {"failed": kind of error}, then for each question the fields of `Timing`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_agent.bench import baseline_loops
from edge_agent.runtimes.worker import lifeline
from edge_agent.runtimes.worker_process import without_passphrase

_GOODBYE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Timing:
    """One answer: seconds from the question to the first token and to the end, tokens, and the text."""

    first_s: float
    total_s: float
    prompt_tokens: int
    completion_tokens: int
    text: str

    @property
    def tokens_per_s(self) -> float:
        """Generation alone, after the first token; 0 where there is only one."""
        return (self.completion_tokens - 1) / (self.total_s - self.first_s) if self.completion_tokens > 1 else 0.0


class BaselineFailed(Exception):
    """The library could not load the model; the message is the kind of its error."""


class BaselineProcess:
    """The parent's end. Use `started`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.name = str(self._read()["name"])

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(self, messages: Sequence[Mapping[str, str]], max_tokens: int) -> Timing:
        """One greedy answer. Raises BaselineFailed where the process dies."""
        with suppress(BrokenPipeError):
            self._pipe.write(json.dumps({"messages": list(messages), "max_tokens": max_tokens}) + "\n")
            self._pipe.flush()
        return Timing(**self._read())

    @property
    def _pipe(self) -> Any:
        return self._process.stdin

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it was started with pipes; this tells the type checker
        line = self._process.stdout.readline()
        reply = json.loads(line) if line else {"failed": "its process ended"}
        if "failed" in reply:
            raise BaselineFailed(reply["failed"])
        return dict(reply)


@contextmanager
def started(
    model_format: str,
    path: Path,
    *,
    context_length: int,
    threads: int,
    is_mapped: bool = True,
    environ: Mapping[str, str] | None = None,
) -> Iterator[BaselineProcess]:
    """A process with the model loaded by its library, until the block ends. Raises BaselineFailed."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "edge_agent.bench.baseline_process"),
            *("--format", model_format, "--path", str(path), "--context-length", str(context_length)),
            *("--threads", str(threads), "--parent", str(os.getpid()), *(() if is_mapped else ("--not-mapped",))),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**without_passphrase(os.environ), **(environ or {})},
    )
    try:
        yield BaselineProcess(process)
    finally:
        process.kill()
        process.communicate(timeout=_GOODBYE_SECONDS)


def main() -> None:
    """Load, then answer until stdin ends."""
    parser = argparse.ArgumentParser(prog="baseline_process")
    parser.add_argument("--format", required=True)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--context-length", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--not-mapped", action="store_true")
    given = parser.parse_args()
    lifeline.die_with(given.parent)
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries that print must not mix with the replies
    try:
        loop = baseline_loops.load(
            given.format, given.path, given.context_length, given.threads, is_mapped=not given.not_mapped
        )
        replies.write(json.dumps({"name": loop.name}) + "\n")
        for line in sys.stdin:
            replies.write(json.dumps(asdict(_timed(loop, **json.loads(line)))) + "\n")
    except Exception as error:  # noqa: BLE001 - only the kind is said: messages may hold a prompt
        replies.write(json.dumps({"failed": type(error).__name__}) + "\n")


def _timed(loop: baseline_loops.BaselineLoop, *, messages: baseline_loops.Messages, max_tokens: int) -> Timing:
    asked = time.perf_counter()
    prompt = loop.prompt(messages)
    first: float | None = None
    tokens: list[int] = []
    for token in loop.generate(prompt, max_tokens):
        first = first or time.perf_counter()
        tokens.append(token)
    ended = time.perf_counter()
    return Timing((first or ended) - asked, ended - asked, len(prompt), len(tokens), loop.text(tokens))


if __name__ == "__main__":
    main()
