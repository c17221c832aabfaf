"""A model's own process: loads one GGUF file and answers requests that come in as frames on stdin.

    in   {"op": "generate" | "count", "id", "conversation"}   {"op": "cancel", "id"}
    out  {"ready": {...}} or {"fatal": problem}, then {"id", "event"}, {"id", "count"}, {"id", "error": problem}

Run by `llama_cpp.LlamaCppRuntime`. It ends when stdin does, that is, when its parent is gone.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import secrets
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from cloud_bridge.protocol.envelope import conversation_from_json, event_to_json
from cloud_bridge.protocol.events import Event
from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem
from edge_agent.models import gguf_header
from edge_agent.runtimes import lifeline
from edge_agent.runtimes.chat_template import CHATML, ChatTemplate
from edge_agent.runtimes.frames import Frame, FrameDecoder, encode_frame
from edge_agent.runtimes.json_grammar import response_grammar
from edge_agent.runtimes.llama_engine import MAX_RUNNING, PROMPT_BATCH, Engine, Task
from edge_agent.runtimes.llama_native import Context, Model, quiet
from edge_agent.runtimes.problem_frames import problem_to_json
from edge_agent.runtimes.prompt import Prompter
from edge_agent.runtimes.sampling import checked_settings
from edge_agent.runtimes.threads import compute_threads

_READ_BYTES = 256 * 1024
_TEMPLATE_SECONDS = 20
_CHATML_MARK = "<|im_start|>"

Order = Callable[[Engine], None]


class Outbox:
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
    """Turns frames into orders for the engine, in a thread of its own: rendering and tokenizing happen here."""

    def __init__(self, prompter: Prompter, context_length: int, orders: SimpleQueue[Order], outbox: Outbox) -> None:
        self._prompter = prompter
        self._context_length = context_length
        self._orders = orders
        self._outbox = outbox

    def run(self, pipe: int) -> None:
        """Read until the daemon is gone; then end this process, whatever it is doing."""
        decoder = FrameDecoder()
        while data := os.read(pipe, _READ_BYTES):
            for frame in decoder.feed(data):
                self._take(frame)
        os._exit(0)

    def _take(self, frame: Frame) -> None:
        task_id = int(frame["id"])
        if frame["op"] == "cancel":
            self._orders.put(lambda engine: engine.cancel(task_id))
            return
        try:
            tokens = self._tokens(frame)
            if frame["op"] == "count":
                self._outbox.send({"id": task_id, "count": len(tokens)})
                return
            task = self._task(task_id, frame, tokens)
        except Problem as problem:
            self._outbox.send({"id": task_id, "error": problem_to_json(problem)})
            return
        self._orders.put(lambda engine: engine.submit(task))

    def _tokens(self, frame: Frame) -> list[int]:
        # A template can loop for ever, and no Python thread can be stopped: the process goes.
        faulthandler.dump_traceback_later(_TEMPLATE_SECONDS, exit=True)
        try:
            return self._prompter.tokens(conversation_from_json(frame["conversation"]))
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _task(self, task_id: int, frame: Frame, tokens: list[int]) -> Task:
        conversation = conversation_from_json(frame["conversation"])
        settings = checked_settings(conversation.sampling)
        grammar = response_grammar(conversation.response_format)
        if len(tokens) >= self._context_length:
            raise _too_long(len(tokens), self._context_length)
        if not tokens:
            raise InvalidRequest(
                "The prompt has no tokens.", code="empty_prompt", hint="Send some text.", param="messages"
            )
        seed = secrets.randbits(31) if settings.seed is None else settings.seed
        return Task(task_id, tokens, settings, seed, grammar)


def _too_long(tokens: int, context_length: int) -> InvalidRequest:
    return InvalidRequest(
        f"The prompt has {tokens} tokens; this model's context holds {context_length}, and the answer needs room, too.",
        code="context_length_exceeded",
        hint="Shorten the conversation, or ask a model with a longer context.",
        param="messages",
    )


def _prompter(model: Model) -> Prompter:
    source = model.chat_template
    control_texts = model.control_texts()
    if source is None and _CHATML_MARK not in control_texts:
        raise Broken(
            "The model file has no chat template.",
            code="template_missing",
            hint="Use an instruction-tuned model.",
        )
    template = ChatTemplate(CHATML if source is None else source, bos=model.bos_text, eos=model.eos_text)
    return Prompter(template, model.tokenize, control_texts=control_texts, bos=model.bos_text, adds_bos=model.adds_bos)


def _serve(path: Path, context_length: int, threads: int, incoming: int, outbox: Outbox) -> None:
    gguf_header.check(path)
    quiet()
    model = Model(path)
    length = min(context_length, model.context_length)
    if length < 1:
        raise Broken(
            f"A context of {length} tokens holds no prompt.",
            code="model_unreadable",
            hint="Check the context length in the model's manifest and in its file.",
        )
    prompter = _prompter(model)
    context = Context(model, n_ctx=length, n_batch=PROMPT_BATCH, n_seq_max=MAX_RUNNING, n_threads=threads)

    def emit(task_id: int, event: Event) -> None:
        outbox.hold({"id": task_id, "event": event_to_json(event)})

    def fail(task_id: int, problem: Problem) -> None:
        outbox.hold({"id": task_id, "error": problem_to_json(problem)})

    engine = Engine(model, context, context_length=length, emit=emit, fail=fail)
    orders: SimpleQueue[Order] = SimpleQueue()
    outbox.send({"ready": {"context_length": length, "threads": threads}})
    reader = Reader(prompter, length, orders, outbox)
    threading.Thread(target=_or_die, args=(lambda: reader.run(incoming),), name="reader", daemon=True).start()
    while True:
        while engine.is_idle or not orders.empty():
            orders.get()(engine)
            outbox.flush()
        engine.step()
        outbox.flush()


def _or_die(run: Callable[[], None]) -> None:
    """A process with half of its threads would answer nobody: end it, and the daemon starts another."""
    try:
        run()
    except BaseException as error:  # noqa: BLE001 - only the kind is said: messages may hold a prompt
        sys.stderr.write(f"the model's process ends: {type(error).__name__}\n")
        sys.stderr.flush()
        os._exit(1)


def _own_pipes() -> tuple[int, int]:
    """Keep stdin and stdout for frames; whatever else prints goes to stderr."""
    incoming, outgoing = os.dup(sys.stdin.fileno()), os.dup(sys.stdout.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return incoming, outgoing


def main() -> None:
    """Load and serve. Ends with the process."""
    parser = argparse.ArgumentParser(prog="llama_worker")
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--context-length", type=int, required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args()
    lifeline.die_with(options.parent)
    incoming, outgoing = _own_pipes()
    outbox = Outbox(outgoing)
    threads = options.threads or compute_threads()

    def serve() -> None:
        try:
            _serve(options.path, options.context_length, threads, incoming, outbox)
        except Problem as problem:
            outbox.send({"fatal": problem_to_json(problem)})
            os._exit(1)

    _or_die(serve)


if __name__ == "__main__":
    main()
