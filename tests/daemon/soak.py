"""Many clients at once, for a while: nothing is lost, nothing is mixed up, nothing stays behind.

python -m tests.daemon.soak --seconds 120 --clients 64

Each request asks for a number that no other one asks for, under a grammar that allows no other, or for a few words,
or is given up half-way. Prints what happened as JSON; fails where anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psutil

from tests.daemon.conftest import LOCAL
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.model_files import small_models

MAY_GROW = 1.10
"""Memory at the end, over that after the first requests."""

MAY_GROW_MIB = 24
REST_S = 20
_MIB = 2**20


@dataclass(slots=True)
class Report:
    """What happened. `outcomes` counts requests by how they ended; memory is in MiB."""

    clients: int
    seconds: float
    outcomes: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    slowest_s: float = 0.0
    daemon_mib: tuple[float, float] = (0.0, 0.0)
    model_mib: tuple[float, float] = (0.0, 0.0)
    children: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    comes_to_rest: bool = False
    wrong: list[str] = field(default_factory=list)

    def count(self, outcome: str) -> None:
        """One more request that ended so."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def judge(self) -> None:
        """Add to `wrong` what the numbers say."""
        if not self.outcomes.get("number"):
            self.wrong.append("no number was answered at all")
        if self.children[0] != self.children[1]:
            self.wrong.append(f"the daemon had children {self.children[0]}, then {self.children[1]}")
        if not self.comes_to_rest:
            self.wrong.append(f"the model still computes {REST_S} s after the last answer")
        for name, (start, end) in (("daemon", self.daemon_mib), ("model", self.model_mib)):
            if end > start * MAY_GROW + MAY_GROW_MIB:
                self.wrong.append(f"the {name}'s memory grew from {start:.0f} to {end:.0f} MiB")


class WrongAnswerError(Exception):
    """An answer that must not be; the message says why."""


class Crowd:
    """The clients. Each sends one request after the other until `until` (`time.monotonic`), then waits for its last."""

    def __init__(self, http: httpx.AsyncClient, report: Report, until: float) -> None:
        self._http = http
        self._report = report
        self._until = until
        self._numbers = count(1000)
        self._first_wave = set[int]()
        self.first_wave_is_over = asyncio.Event()

    async def run(self) -> None:
        """All clients, to the end."""
        await asyncio.gather(*(self._client(number) for number in range(self._report.clients)))

    async def _client(self, client: int) -> None:
        random = Random(client)  # noqa: S311 - repeatable, not secret
        while time.monotonic() < self._until:
            kind, stream = random.choice(("number", "number", "words", "leaves")), random.random() < 0.5
            asked = time.monotonic()
            try:
                await self._patiently(kind, random, stream=stream)
                self._report.count(kind)
            except (WrongAnswerError, httpx.HTTPError) as error:
                self._report.count("wrong")
                self._report.wrong.append(f"{kind}, {'streamed' if stream else 'whole'}: {error!r}")
            self._report.slowest_s = max(self._report.slowest_s, time.monotonic() - asked)
            self._first_wave.add(client)
            if len(self._first_wave) == self._report.clients:
                self.first_wave_is_over.set()

    async def _patiently(self, kind: str, random: Random, *, stream: bool) -> None:
        """Ask, and ask again when told to, until there is an answer."""
        number = next(self._numbers)
        while (wait_s := await self._attempt(kind, number, random, stream=stream)) is not None:
            self._report.refused += 1
            await asyncio.sleep(wait_s)

    async def _attempt(self, kind: str, number: int, random: Random, *, stream: bool) -> float | None:
        """None once it is answered, or the seconds after which the daemon wants to be asked again."""
        leaves_after = random.randrange(1, 6) if kind == "leaves" else None
        body = {**_body(kind, number, random), "stream": stream or leaves_after is not None}
        async with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code == 503:
                return _retry_after(response)
            if response.status_code != 200:
                raise WrongAnswerError(f"status {response.status_code}")
            if not body["stream"]:
                whole = json.loads(await response.aread())
                text, reason = whole["choices"][0]["message"]["content"], whole["choices"][0]["finish_reason"]
            else:
                told = await _streamed(response, leaves_after)
                if told is None:
                    return None
                text, reason = told
        _check(kind, number, text, reason)
        return None


