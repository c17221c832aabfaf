"""Several requests at once: through the daemon, and by llama.cpp's C++ server with the same model and settings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from tests.benchmarks import cpp_server
from tests.benchmarks.clients import Server, story
from tests.benchmarks.figure import Figure, alternating, compared
from tests.benchmarks.generating import WAITING
from tests.benchmarks.setup import Setup
from tests.daemon.running_daemon import daemon

AT_ONCE = (1, 2, 4, 8)
HELD_AGAINST_CPP = (1, 4, 8)


def measure(setup: Setup) -> list[Figure]:
    """Tokens a second in all for 1, 2, 4 and 8 requests, answered whole, and for 8 that are streamed."""
    works: dict[str, Callable[[int], float]] = {}
    name = cpp_server.name_of(setup)
    with ExitStack() as stack:
        ours = Server.of(stack.enter_context(daemon(setup.scratch / "home", setup.models, setup.config)))
        works |= {f"ours {width}": _total(ours, width, setup) for width in AT_ONCE}
        works["ours streamed"] = _total(ours, max(AT_ONCE), setup, stream=True)
        for waiting, environ in WAITING.items() if name else ():
            theirs = stack.enter_context(cpp_server.cpp_server(setup, max(AT_ONCE), environ))
            works |= {f"{waiting} {width}": _total(theirs, width, setup) for width in HELD_AGAINST_CPP}
            works[f"{waiting} streamed"] = _total(theirs, max(AT_ONCE), setup, stream=True)
        speed = alternating(works, rounds=setup.rounds)
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
        best = max(speed[f"{waiting} {key}"] for waiting in WAITING)
        figures.append(compared(f"{what}, {setup.name}", speed[f"ours {key}"], best, name, "tokens/s"))
    return figures


def _total(server: Server, width: int, setup: Setup, *, stream: bool = False) -> Callable[[int], float]:
    def work(number: int) -> float:
        questions = [story(number * width + each) for each in range(width)]
        return server.total_speed(questions, setup.tokens, stream=stream)

    return work


def _absent() -> str:
    return f"no C++ server here; {cpp_server.HOW_TO_INSTALL}"
