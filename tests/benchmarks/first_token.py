"""What the daemon adds to the first token of a prompt that nobody has asked before."""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from edge_agent.bench import baseline_process
from tests.benchmarks.clients import Messages, Server
from tests.benchmarks.figure import Figure
from tests.benchmarks.generating import WAITING
from tests.benchmarks.setup import CONTEXT_LENGTH, Setup
from tests.daemon.running_daemon import daemon

ROUNDS = 30
TOKENS = 2


def measure(setup: Setup) -> list[Figure]:
    """Time to the first streamed text, against the library in a process of its own, which gets the same prompts.

    They take turns, and each round is compared with itself: what else the machine does falls on all alike. The
    library's time ends where it has its token; the daemon's where a client of its HTTP interface has read the text.
    The library runs once with threads that spin while they wait and once with such that sleep; the faster one counts.
    """
    rounds = ROUNDS if setup.rounds > 1 else 5
    daemon_ms: list[float] = []
    library_ms: dict[str, list[float]] = {waiting: [] for waiting in WAITING}
    with ExitStack() as stack:
        server = Server.of(stack.enter_context(daemon(setup.scratch / "home", setup.models, setup.config)))
        libraries = {
            waiting: stack.enter_context(
                baseline_process.started(
                    *("gguf", setup.path), context_length=CONTEXT_LENGTH, threads=setup.threads, environ=environ
                )
            )
            for waiting, environ in WAITING.items()
        }
        for number in range(-2, rounds):
            ours = server.streamed(_question(number), TOKENS).first_s * 1000
            theirs = {name: each.ask(_question(number), TOKENS).first_s * 1000 for name, each in libraries.items()}
            if number >= 0:  # the first two load the models and warm the caches up
                daemon_ms.append(ours)
                for name, ms in theirs.items():
                    library_ms[name].append(ms)
    faster = min(WAITING, key=lambda waiting: statistics.median(library_ms[waiting]))
    added = statistics.median(ours - theirs for ours, theirs in zip(daemon_ms, library_ms[faster], strict=True))
    ours, theirs = statistics.median(daemon_ms), statistics.median(library_ms[faster])
    return [
        Figure(
            f"first token of a new prompt of 100 tokens, {setup.name}",
            f"{ours:.1f} ms",
            f"{theirs:.1f} ms",
            f"{libraries[faster].name}, its threads {faster}",
            ours / theirs,
        ),
        Figure("added by the daemon, median of the rounds' differences", f"{added:+.1f} ms"),
    ]


def _question(number: int) -> Messages:
    """Some 100 tokens with the chat template, different from the first word on: nothing of it has been read before."""
    text = (
        f"{number} ships came in that year. The harbour master counted them from his window, wrote their names into a "
        "book, and asked each captain what he carried, where he came from and how long he would stay. Most brought "
        "salt and timber; a few brought letters. Was it a good year for the harbour? Answer yes or no."
    )
    return [{"role": "user", "content": text}]
