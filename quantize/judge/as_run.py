"""A model run as the daemon runs it: how fast, in how much memory, and how well it does two small tasks."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from cloud_bridge.protocol.conversation import Conversation, Message, Sampling, Text
from cloud_bridge.protocol.events import Finish, TextDelta
from cloud_bridge.protocol.problems import Broken
from edge_agent.models.footprint import footprint
from edge_agent.models.libraries import LlmFormat
from edge_agent.models.progress import Progress
from edge_agent.runtimes.pool import Pool
from edge_agent.runtimes.pooled_runtime import PooledRuntime
from edge_agent.runtimes.runtime import DEFAULT_PARALLEL, ModelSpec
from edge_agent.runtimes.sizing import Wishes
from quantize.judge import text
from quantize.judge.extent import Extent
from quantize.judge.peak_memory import PeakMemory
from quantize.judge.tasks import Tasks, is_right, is_valid

TASK_SECONDS = 120.0
"""So long each task goes on at most; the score then rests on what was done by then."""

_PIECE_CHARACTERS = 2000
_SHORT_PIECE_CHARACTERS = 400
_STORY_TOKENS = 64
_SLOW = 60.0
"""Who reads fewer tokens a second than this has each speed taken once, and from a short text."""

Found = TypeVar("Found")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Share:
    """The part of `asked` items that were done well, None where nothing was asked."""

    value: float | None
    asked: int


@dataclass(frozen=True, slots=True)
class Scores:
    """How well the tasks were done: utterances sorted under a grammar, and JSON written without one."""

    intents: Share
    documents: Share


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second, of one request alone. `generation` is None for a model that ended every answer at once."""

    prompt: float | None
    generation: float | None


@dataclass(frozen=True, slots=True)
class AsRun:
    """What was seen of one process; `peak_ram_mb`: the most that it took while it loaded and answered, in MiB."""

    speed: Speed
    scores: Scores
    peak_ram_mb: int


_NOT_ASKED = Scores(Share(None, 0), Share(None, 0))


def spec_of(name: str, path: Path, model_format: LlmFormat, context_length: int | None = None) -> ModelSpec:
    """How the daemon runs the model whose main file is `path`, by its own settings and where memory is free.

    `context_length`: the most that is wanted, as a manifest says; None: the file's own. Raises what `footprint` raises.
    """
    needs = footprint(path, model_format)
    context = Wishes().context_for(min(context_length or needs.context_length, needs.context_length))
    return ModelSpec(
        model_id=name,
        path=path,
        format=model_format,
        context_length=context,
        parallel=DEFAULT_PARALLEL,
        threads=0,
        ram_mb=needs.mb(context, DEFAULT_PARALLEL),
    )


def run(spec: ModelSpec, extent: Extent, progress: Progress) -> AsRun:
    """Load the model in a process of its own, ask it, and end the process. Blocks; not for use in an event loop.

    Of a model that cannot chat nothing is seen. Raises what `Pool.runtime` and `Runtime.generate` raise.
    """

    async def all_of_it(session: _Session) -> AsRun:
        speed = await session.speed(extent.rounds)
        scores = await session.scores(extent)
        return AsRun(speed, scores, session.memory.mb)

    return _in_session(spec, progress, all_of_it, AsRun(Speed(None, None), _NOT_ASKED, 0))


def scores(spec: ModelSpec, extent: Extent, progress: Progress) -> Scores:
    """As `run`, for the tasks alone; without any nothing is loaded."""
    if not extent.intents and not extent.documents:
        return _NOT_ASKED
    return _in_session(spec, progress, lambda session: session.scores(extent), _NOT_ASKED)


def _in_session(
    spec: ModelSpec, progress: Progress, work: Callable[[_Session], Awaitable[Found]], nothing: Found
) -> Found:
    async def working() -> Found:
        async with _Session(spec, progress) as session:
            return await work(session)

    try:
        return asyncio.run(working())
    except Broken as problem:
        if problem.code != "template_missing":  # a base model can be quantized, too
            raise
        return nothing


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    first_s: float
    total_s: float
    prompt_tokens: int
    completion_tokens: int


