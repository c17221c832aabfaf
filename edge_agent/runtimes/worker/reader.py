"""What a model's process does with the frames that come in, beside its engine: render, tokenize, compile grammars."""

from __future__ import annotations

import faulthandler
import os
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import conversation_from_json, event_to_json
from cloud_bridge.protocol.events import Event
from cloud_bridge.protocol.problems import InvalidRequest, Problem
from edge_agent.runtimes.chat.answer_format import answer_format
from edge_agent.runtimes.chat.constraint import Constraints
from edge_agent.runtimes.chat.prompt import Prompter
from edge_agent.runtimes.decoders.decoder import Decoder
from edge_agent.runtimes.engine.engine import Engine, unforeseen
from edge_agent.runtimes.engine.sampling import checked_settings
from edge_agent.runtimes.engine.task import Task
from edge_agent.runtimes.worker.adapters import LoadedAdapters
from edge_agent.runtimes.worker.frames import Frame, FrameDecoder, encode_frame
from edge_agent.runtimes.worker.problem_frames import problem_to_json

_READ_BYTES = 256 * 1024
_TEMPLATE_SECONDS = 20

Order = Callable[[Engine], None]


class FrameWriter:
    """Frames for the daemon. Thread-safe; `hold` collects a step's frames, so that one write carries them."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._held: list[bytes] = []

    def hold(self, frame: Frame) -> None:
        """Send with the next `flush`."""
        self._held.append(encode_frame(frame))

    def flush(self) -> None:
        """Send what is held. Only the engine's thread holds and flushes."""
        if self._held:
            data, self._held = b"".join(self._held), []
            self._write(data)

    def send(self, frame: Frame) -> None:
        """Send at once."""
        self._write(encode_frame(frame))

    def _write(self, data: bytes) -> None:
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[os.write(self._pipe, view) :]


class Reader:
    """Turns frames into orders for the engine, in a thread of its own."""

    def __init__(
        self,
        prompter: Prompter,
        decoder: Decoder,
        adapters: LoadedAdapters,
        orders: SimpleQueue[Order],
        writer: FrameWriter,
    ) -> None:
        self._prompter = prompter
        self._decoder = decoder
        self._adapters = adapters
        self._constraints = Constraints(decoder.vocabulary)
        self._orders = orders
        self._writer = writer

    def run(self, pipe: int) -> None:
        """Read until the daemon is gone; then end this process, whatever it is doing."""
        decoder = FrameDecoder()
        while data := os.read(pipe, _READ_BYTES):
            for frame in decoder.feed(data):
                self._take(frame)
        os._exit(0)

    def _take(self, frame: Frame) -> None:
        call_id = int(frame["id"])
        try:
            match frame["op"]:
                case "cancel":
                    self._orders.put(lambda engine: engine.cancel(call_id))
                case "count":
                    tokens = self._prompt(conversation_from_json(frame["conversation"]))
                    self._writer.send({"id": call_id, "tokens": len(tokens)})
                case "tokenize":
                    self._writer.send({"id": call_id, "tokens": self._plain(frame["text"])})
                case "ping":
                    self._writer.send({"id": call_id, "pong": True})
                case "embed":
                    self._embed(call_id, self._plain(frame["text"], add_special=True), frame.get("adapter"))
                case _:
                    task = self._task(call_id, conversation_from_json(frame["conversation"]))
                    self._orders.put(partial(self._submit, task, frame.get("adapter")))
        except Problem as problem:
            self._writer.send({"id": call_id, "error": problem_to_json(problem)})
        except Exception as error:  # noqa: BLE001 - one request may fail; the others' answers must not go with it
            sys.stderr.write(f"a request could not be read: {type(error).__name__}\n")
            self._writer.send({"id": call_id, "error": problem_to_json(unforeseen())})

    def _prompt(self, conversation: Conversation) -> list[int]:
        # A template can loop for ever, and no Python thread can be stopped: the process goes.
        faulthandler.dump_traceback_later(_TEMPLATE_SECONDS, exit=True)
        try:
            return self._prompter.tokens(conversation)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _plain(self, text: str, *, add_special: bool = False) -> list[int]:
        return self._decoder.vocabulary.tokenize(text, add_special=add_special, parse_special=False)

    def _submit(self, task: Task, asked: Frame | None, engine: Engine) -> None:
        """The engine's thread owns the decoder, and what is loaded into it."""
        try:
            task.adapter = self._adapters.ensure(asked)
        except Problem as problem:
            self._writer.hold({"id": task.task_id, "error": problem_to_json(problem)})
        else:
            engine.submit(task)

    def _embed(self, call_id: int, tokens: Sequence[int], asked: Frame | None) -> None:
        if not tokens:
            raise _empty("input")
        if len(tokens) > self._decoder.context_length:
            raise _too_long(len(tokens), self._decoder.context_length, "input")

        def order(_engine: Engine) -> None:
            """As `_submit`."""
            try:
                adapter = self._adapters.ensure(asked)
                vector = [float(number) for number in self._decoder.embed(tokens, adapter)]
            except Problem as problem:
                self._writer.hold({"id": call_id, "error": problem_to_json(problem)})
            else:
                self._writer.hold({"id": call_id, "vector": vector})

        self._orders.put(order)

    def _task(self, task_id: int, conversation: Conversation) -> Task:
        settings = checked_settings(conversation.sampling)
        tokens = self._prompt(conversation)
        if not tokens:
            raise _empty("messages")
        if len(tokens) >= self._decoder.context_length:
            raise _too_long(len(tokens), self._decoder.context_length, "messages")
        form = answer_format(conversation, self._prompter.style)
        seed = secrets.randbits(31) if settings.seed is None else settings.seed

        def emit(event: Event) -> None:
            frame: dict[str, Any] = {"id": task_id, "event": event_to_json(event)}
            self._writer.hold(frame)

        return Task(
            task_id=task_id,
            prompt=tokens,
            settings=settings,
            seed=seed,
            format=form,
            constraint=None if form.grammar is None else self._constraints.constraint(form.grammar),
            emit=emit,
        )


def _empty(param: str) -> InvalidRequest:
    return InvalidRequest("The text has no tokens.", code="empty_prompt", hint="Send some text.", param=param)


def _too_long(tokens: int, context_length: int, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"The prompt has {tokens} tokens; this model's context holds {context_length}, and the answer needs room, too.",
        code="context_length_exceeded",
        hint="Shorten the conversation, or ask a model with a longer context.",
        param=param,
    )
