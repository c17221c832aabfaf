"""`edge-agent serve` that is busy a moment after its start: three stand-ins, for what takes seconds to load.

A scripted model in the place of llama.cpp's, a finder of one name in the place of the detector's models, and no reading
of intents. All the rest, the request's way, masking, state, outbox, bridge and doors, is the real one.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from functools import partial
from types import SimpleNamespace
from typing import Any

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event, Finish, TextDelta, TokenLogprob, Usage
from edge_agent import composition
from edge_agent.cli.main import main
from edge_agent.consider import Considerer
from edge_agent.privacy.spans import Span
from edge_agent.runtimes.pool import Pool
from edge_agent.runtimes.runtime import CAPABILITIES, ModelSpec
from tests.crashes.clients import PLANTED

WORD_S = 0.01


class Script:
    """A model that says the last words of the question, slowly, one after the other."""

    def __init__(self, spec: ModelSpec) -> None:
        self.model_id = spec.model_id
        self.context_length = 4096
        self.capabilities = CAPABILITIES["gguf"]

    async def ensure_ready(self) -> None:
        """It always is."""

    async def generate(self, conversation: Conversation, adapter: Any = None) -> AsyncIterator[Event]:
        for word in conversation.last_user_text.split()[-4:]:
            await asyncio.sleep(WORD_S)
            yield TextDelta(f"{word} ", (TokenLogprob(f"{word} ", -0.01),))
        yield Finish("stop", Usage(20, 4))

    async def count(self, conversation: Conversation) -> int:
        return 20

    async def close(self) -> None:
        """There is nothing to unload."""


class Names:
    """Finds the one name that is said."""

    def warm(self) -> None:
        """Nothing is loaded."""

    def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
        return [Span(found.start(), found.end(), "PERSON", 1.0) for found in re.finditer(PLANTED, text)]


async def nothing(*_: Any) -> None:
    """What would be found is not what these daemons are for."""


if __name__ == "__main__":
    stands: Any = SimpleNamespace(composition=composition, considerer=Considerer)
    stands.composition.open_detector = lambda *_, **__: Names()
    stands.composition.Pool = partial(Pool, make=Script)
    stands.considerer.look_for_implicit = nothing
    stands.considerer.read_late = nothing
    main()
