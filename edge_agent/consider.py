"""What is known of a request before anything runs: intent, difficulty, models, the cloud, the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio.to_thread

from cloud_bridge.client import BridgeClient
from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Usage
from cloud_bridge.protocol.report import Intent
from edge_agent.models.manifest import Manifest
from edge_agent.models.store import ModelStore
from edge_agent.routing.difficulty import Difficulty
from edge_agent.routing.features import judged_text
from edge_agent.routing.intent import IntentClassifier
from edge_agent.routing.situation import DEFAULT_THRESHOLD, CloudPolicy, Situation
from edge_agent.runtimes.encoder import Encoder
from edge_agent.runtimes.runtime import DEFAULT_CONTEXT_LENGTH
from edge_agent.state.state import State
from edge_agent.turn import Turn

CHARACTERS_PER_TOKEN = 3.5
CHARACTERS_PER_LONG_TOKEN = 12
"""No text of a real language has longer tokens on average."""

TYPICAL_ANSWER_TOKENS = 300


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user set, as plain values."""

    cloud: CloudPolicy
    never_leave: frozenset[str]
    usd_per_day: float
    usd_per_mtok_in: float
    usd_per_mtok_out: float


def context_given(manifest: Manifest) -> int:
    """Tokens of context that a model is run with: its own, within what is worth its memory here."""
    return min(manifest.context_length or DEFAULT_CONTEXT_LENGTH, DEFAULT_CONTEXT_LENGTH)


class LocalModels:
    """Which local models there are, and which one `local` means."""

    def __init__(self, store: ModelStore, *, default: str, ram_budget_mb: int) -> None:
        self._store = store
        self._default = default
        self._ram_budget_mb = ram_budget_mb

    def installed(self) -> Sequence[Manifest]:
        """The language models that can run now, without a download."""
        return self._store.installed_llms()

    def default(self) -> Manifest | None:
        """What `local` and `auto` run: the configured model, installed or not, or the largest installed that fits.

        Raises NotFound for a configured model that is not in the catalog.
        """
        return self._default_among(self.installed())

    def choices(self) -> tuple[Manifest | None, dict[str, Manifest]]:
        """`default()`, and what a request may ask for by id: what is installed, and what is configured.

        Looks at the models' files once, since every request asks.
        """
        installed = self.installed()
        default = self._default_among(installed)
        models = [*installed, *([default] if default else [])]
        return default, {manifest.id: manifest for manifest in models}

    def _default_among(self, installed: Sequence[Manifest]) -> Manifest | None:
        if self._default != "auto":
            return self._store.catalog.get(self._default)
        there = {manifest.id for manifest in installed}
        return next((m for m in self._store.llms_that_fit(self._ram_budget_mb) if m.id in there), None)


class Considerer:
    """Gathers what `decide` looks at. The encoder's work is done in a thread."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        intents: IntentClassifier,
        difficulty: Difficulty,
        models: LocalModels,
        bridge: BridgeClient,
        state: State,
        policy: Policy,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._encoder = encoder
        self._intents = intents
        self._difficulty = difficulty
        self._models = models
        self._bridge = bridge
        self._state = state
        self._policy = policy
        self._now = now

    async def situation(self, turn: Turn) -> Situation:
        """The situation of this request, now. What was detected in the text is not part of it yet."""
        request = turn.request
        local, known = await anyio.to_thread.run_sync(self._models.choices)
        wanted = known.get(request.model, local)
        turn.intent, p_local_right = await anyio.to_thread.run_sync(
            self._read, request.conversation, wanted.id if wanted else None
        )
        return Situation(
            requested_model=request.model,
            known_local_models=frozenset(known),
            local_model=local.id if local else None,
            local_available=wanted is not None,
            local_context_length=context_given(wanted) if wanted else None,
            prompt_tokens_estimate=_tokens_at_least(request.conversation),
            needs_tools=bool(request.conversation.tools),
            cloud_policy=self._policy.cloud,
            cloud_configured=self._bridge.configured,
            cloud_available=self._bridge.configured and await self._bridge.reachable(),
            intent=turn.intent,
            p_local_right=p_local_right,
            never_leave=self._policy.never_leave,
            defer=request.edge.defer,
            threshold=DEFAULT_THRESHOLD,
            max_cost_usd=request.edge.max_cost_usd,
            cost_estimate_usd=self._cost_estimate(request.conversation),
            spent_today_usd=await anyio.to_thread.run_sync(self._state.spent_since, midnight(self._now())),
            usd_per_day=self._policy.usd_per_day,
        )

    def would_have_cost(self, usage: Usage) -> float:
        """What a locally made answer saved, at the first provider's prices, in US dollars."""
        return (
            usage.prompt_tokens * self._policy.usd_per_mtok_in + usage.completion_tokens * self._policy.usd_per_mtok_out
        ) / 1_000_000

    def _read(self, conversation: Conversation, model_id: str | None) -> tuple[Intent | None, float | None]:
        text = judged_text(conversation)
        if not text.strip():
            return None, None
        rows = self._encoder.embed([text])
        return self._intents.of_embeddings(rows)[0], self._difficulty.estimate(conversation, rows[0], model_id)

    def _cost_estimate(self, conversation: Conversation) -> float:
        answer = conversation.sampling.max_tokens or TYPICAL_ANSWER_TOKENS
        prompt = round(_characters(conversation) / CHARACTERS_PER_TOKEN)
        return self.would_have_cost(Usage(prompt, answer))


def midnight(now: float) -> float:
    """When the day of `now` began, by UTC: daily budgets start there. Both in seconds since 1970."""
    day = datetime.fromtimestamp(now, UTC)
    return day.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def _characters(conversation: Conversation) -> int:
    return sum(map(len, conversation.strings()))


def _tokens_at_least(conversation: Conversation) -> int:
    """Never too high: a longer prompt is escalated or refused by it. The runtime counts exactly."""
    return _characters(conversation) // CHARACTERS_PER_LONG_TOKEN
