"""A local answer that is held back until it can be judged."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cloud_bridge.protocol.events import Event, Finish, TextDelta, TokenLogprob, ToolCallDelta

WHOLE = 1 << 30
"""Hold the whole answer: for clients that take it in one piece anyway."""


class LocalAttempt:
    """Wraps a runtime's stream: `hold` some tokens, judge them, then pass everything on or drop it.

    Where several answers were wanted, the first is judged; what comes of the others is held beside it, in order.

    Close it with `aclose`; the runtime then stops generating.
    """

    def __init__(self, stream: AsyncIterator[Event]) -> None:
        self._stream = stream
        self._held: list[Event] = []
        self.logprobs: list[TokenLogprob] = []
        self.finished = False

    async def hold(self, tokens: int) -> None:
        """Generate until `tokens` tokens of the first choice are there, or the answer is whole."""
        while not self.finished and len(self.logprobs) < tokens:
            event = await anext(self._stream, None)
            if event is None:
                self.finished = True
                return
            self._take(event)
            self._held.append(event)

    async def events(self) -> AsyncIterator[Event]:
        """What was held, then the rest as it comes."""
        for event in self._held:
            yield event
        async for event in self._stream:
            self._take(event)
            yield event

    async def aclose(self) -> None:
        """Stop generating."""
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()

    def _take(self, event: Event) -> None:
        if isinstance(event, TextDelta | ToolCallDelta):
            self.logprobs.extend(event.logprobs)
        self.finished = self.finished or isinstance(event, Finish)
