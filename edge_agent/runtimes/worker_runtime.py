"""A language model behind the `Runtime` protocol: it runs in a process of its own, which may crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import conversation_to_json, event_from_json
from cloud_bridge.protocol.events import Event, Finish
from cloud_bridge.protocol.problems import Unavailable
from edge_agent.runtimes.runtime import CAPABILITIES, AdapterSpec, Capabilities, ModelSpec
from edge_agent.runtimes.worker.frames import Frame
from edge_agent.runtimes.worker_process import SILENCE_S, WorkerProcess, stopped

_FIRST_BACK_OFF_S = 0.5
_LONGEST_BACK_OFF_S = 60.0


class WorkerRuntime:
    """One model, of whatever format. Starts its process when it is first needed and again after a crash.

    After the first crash the next request starts the process at once; after a second one in a row it has to
    wait, longer each time, until an answer is completed.
    """

    def __init__(
        self, spec: ModelSpec, *, clock: Callable[[], float] = time.monotonic, silence_s: float = SILENCE_S
    ) -> None:
        self._spec = spec
        self._silence_s = silence_s
        self._clock = clock
        self._worker: WorkerProcess | None = None
        self._starting: asyncio.Task[WorkerProcess] | None = None
        self._crashes = 0
        self._not_before = 0.0

    @property
    def model_id(self) -> str:
        """The catalog's id."""
        return self._spec.model_id

    @property
    def context_length(self) -> int:
        """What was asked for, or less where the model has less; known for sure once it is loaded."""
        return self._worker.context_length if self._worker is not None else self._spec.context_length

    @property
    def pid(self) -> int | None:
        """The process that has the model loaded now, if any."""
        return self._worker.pid if self._worker is not None and self._worker.is_alive else None

    async def ensure_ready(self) -> None:
        """See `Runtime`. Joins a start that is under way."""
        await self._ready_worker()

    async def generate(self, conversation: Conversation, adapter: AdapterSpec | None = None) -> AsyncIterator[Event]:
        """See `Runtime`."""
        worker = await self._ready_worker()
        request = {"op": "generate", "conversation": conversation_to_json(conversation), "adapter": _framed(adapter)}
        async with worker.call(request) as replies:
            async for reply in replies:
                event = event_from_json(reply["event"])
                if isinstance(event, Finish):
                    self._crashes = 0
                    yield event
                    return
                yield event

    async def count(self, conversation: Conversation) -> int:
        """See `Runtime`."""
        asked = {"op": "count", "conversation": conversation_to_json(conversation)}
        return int((await _ask(await self._ready_worker(), asked))["tokens"])

    async def tokenize(self, text: str) -> list[int]:
        """See `Runtime`."""
        return list((await _ask(await self._ready_worker(), {"op": "tokenize", "text": text}))["tokens"])

    async def embed(self, texts: Sequence[str], adapter: AdapterSpec | None = None) -> list[list[float]]:
        """See `Runtime`."""
        worker = await self._ready_worker()
        asked = {"op": "embed", "adapter": _framed(adapter)}
        return [(await _ask(worker, {**asked, "text": text}))["vector"] for text in texts]

    @property
    def capabilities(self) -> Capabilities:
        """See `Runtime`."""
        return CAPABILITIES[self._spec.format]

    async def close(self) -> None:
        """See `Runtime`. Requests in flight get Unavailable code "model_stopped"."""
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await starting
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.stop()

    async def _ready_worker(self) -> WorkerProcess:
        if self._worker is not None and self._worker.is_alive:
            return self._worker
        if self._starting is None:
            self._check_back_off()
            self._starting = asyncio.create_task(self._start())
        starting = self._starting
        try:
            # Whoever joins may leave without stopping the start for the others.
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if starting.cancelled() and task is not None and not task.cancelling():
                raise stopped() from None
            raise

    async def _start(self) -> WorkerProcess:
        try:
            self._worker = await WorkerProcess.start(self._spec, on_death=self._note_crash, silence_s=self._silence_s)
            return self._worker
        finally:
            if self._starting is asyncio.current_task():
                self._starting = None

    def _check_back_off(self) -> None:
        wait = self._not_before - self._clock()
        if wait > 0:
            raise Unavailable(
                f"The model's process ended {self._crashes} times in a row.",
                code="model_crashed",
                hint="Wait a moment; if it stays, use another model and look at `edge-agent doctor`.",
                retry_after_s=wait,
            )

    def _note_crash(self) -> None:
        self._crashes += 1
        if self._crashes > 1:
            back_off = _FIRST_BACK_OFF_S * 2 ** min(self._crashes - 2, 16)
            self._not_before = self._clock() + min(back_off, _LONGEST_BACK_OFF_S)


def _framed(adapter: AdapterSpec | None) -> Frame | None:
    if adapter is None:
        return None
    in_use = None if adapter.in_use is None else str(adapter.in_use)
    return {"id": adapter.adapter_id, "path": str(adapter.path), "in_use": in_use}


async def _ask(worker: WorkerProcess, frame: Frame) -> Frame:
    """The one reply to a request that is not an answer in pieces."""
    async with worker.call(frame) as replies:
        return await anext(replies)
