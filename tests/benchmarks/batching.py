"""Several requests at once: through the daemon, and by llama.cpp's C++ server with the same model and settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.benchmarks import cpp_server
from tests.benchmarks.clients import Server, story
from tests.benchmarks.figure import Figure, alternating, compared
from tests.benchmarks.generating import WAITING
from tests.benchmarks.setup import Setup
from tests.daemon.running_daemon import daemon

AT_ONCE = (1, 2, 4, 8)
HELD_AGAINST_CPP = (1, 4, 8)
TRIED_WITH = 4
MOST_ROUNDS = 3
"""A round of this takes minutes."""


def measure(setup: Setup) -> list[Figure]:
    """Tokens a second in all for 1, 2, 4 and 8 requests, answered whole, and for 8 that are streamed."""
    works: dict[str, Callable[[int], float]] = {}
    name = cpp_server.name_of(setup)
    with ExitStack() as stack:
        ours = Server.of(stack.enter_context(daemon(setup.scratch / "home", setup.models, setup.config)))
        works |= {f"ours {width}": _total(ours, width, setup) for width in AT_ONCE}
        works["ours streamed"] = _total(ours, max(AT_ONCE), setup, stream=True)
        if name is not None:
            theirs = stack.enter_context(_faster_cpp_server(setup))
            works |= {f"theirs {width}": _total(theirs, width, setup) for width in HELD_AGAINST_CPP}
            works["theirs streamed"] = _total(theirs, max(AT_ONCE), setup, stream=True)
        speed = alternating(works, rounds=min(setup.rounds, MOST_ROUNDS))
    one = speed["ours 1"]
    figures = [
        compared(f"{width} at once, {setup.name}", speed[f"ours {width}"], one, "one request", "tokens/s")
        for width in AT_ONCE[1:]
    ]
    for key in (*map(str, HELD_AGAINST_CPP), "streamed"):
        what = f"{max(AT_ONCE)} at once, streamed" if key == "streamed" else f"{key} at once"
        if name is None:
            figures.append(Figure(f"{what}, {setup.name}", f"{speed[f'ours {key}']:.4g} tokens/s", "", _absent()))
            continue
        pair = speed[f"ours {key}"], speed[f"theirs {key}"]
        figures.append(compared(f"{what}, {setup.name}", *pair, name, "tokens/s"))
    return figures


@contextmanager
def _faster_cpp_server(setup: Setup) -> Iterator[Server]:
    """The C++ server whose threads wait in the way that is faster on this machine, until the block ends."""

    def speed(waiting: str) -> float:
        with cpp_server.cpp_server(setup, max(AT_ONCE), WAITING[waiting]) as server:
            four = _total(server, TRIED_WITH, setup)
            return max(four(0), four(1))

    faster = max(WAITING, key=speed)
    with cpp_server.cpp_server(setup, max(AT_ONCE), WAITING[faster]) as server:
        yield server


def _total(server: Server, width: int, setup: Setup, *, stream: bool = False) -> Callable[[int], float]:
    def work(number: int) -> float:
        questions = [story(number * width + each) for each in range(width)]
        return server.total_speed(questions, setup.tokens, stream=stream)

    return work


def _absent() -> str:
    return f"no C++ server here; {cpp_server.HOW_TO_INSTALL}"
