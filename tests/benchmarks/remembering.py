"""The second turn of a long conversation: only what is new has to be read."""

from __future__ import annotations

import statistics

from tests.benchmarks.clients import Server, log_book
from tests.benchmarks.figure import Figure, compared
from tests.benchmarks.setup import Setup
from tests.daemon.running_daemon import daemon

TURN_TOKENS = 32


def measure(setup: Setup) -> list[Figure]:
    """Time to the first token of the second turn against that of the first."""
    with daemon(setup.scratch / "home", setup.models, setup.config) as running:
        server = Server.of(running)
        few, many = (server.streamed(log_book(0, entries), 1).prompt_tokens for entries in (4, 24))
        entries = round(4 + (setup.history_tokens - few) * 20 / (many - few))
        firsts, seconds = [], []
        for number in range(1, setup.rounds + 1):
            asked = log_book(number, entries)
            first = server.streamed(asked, TURN_TOKENS)
            answer = {"role": "assistant", "content": first.text}
            second = server.streamed([*asked, answer, {"role": "user", "content": "And what after that?"}], TURN_TOKENS)
            firsts.append(first.first_s * 1000)
            seconds.append(second.first_s * 1000)
    what = f"first token, second turn, {first.prompt_tokens} tokens of history, {setup.name}"
    return [compared(what, statistics.median(seconds), statistics.median(firsts), "the first turn", "ms")]