class _Session:
    """One model, loaded within the block, asked one thing after the other: so the answers are the same every time."""

    def __init__(self, spec: ModelSpec, progress: Progress) -> None:
        self._spec = spec
        self._progress = progress
        self._pool = Pool(lambda _: spec, spec.ram_mb, keep_alive_s=-1)
        self.memory = PeakMemory(spec.path)

    async def __aenter__(self) -> Self:
        self._progress.advance(0, 0, f"loading {self._spec.model_id}")
        try:
            self._runtime: PooledRuntime = await self._pool.runtime(self._spec.model_id)
        except BaseException:
            await self._pool.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def speed(self, rounds: int) -> Speed:
        """Of reading and writing: medians of some rounds, each with a text that is new to the model."""
        pieces = text.read(None)
        first = await self._ask(_about(pieces[-_SHORT_PIECE_CHARACTERS:], 0))
        read = []
        if first.prompt_tokens / first.first_s > _SLOW:
            for number in range(rounds):
                self._progress.advance(number, 2 * rounds, f"speed of {self._spec.model_id}")
                start = number * _PIECE_CHARACTERS
                answer = await self._ask(_about(pieces[start : start + _PIECE_CHARACTERS], number + 1))
                read.append(answer.prompt_tokens / answer.first_s)
        else:
            read, rounds = [first.prompt_tokens / first.first_s], 1
        written = []
        for number in range(rounds):
            self._progress.advance(rounds + number, 2 * rounds, f"speed of {self._spec.model_id}")
            answer = await self._ask(_story(number))
            if answer.completion_tokens > 1:
                written.append((answer.completion_tokens - 1) / (answer.total_s - answer.first_s))
        return Speed(statistics.median(read), statistics.median(written) if written else None)

    async def scores(self, extent: Extent) -> Scores:
        """Of both tasks."""
        tasks = Tasks.load()
        utterances, forms = tasks.utterances[: extent.intents], tasks.forms[: extent.documents]
        return Scores(
            intents=await self._share(utterances, tasks.sorting, is_right),
            documents=await self._share(forms, tasks.filling, is_valid),
        )

    async def _share(
        self, items: Sequence[Item], asking: Callable[[Item], Conversation], is_good: Callable[[Item, str], bool]
    ) -> Share:
        good = done = 0
        ends = time.monotonic() + TASK_SECONDS
        for item in items:
            if time.monotonic() > ends:
                break
            self._progress.advance(done, len(items), f"asking {self._spec.model_id}")
            good += is_good(item, (await self._ask(asking(item))).text)
            done += 1
        return Share(good / done if done else None, done)

    async def _ask(self, conversation: Conversation) -> _Answer:
        asked = time.perf_counter()
        first: float | None = None
        written, finish = "", Finish()
        async for event in self._runtime.generate(conversation):
            first = first or time.perf_counter()
            if isinstance(event, TextDelta):
                written += event.text
            elif isinstance(event, Finish):
                finish = event
        ended = time.perf_counter()
        self.memory.look()
        usage = finish.usage
        return _Answer(written, (first or ended) - asked, ended - asked, usage.prompt_tokens, usage.completion_tokens)


def _about(piece: str, number: int) -> Conversation:
    return _asked(f"Text {number}.\n\n{piece}\n\nWhat is it about?", 1)


def _story(number: int) -> Conversation:
    return _asked(f"Describe the work of a lighthouse keeper in a storm, hour by hour. Day {number}.", _STORY_TOKENS)


def _asked(content: str, max_tokens: int) -> Conversation:
    message = Message("user", (Text(content),))
    return Conversation((message,), sampling=Sampling(max_tokens=max_tokens, temperature=0.0))
