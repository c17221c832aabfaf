"""The figures that `edge-agent models bench` prints: a model run as the daemon runs it, and its bare library.

One after the other, so that both have the machine and its memory to themselves. What takes time is done `ROUNDS`
times, each time with a prompt that is new, and the median counts.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import psutil  # type: ignore[import-untyped]  # it has no types

from cloud_bridge.protocol.conversation import Conversation, Message, Role, Sampling, Text
from cloud_bridge.protocol.events import Finish, TextDelta
from edge_agent.bench.baseline_process import BaselineProcess, Timing
from edge_agent.runtimes.pool import Pool
from edge_agent.runtimes.pooled_runtime import PooledRuntime

AT_ONCE = (1, 2, 4, 8)
LONG_PROMPT_TOKENS = 512
ROUNDS = 3

_MIB = 2**20
_SAMPLE_S = 0.02
_TURN_TOKENS = 16

Turns = tuple[tuple[Role, str], ...]
Ask = Callable[[Turns, int], Awaitable[Timing]]
Tick = Callable[[], None]


@dataclass(slots=True)
class Measured:
    """One side's figures: medians, and how far apart the rounds of the same thing were (0.1: ten percent).

    `entries` is how long the long prompt was, in entries of the log book that it quotes.
    """

    cold_first_s: float = 0.0
    warm_first_s: float = 0.0
    second_turn_first_s: float = 0.0
    prompt_tokens_per_s: float = 0.0
    tokens_per_s: dict[int, float] = field(default_factory=dict)
    resident_mb: float = 0.0
    peak_mb: float = 0.0
    spread: float = 0.0
    entries: int = 0


def steps(at_once: Sequence[int]) -> int:
    """How often a side calls `tick`."""
    return 1 + ROUNDS * (3 + len(at_once))


async def measure_runtime(pool: Pool, model_id: str, tokens: int, tick: Tick) -> Measured:
    """The model through the pool; loaded at the start, unloaded by whoever closes the pool."""
    figures, before = Measured(), _children()
    started = time.perf_counter()
    async with _memory(lambda: _children() - before, figures):
        runtime = await pool.runtime(model_id)
        loaded_s = time.perf_counter() - started

        async def ask(turns: Turns, max_tokens: int) -> Timing:
            return await _asked(runtime, turns, max_tokens)

        figures.cold_first_s = loaded_s + (await ask(_question(0), 1)).first_s
        tick()
        figures.entries = await _long_enough(runtime)
        await _measure(figures, ask, AT_ONCE, tokens, tick)
    return figures


async def measure_baseline(
    baseline: BaselineProcess, loaded_s: float, entries: int, tokens: int, tick: Tick
) -> Measured:
    """The same by the bare library, which answers one at a time and took `loaded_s` seconds to load."""
    figures = Measured(entries=entries)

    async def ask(turns: Turns, max_tokens: int) -> Timing:
        messages = [{"role": role, "content": text} for role, text in turns]
        return await asyncio.to_thread(baseline.ask, messages, max_tokens)

    async with _memory(lambda: {baseline.pid}, figures):
        figures.cold_first_s = loaded_s + (await ask(_question(0), 1)).first_s
        tick()
        await _measure(figures, ask, (1,), tokens, tick)
    return figures


async def _measure(figures: Measured, ask: Ask, at_once: Sequence[int], tokens: int, tick: Tick) -> None:
    warm, prompts, seconds = [], [], []
    speeds: dict[int, list[float]] = {number: [] for number in at_once}
    for number in range(1, ROUNDS + 1):
        warm.append((await ask(_question(number), 1)).first_s)
        tick()
        read = await ask(_log_book(number, figures.entries), _TURN_TOKENS)
        prompts.append(read.prompt_tokens / read.first_s)
        tick()
        seconds.append((await ask(_second_turn(number, figures.entries, read.text), 1)).first_s)
        tick()
    for number in range(ROUNDS):
        for width, found in speeds.items():
            stories = [_story(number * max(AT_ONCE) + each) for each in range(width)]
            found.append(await _together(ask, stories, tokens))
            tick()
    figures.warm_first_s = statistics.median(warm)
    figures.prompt_tokens_per_s = statistics.median(prompts)
    figures.second_turn_first_s = statistics.median(seconds)
    figures.tokens_per_s = {width: statistics.median(found) for width, found in speeds.items()}
    figures.spread = max(_spread(found) for found in (prompts, *speeds.values()))


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / statistics.median(values)


async def _together(ask: Ask, prompts: Sequence[Turns], tokens: int) -> float:
    """Tokens a second in all, from the first question to the last answer's end."""
    started = time.perf_counter()
    told = await asyncio.gather(*(ask(prompt, tokens) for prompt in prompts))
    return sum(each.completion_tokens for each in told) / (time.perf_counter() - started)


async def _asked(runtime: PooledRuntime, turns: Turns, max_tokens: int) -> Timing:
    asked = time.perf_counter()
    first: float | None = None
    text, finish = "", Finish()
    async for event in runtime.generate(_conversation(turns, max_tokens)):
        first = first or time.perf_counter()
        if isinstance(event, TextDelta):
            text += event.text
        elif isinstance(event, Finish):
            finish = event
    ended = time.perf_counter()
    usage = finish.usage
    return Timing((first or ended) - asked, ended - asked, usage.prompt_tokens, usage.completion_tokens, text)


async def _long_enough(runtime: PooledRuntime) -> int:
    """How many entries make a log book of some `LONG_PROMPT_TOKENS` tokens."""
    few, many = [await runtime.count(_conversation(_log_book(0, entries), 1)) for entries in (4, 24)]
    return max(1, round(4 + (LONG_PROMPT_TOKENS - few) * 20 / (many - few)))


def _conversation(turns: Turns, max_tokens: int) -> Conversation:
    messages = tuple(Message(role, (Text(text),)) for role, text in turns)
    return Conversation(messages, sampling=Sampling(max_tokens=max_tokens, temperature=0.0))


def _question(number: int) -> Turns:
    return (("user", f"In the year {1800 + 7 * number} a lighthouse was built. Why?"),)


def _story(number: int) -> Turns:
    # All begin alike, so that next to nothing of a prompt is left to read: this is about writing.
    return (("user", f"Describe the work of a lighthouse keeper in a storm, hour by hour, in detail. Day {number}."),)


def _log_book(number: int, entries: int) -> Turns:
    kept = " ".join(f"Entry {number}-{entry}: the lamp burned and the sea was rough." for entry in range(entries))
    return (("user", f"Log book {number}. {kept} What does the keeper write next?"),)


def _second_turn(number: int, entries: int, answer: str) -> Turns:
    return (*_log_book(number, entries), ("assistant", answer), ("user", "And what after that?"))


@asynccontextmanager
async def _memory(pids: Callable[[], set[int]], figures: Measured) -> AsyncIterator[None]:
    """Notes in `figures` what these processes take at most within the block, and at its end."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SAMPLE_S):
            figures.peak_mb = max(figures.peak_mb, _resident_mb(pids()))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
        figures.resident_mb = _resident_mb(pids())
        figures.peak_mb = max(figures.peak_mb, figures.resident_mb)
    finally:
        ended.set()
        watching.join()


def _resident_mb(pids: set[int]) -> float:
    taken = 0
    for pid in pids:
        with suppress(psutil.Error):  # one that is gone takes nothing
            taken += psutil.Process(pid).memory_info().rss
    return taken / _MIB


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}
