"""One request: generation through the daemon and by the library's own loop."""

from __future__ import annotations

from contextlib import ExitStack

from edge_agent.bench import baseline_process
from tests.benchmarks.clients import Server, story
from tests.benchmarks.figure import Figure, alternating, compared
from tests.benchmarks.setup import CONTEXT_LENGTH, Setup
from tests.daemon.running_daemon import daemon

# Which of the two is faster depends on what else the machine does; the faster one is the baseline.
WAITING: dict[str, dict[str, str]] = {"spin": {}, "sleep": {"OMP_WAIT_POLICY": "PASSIVE"}}


def measure(setup: Setup) -> list[Figure]:
    """Tokens a second after the first one, streamed by the daemon, against `llama_cpp.Llama.generate`."""
    with ExitStack() as stack:
        ours = Server.of(stack.enter_context(daemon(setup.scratch / "home", setup.models, setup.config)))
        works = {"ours": lambda n: ours.streamed(story(n), setup.tokens).tokens_per_s}
        for name, environ in WAITING.items():
            baseline = stack.enter_context(
                baseline_process.started(
                    *("gguf", setup.path), context_length=CONTEXT_LENGTH, threads=setup.threads, environ=environ
                )
            )
            works[name] = lambda n, baseline=baseline: baseline.ask(story(n), setup.tokens).tokens_per_s
        speed = alternating(works, rounds=setup.rounds)
    best = max(speed[name] for name in WAITING)
    what = f"generation, one request, {setup.name}"
    return [compared(what, speed["ours"], best, f"{baseline.name}, its own loop", "tokens/s")]
