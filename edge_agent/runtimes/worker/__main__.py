"""A model's own process: loads one model and answers requests that come in as frames on stdin.

    in   {"op": "generate", "id", "conversation", "adapter"}   {"op": "embed", "id", "text", "adapter"}
         {"op": "count", "id", "conversation"}   {"op": "tokenize", "id", "text"}   {"op": "cancel" | "ping", "id"}
         where "adapter" is null or {"id", "path", "in_use"}
    out  {"ready": {...}} or {"fatal": problem}, then {"id", "event"}, {"id", "tokens"}, {"id", "vector"},
         {"id", "pong"}, {"id", "error": problem}

Run by `worker_process.WorkerProcess`. It ends when stdin does, that is, when its parent is gone.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from cloud_bridge import crash_dumps
from cloud_bridge.protocol.problems import Broken, NotFound, Problem
from edge_agent.models.locks.in_use import Hold, hold
from edge_agent.runtimes.chat.chat_template import CHATML, ChatTemplate
from edge_agent.runtimes.chat.prompt import Prompter
from edge_agent.runtimes.chat.tool_styles import tool_style
from edge_agent.runtimes.decoders.decoder import Decoder, Vocabulary
from edge_agent.runtimes.engine.engine import Engine
from edge_agent.runtimes.worker import lifeline
from edge_agent.runtimes.worker.adapters import LoadedAdapters
from edge_agent.runtimes.worker.problem_frames import problem_to_json
from edge_agent.runtimes.worker.reader import FrameWriter, Order, Reader
from edge_agent.runtimes.worker.threads import compute_threads

_CHATML_MARK = "<|im_start|>"


def _open(options: argparse.Namespace, threads: int) -> Decoder:
    """The decoder for the model's format. Each imports its own engine, which may not be installed."""
    path, length, sequences = options.path, options.context_length, options.parallel
    match options.format:
        case "gguf":
            from edge_agent.runtimes.decoders.llama_decoder import open_llama_decoder  # noqa: PLC0415

            return open_llama_decoder(path, context_length=length, sequences=sequences, threads=threads)
        case "onnx":
            from edge_agent.runtimes.decoders.onnx_decoder import open_onnx_decoder  # noqa: PLC0415

            return open_onnx_decoder(path, context_length=length, sequences=sequences, threads=threads)
        case _:
            from edge_agent.runtimes.decoders.mlx_decoder import open_mlx_decoder  # noqa: PLC0415

            return open_mlx_decoder(path, context_length=length, sequences=sequences)


def _hold(options: argparse.Namespace) -> Hold:
    """Keeps the model's files where they are."""
    held = hold(options.in_use, told=options.parent) if options.in_use is not None else Hold(None)
    if not options.path.parent.is_dir():  # removed before this could be said
        raise NotFound(
            "The model was removed.", code="model_not_installed", hint="See `edge-agent models list`.", param="model"
        )
    return held


def _prompter(vocabulary: Vocabulary) -> Prompter:
    source = vocabulary.chat_template
    if source is None and not _knows_chatml(vocabulary):
        raise Broken(
            "The model has no chat template.",
            code="template_missing",
            hint="Use an instruction-tuned model.",
        )
    written = CHATML if source is None else source
    template = ChatTemplate(written, bos=vocabulary.bos_text, eos=vocabulary.eos_text)
    return Prompter(template, vocabulary, tool_style(written, vocabulary))


def _knows_chatml(vocabulary: Vocabulary) -> bool:
    tokens = vocabulary.tokenize(_CHATML_MARK, add_special=False, parse_special=True)
    return len(tokens) == 1 and vocabulary.is_control(tokens[0])


def _serve(options: argparse.Namespace, incoming: int, writer: FrameWriter) -> None:
    threads = options.threads or compute_threads()
    decoder = _open(options, threads)
    prompter = _prompter(decoder.vocabulary)

    def fail(task_id: int, problem: Problem) -> None:
        writer.hold({"id": task_id, "error": problem_to_json(problem)})

    engine = Engine(decoder, max_waiting=options.max_waiting, fail=fail)
    orders: SimpleQueue[Order] = SimpleQueue()
    reader = Reader(prompter, decoder, LoadedAdapters(decoder, options.parent), orders, writer)
    ready = {"context_length": decoder.context_length, "threads": threads}
    writer.send({"ready": ready})
    threading.Thread(target=_or_die, args=(lambda: reader.run(incoming),), name="reader", daemon=True).start()
    while True:
        while engine.is_idle or not orders.empty():
            orders.get()(engine)
            writer.flush()
        engine.step()
        writer.flush()


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
    parser = argparse.ArgumentParser(prog="edge_agent.runtimes.worker")
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--format", choices=["gguf", "onnx", "mlx"], required=True)
    parser.add_argument("--context-length", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--max-waiting", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--in-use", type=Path)
    options = parser.parse_args()
    lifeline.die_with(options.parent)
    crash_dumps.forbid()
    incoming, outgoing = _own_pipes()
    writer = FrameWriter(outgoing)

    def serve() -> None:
        try:
            with _hold(options):
                _serve(options, incoming, writer)
        except Problem as problem:
            writer.send({"fatal": problem_to_json(problem)})
            os._exit(1)

    _or_die(serve)


if __name__ == "__main__":
    main()
