"""Answers that repeat their input, which prompt-lookup decoding helps with."""

from __future__ import annotations

from tests.benchmarks.clients import Messages, Server, story
from tests.benchmarks.figure import Figure, alternating, compared
from tests.benchmarks.setup import Setup
from tests.daemon.running_daemon import daemon

LETTER = (
    "Dear Mr. Halvorsen, thank you for your order of the ninth of March. We have sent {n} lamps and the brass "
    "fittings by the morning ship, and you shuold have them before the end of the week. The glass for the tower "
    "is still beeing cut; our supplier in Bergen asks for another fourteen days, since the frost has broken two "
    "of his moulds. We would be glad to lend you our old lantern until then. Please tell the captain where it is "
    "to be put ashore, and wether he may leave it with the harbour master if nobody is at the pier. With kind "
    "regards, the lamp works of Stavanger."
)


def rewriting(number: int) -> Messages:
    """A letter to be copied with its slips mended."""
    text = f"Correct the spelling of this letter. Answer with the whole letter and nothing else.\n\n{LETTER}"
    return [{"role": "user", "content": text.format(n=number + 20)}]


def measure(setup: Setup) -> list[Figure]:
    """Generation while rewriting a letter against generation of something new."""
    with daemon(setup.scratch / "home", setup.models, setup.config) as running:
        server = Server.of(running)
        speed = alternating(
            {
                "rewriting": lambda n: server.streamed(rewriting(n), setup.tokens).tokens_per_s,
                "new": lambda n: server.streamed(story(n), setup.tokens).tokens_per_s,
            },
            rounds=setup.rounds,
        )
    what = f"rewriting a text, {setup.name}"
    return [compared(what, speed["rewriting"], speed["new"], "writing something new", "tokens/s")]
