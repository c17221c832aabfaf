"""Asking a runtime, the same in every test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.conversation import Conversation, Message, ResponseFormat, Sampling, Text
from cloud_bridge.protocol.events import Finish, TextDelta, TokenLogprob
from edge_agent.models.libraries import LlmFormat
from edge_agent.runtimes.runtime import ModelSpec, Runtime
from edge_agent.runtimes.worker_runtime import WorkerRuntime

SMALL = "smollm2-135m-instruct-q4_1"


@dataclass(frozen=True)
class Answer:
    deltas: list[TextDelta]
    finish: Finish

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return [logprob for delta in self.deltas for logprob in delta.logprobs]


def asking(text: str, *, schema: Any = None, **sampling: Any) -> Conversation:
    form = ResponseFormat() if schema is None else ResponseFormat("json_schema", schema=schema)
    return Conversation((Message("user", (Text(text),)),), response_format=form, sampling=Sampling(**sampling))


async def answer(runtime: Runtime, conversation: Conversation) -> Answer:
    events = [event async for event in runtime.generate(conversation)]
    *deltas, finish = events
    assert isinstance(finish, Finish)
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    return Answer(deltas, finish)


def model_file(models_home: Path, model_id: str = SMALL) -> Path:
    (path,) = (models_home / model_id).glob("*.gguf")
    return path


def spec(
    path: Path,
    *,
    model_id: str = SMALL,
    model_format: LlmFormat = "gguf",
    context_length: int = 2048,
    parallel: int = 8,
    threads: int = 0,
    ram_mb: int = 300,
    max_waiting: int = 64,
) -> ModelSpec:
    return ModelSpec(model_id, path, model_format, context_length, parallel, threads, ram_mb, max_waiting)


@asynccontextmanager
async def running(found: ModelSpec) -> AsyncIterator[WorkerRuntime]:
    runtime = WorkerRuntime(found)
    try:
        yield runtime
    finally:
        await runtime.close()