def _body(kind: str, number: int, random: Random) -> dict[str, Any]:
    body: dict[str, Any] = {"model": "local", "temperature": random.choice((0, 0.8)), "max_tokens": 48}
    if kind == "number":
        schema = {
            "type": "object",
            "properties": {"number": {"const": number}},
            "required": ["number"],
            "additionalProperties": False,
        }
        shape = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
        return body | {"messages": [_user(f"My number is {number}. Repeat it.")], "response_format": shape}
    if kind == "words":
        return body | {"messages": [_user(f"Say a few words about the number {number}.")], "max_tokens": 12}
    return body | {"messages": [_user(f"Tell me a very long story with {number} knights in it.")], "max_tokens": 400}


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _retry_after(response: httpx.Response) -> float:
    try:
        return float(response.headers["retry-after"])
    except (KeyError, ValueError):
        raise WrongAnswerError("503 without a Retry-After") from None


async def _streamed(response: httpx.Response, leaves_after: int | None) -> tuple[str, str | None] | None:
    """The text and why it ended; None where the client left first, after so many pieces of text."""
    text, pieces, reason, is_whole = "", 0, None, False
    async for line in response.aiter_lines():
        data = line.removeprefix("data: ")
        if not line or data == "[DONE]":
            is_whole = is_whole or data == "[DONE]"
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            raise WrongAnswerError(f"the stream ended with {chunk['error']['code']}")
        for choice in chunk["choices"]:
            piece = choice["delta"].get("content") or ""
            text += piece
            pieces += bool(piece)
            reason = choice["finish_reason"] or reason
        if leaves_after is not None and pieces >= leaves_after:
            return None
    if not is_whole:
        raise WrongAnswerError("the stream has no end")
    return text, reason


def _check(kind: str, number: int, text: str, reason: str | None) -> None:
    if reason not in {"stop", "length"}:
        raise WrongAnswerError(f"finish_reason {reason}")
    if kind == "number":
        try:
            answer = json.loads(text)
        except ValueError:
            raise WrongAnswerError(f"asked for {number}, got no JSON ({len(text)} characters)") from None
        if answer != {"number": number}:
            raise WrongAnswerError(f"asked for {number}, got {answer}")
    elif kind == "words" and not text.strip():
        raise WrongAnswerError("an empty answer")


async def soak(running: RunningDaemon, *, clients: int, seconds: float) -> Report:
    """Let the crowd in, and see what is left of the daemon when it has gone."""
    running.chat("Hello", model="local").raise_for_status()
    assert running.process is not None
    process = psutil.Process(running.process.pid)
    before = _children(process)
    report = Report(clients, seconds)
    started = time.monotonic()
    limits = httpx.Limits(max_connections=clients)
    headers = dict(running.http.headers)
    async with httpx.AsyncClient(
        base_url=running.url, headers=headers, timeout=300, trust_env=False, limits=limits
    ) as http:
        crowd = Crowd(http, report, started + seconds)
        running_crowd = asyncio.create_task(crowd.run())
        first_wave = asyncio.create_task(crowd.first_wave_is_over.wait())
        await asyncio.wait((running_crowd, first_wave), return_when=asyncio.FIRST_COMPLETED)
        start_mib = _mib(process), sum(_mib(child) for child in before)
        await running_crowd
        first_wave.cancel()
    report.seconds = round(time.monotonic() - started, 1)
    report.comes_to_rest = await _comes_to_rest(before)
    after = _children(process)
    report.children = tuple(sorted(c.pid for c in before)), tuple(sorted(c.pid for c in after))
    report.daemon_mib = start_mib[0], _mib(process)
    report.model_mib = start_mib[1], sum(_mib(child) for child in after)
    report.judge()
    return report


async def _comes_to_rest(processes: list[psutil.Process]) -> bool:
    """Whether the model stops computing soon: what nobody waits for any more must not go on."""

    def used_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    for _ in range(REST_S):
        before = used_s()
        await asyncio.sleep(1)
        if used_s() - before < 0.1:
            return True
    return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    return list(process.children(recursive=True))


def _mib(process: psutil.Process) -> float:
    return round(process.memory_info().rss / _MIB, 1)


def main() -> None:
    """Soak a daemon of one's own."""
    parser = argparse.ArgumentParser(prog="python -m tests.daemon.soak")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=64)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="edge-soak-") as home,
        daemon(Path(home) / "home", small_models(), LOCAL) as running,
    ):
        report = asyncio.run(soak(running, clients=given.clients, seconds=given.seconds))
    sys.stdout.write(json.dumps(asdict(report), indent=2) + "\n")
    sys.exit(bool(report.wrong))


if __name__ == "__main__":
    main()
