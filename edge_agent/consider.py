"""What is known of a request before anything runs: intent, difficulty, models, the cloud, the budget."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import anyio.to_thread

from cloud_bridge.client import BridgeClient
from cloud_bridge.protocol.conversation import Conversation, ResponseFormat
from cloud_bridge.protocol.events import Usage
from cloud_bridge.protocol.problems import Problem, Unavailable
from cloud_bridge.protocol.report import Intent
from cloud_bridge.protocol.residency import Residency, narrowed, nobody_there
from edge_agent.local_models import LocalModels
from edge_agent.routing.situation import DEFAULT_THRESHOLD, CloudPolicy, ImplicitPolicy, Situation
from edge_agent.state.state import State
from edge_agent.text_models import TextModels
from edge_agent.turn import Request, Turn

CHARACTERS_PER_TOKEN = 3.5
CHARACTERS_PER_LONG_TOKEN = 12
"""No text of a real language has longer tokens on average."""

TYPICAL_ANSWER_TOKENS = 300


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user set, as plain values. `residency` None: any region."""

    cloud: CloudPolicy
    never_leave: frozenset[str]
    implicit: ImplicitPolicy
    residency: Residency | None
    trusts_clock: bool
    usd_per_day: float
    usd_per_mtok_in: float
    usd_per_mtok_out: float


class Considerer:
    """Gathers what `decide` looks at. The encoder's work is done in a thread."""

    def __init__(
        self,
        *,
        text_models: TextModels,
        models: LocalModels,
        bridge: BridgeClient,
        state: State,
        policy: Policy,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._text_models = text_models
        self._models = models
        self._bridge = bridge
        self._state = state
        self._policy = policy
        self._now = now

    async def situation(self, turn: Turn) -> Situation:
        """The situation of this request, now. What was detected in the text is not part of it yet."""
        request = turn.request
        local, known = await anyio.to_thread.run_sync(self._models.choices, request.model)
        wanted = known.get(request.model, local)
        p_local_right: float | None = None
        if self._is_judged(request):
            turn.intent, p_local_right = await anyio.to_thread.run_sync(
                self._read, request.conversation, wanted.id if wanted else None
            )
        return Situation(
            requested_model=request.model,
            known_local_models=frozenset(known),
            local_model=local.id if local else None,
            local_available=wanted is not None,
            local_context_length=wanted.context_length if wanted else None,
            prompt_tokens_estimate=_tokens_at_least(request.conversation),
            needs_tools=bool(request.conversation.tools),
            cloud_policy=self._policy.cloud,
            cloud_configured=self._bridge.configured,
            cloud_available=self._bridge.configured and await self._bridge.reachable(),
            cloud_refusal=await self._refusal(request),
            intent=turn.intent,
            p_local_right=p_local_right,
            never_leave=self._policy.never_leave,
            implicit_policy=self._policy.implicit,
            defer=request.edge.defer,
            threshold=DEFAULT_THRESHOLD,
            max_cost_usd=request.edge.max_cost_usd,
            cost_estimate_usd=self._cost_estimate(request.conversation),
            spent_today_usd=await self._spent_today(),
            usd_per_day=self._policy.usd_per_day,
        )

    async def _refusal(self, request: Request) -> Problem | None:
        """Why no provider may be asked this, whatever it holds: by the device's clock, or by where providers are."""
        if not self._bridge.configured:
            return None
        residency = narrowed(self._policy.residency, request.edge.residency)
        if not self._bridge.serves(residency):
            return nobody_there(residency)
        if not self._policy.trusts_clock:
            try:
                await anyio.to_thread.run_sync(self._state.check_clock)
            except Unavailable as problem:
                return problem
        return None

    async def look_for_implicit(self, turn: Turn) -> bool:
        """Whether the turn describes somebody without naming them, noted for the report; looked for once a turn.

        Raises Problem where it cannot be known; then nothing may leave.
        """
        if turn.implicit is None:
            turn.implicit = await anyio.to_thread.run_sync(
                lambda: self._text_models.implicit.assess(turn.request.conversation)
            )
        return turn.implicit.found

    async def read_late(self, turn: Turn) -> None:
        """Find the intent for the report, where the decision needed none: after the answer, it delays no word of it."""
        if turn.intent is None:
            with suppress(Problem):  # the answer is given; what is wrong with the encoder, /readyz and doctor say
                turn.intent, _ = await anyio.to_thread.run_sync(self._read, turn.request.conversation, None)

    def would_have_cost(self, usage: Usage) -> float:
        """What a locally made answer saved, at the first provider's prices, in US dollars."""
        return (
            usage.prompt_tokens * self._policy.usd_per_mtok_in + usage.completion_tokens * self._policy.usd_per_mtok_out
        ) / 1_000_000

    def _is_judged(self, request: Request) -> bool:
        """Whether intent and difficulty may decide anything: they do where there is a choice, and somebody to ask."""
        return request.model == "auto" and self._policy.cloud == "auto" and self._bridge.configured

    async def _spent_today(self) -> float:
        if not self._policy.usd_per_day:
            return 0.0  # without a limit nobody asks
        return await anyio.to_thread.run_sync(self._state.spent_since, midnight(self._now()))

    def _read(self, conversation: Conversation, model_id: str | None) -> tuple[Intent | None, float | None]:
        from edge_agent.routing.features import judged_text  # noqa: PLC0415 numpy, of which `TextModels` says more

        text = judged_text(conversation)
        if not text.strip():
            return None, None
        rows = self._text_models.encoder.embed([text])
        chance = self._text_models.difficulty.estimate(conversation, rows[0], model_id)
        return self._text_models.intents.of_embeddings(rows)[0], chance

    def _cost_estimate(self, conversation: Conversation) -> float:
        answer = conversation.sampling.max_tokens or TYPICAL_ANSWER_TOKENS
        prompt = round(_characters(conversation) / CHARACTERS_PER_TOKEN)
        return self.would_have_cost(Usage(prompt, answer * conversation.sampling.n))


def midnight(now: float) -> float:
    """When the day of `now` began, by UTC: daily budgets start there. Both in seconds since 1970."""
    day = datetime.fromtimestamp(now, UTC)
    return day.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def _characters(conversation: Conversation) -> int:
    return sum(map(len, conversation.strings()))


def _tokens_at_least(conversation: Conversation) -> int:
    """Never too high: a longer prompt is escalated or refused by it. The runtime counts exactly."""
    # A response format's schema is kept to, and not read.
    return _characters(replace(conversation, response_format=ResponseFormat())) // CHARACTERS_PER_LONG_TOKEN
