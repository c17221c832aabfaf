"""An agent over a real state and a real bridge, whose local model and situation a test writes itself."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from cloud_bridge.protocol.conversation import Conversation, Message, Sampling, Text
from cloud_bridge.protocol.events import (
    AnswerEvent,
    Event,
    Finish,
    OtherChoice,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from cloud_bridge.protocol.problems import Problem
from edge_agent.agent import Agent
from edge_agent.answer_cache import AnswerCache, CacheRules
from edge_agent.deciding import Decider
from edge_agent.escalate import Escalator
from edge_agent.feed import Feed
from edge_agent.local_attempt import LocalAttempt
from edge_agent.privacy.spans import Span
from edge_agent.privacy.vault import Vault
from edge_agent.record import Recorder
from edge_agent.routing.confidence import from_logprobs
from edge_agent.routing.situation import Situation
from edge_agent.state.state import State
from edge_agent.turn import Request, Turn
from tests.upstream import RecordingUpstream

TEXT = "Write to Anna Müller about the delay."
ROUTED = Situation(
    known_local_models=frozenset({"small"}), local_model="small", cloud_configured=True, cloud_available=True
)


def sure(token: str, logprob: float = -0.01) -> tuple[TokenLogprob, ...]:
    return (TokenLogprob(token, logprob),)


LOCAL: Sequence[Event] = (
    OtherChoice(1, TextDelta("one", sure("one", -9.0))),
    ToolCallDelta(0, "call_1", "look_up", "{", sure("{")),
    OtherChoice(1, TextDelta("!", sure("!", -9.0))),
    OtherChoice(1, Finish("length")),
    ToolCallDelta(0, arguments="}", logprobs=sure("}")),
    Finish("tool_calls", Usage(5, 4)),
)
"""Two answers as a runtime gives them: the first is a call that the model is sure of, the second a guess."""


class Detector:
    """Finds two names: what finds names is tested elsewhere."""

    def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
        names = re.finditer("Anna Müller|Rebecca Thornbury", text)
        return [Span(found.start(), found.end(), "PERSON", 1.0) for found in names]


class Stage:
    """The agent. `situation` is what it decides by, `local` the local model's events, or the problem it has."""

    def __init__(self, state: State, bridge: Any, cloud: RecordingUpstream) -> None:
        self.state, self.cloud = state, cloud
        self.situation = ROUTED
        self.local: Any = LOCAL
        detector: Any = Detector()
        self.cache = cache = AnswerCache(state, CacheRules(exact=False))
        self.escalator = Escalator(detector=detector, vault=Vault(state), bridge=bridge, state=state, cache=cache)
        considerer: Any = SimpleNamespace(
            situation=self._situation,
            read_late=_nothing,
            look_for_implicit=_nothing,
            keep_notes=_nothing,
            would_have_cost=lambda _: 0.0,
            note_speed=lambda _: None,
        )
        judge: Any = SimpleNamespace(confidence=_sure_of_its_words)
        self.agent = Agent(
            decider=Decider(considerer=considerer, judge=judge, escalator=self.escalator),
            pool=SimpleNamespace(runtime=self._runtime),  # type: ignore[arg-type]
            tasks=SimpleNamespace(),  # type: ignore[arg-type]
            escalator=self.escalator,
            recorder=Recorder(state, Feed()),
            shadow=SimpleNamespace(offer=lambda _: None),  # type: ignore[arg-type]
        )

    async def _situation(self, turn: Turn) -> Situation:
        return replace(self.situation, requested_model=turn.request.model, defer=turn.request.edge.defer)

    async def _runtime(self, model: str) -> Any:
        local = self.local[model] if isinstance(self.local, dict) else self.local
        if isinstance(local, Problem):
            raise local
        return SimpleNamespace(generate=lambda _: stream(local))

    async def answer(self, request: Request) -> list[AnswerEvent]:
        return [event async for event in self.agent.answer(request)]


async def _nothing(_: Turn) -> None:
    """There is nothing to read late."""


async def _sure_of_its_words(_turn: Turn, _model: str, attempt: LocalAttempt) -> float:
    return from_logprobs(attempt.logprobs)


async def stream(events: Sequence[Event]) -> AsyncGenerator[Event]:
    for event in events:
        if isinstance(event, Problem):
            raise event
        yield event


def asking(n: int = 3, **fields: Any) -> Request:
    return Request(Conversation((Message("user", (Text(TEXT),)),), sampling=Sampling(n=n)), **fields)
