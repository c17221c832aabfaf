"""What a grammar costs."""

from __future__ import annotations

from tests.benchmarks.clients import Server, story
from tests.benchmarks.figure import Figure, alternating, compared
from tests.benchmarks.setup import Setup
from tests.daemon.running_daemon import daemon

# Long strings, so that the model writes about as freely as without it.
SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "hours": {"type": "array", "items": {"type": "string"}, "minItems": 12},
    },
    "required": ["title", "hours"],
    "additionalProperties": False,
}
SHAPE = {"type": "json_schema", "json_schema": {"name": "log", "schema": SCHEMA, "strict": True}}


def measure(setup: Setup) -> list[Figure]:
    """Generation of JSON that fits a schema against generation of free text."""
    with daemon(setup.scratch / "home", setup.models, setup.config) as running:
        server = Server.of(running)
        speed = alternating(
            {
                "json": lambda n: server.streamed(story(n), setup.tokens, response_format=SHAPE).tokens_per_s,
                "free": lambda n: server.streamed(story(n), setup.tokens).tokens_per_s,
            },
            rounds=setup.rounds,
        )
    return [compared(f"JSON by a schema, {setup.name}", speed["json"], speed["free"], "free text", "tokens/s")]
