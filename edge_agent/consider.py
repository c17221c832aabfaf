"""What is known of a request before anything runs: intent, difficulty, models, the cloud, the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import anyio.to_thread

from cloud_bridge.client import BridgeClient
from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Usage
from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem, Unavailable
from cloud_bridge.protocol.report import Intent
from edge_agent.models.engines import ENGINES, Engine
from edge_agent.models.footprint import Footprints
from edge_agent.models.manifest import Manifest
from edge_agent.models.store import ModelStore
from edge_agent.readers import Readers
from edge_agent.routing.situation import DEFAULT_THRESHOLD, CloudPolicy, Situation
from edge_agent.runtimes.runtime import DEFAULT_CONTEXT_LENGTH, ModelSpec
from edge_agent.runtimes.sizing import Wishes, context_that_fits
from edge_agent.state.state import State
from edge_agent.turn import Request, Turn

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


class LocalModels:
    """Which local models there are, which one `local` means, and how each is run here. Thread-safe.

    `ram_budget_mb`: MiB that all loaded models may take together.
    """

    def __init__(
        self,
        store: ModelStore,
        *,
        default: str,
        ram_budget_mb: int,
        wishes: Wishes = Wishes(),  # noqa: B008 - frozen
        engines: Sequence[Engine] = ENGINES,
    ) -> None:
        self._store = store
        self._default = default
        self.ram_budget_mb = ram_budget_mb
        self._wishes = wishes
        self._engines: dict[str, Engine] = {engine.format: engine for engine in engines}
        self._runnable = {engine.format for engine in engines if engine.version is not None}
        self._footprints = Footprints()

    def spec(self, model_id: str) -> ModelSpec:
        """How the model is run: with as much context as is wanted and fits. Reads its header where it is not known.

        Raises what `ModelStore.file` and `footprint` raise, InvalidRequest code "not_a_language_model", and
        Unavailable code "extra_missing" where the library that runs it is not installed.
        """
        return self._spec(self._store.get(model_id))

    def check_default(self) -> None:
        """Raises NotFound for a configured model that nobody knows: a slip of the pen is told at start.

        One that was made here and is damaged now may be made again while the daemon runs.
        """
        if self._default != "auto":
            with suppress(Broken):
                self._store.get(self._default)

    def installed(self) -> Sequence[Manifest]:
        """The language models that can run now, without a download.

        Their `context_length` and `ram_mb` are what they have when they run here, not the catalog's figures.
        """
        return self._running(self._store.installed_llms())

    def default(self) -> Manifest | None:
        """What `local` and `auto` run: the configured model, or the largest installed that fits.

        A configured one of the catalog counts before it is installed; one that was made here and is gone does not.
        Of those made here one is chosen only where none of the catalog's that fits is installed.
        """
        return self.choices()[0]

    def choices(self) -> tuple[Manifest | None, dict[str, Manifest]]:
        """`default()`, and what a request may ask for by id: what is there, and what is configured.

        Looks at the models' files once, since every request asks. One whose library is missing is among them, so
        that whoever asks for it is told.
        """
        there = self._store.installed_llms()
        running = self._running(there)
        if self._default == "auto":
            default = self._store.preferred(running, self.ram_budget_mb)
        else:
            configured = next((m for m in (*running, *there) if m.id == self._default), None)
            default = configured or self._catalogued(self._default)
        models = [*there, *running, *([default] if default else [])]
        return default, {manifest.id: manifest for manifest in models}

    def _running(self, there: Sequence[Manifest]) -> list[Manifest]:
        return [self._as_run(manifest) for manifest in there if manifest.format in self._runnable]

    def _catalogued(self, model_id: str) -> Manifest | None:
        found = self._store.catalog.find(model_id)
        return self._as_run(found) if found else None

    def _as_run(self, manifest: Manifest) -> Manifest:
        """With the context and the memory that it has here; for one whose files are not there the catalog's guess."""
        try:
            spec = self._spec(manifest)
        except Problem:  # told to whoever asks for the model
            context = self._wishes.context_for(manifest.context_length or DEFAULT_CONTEXT_LENGTH)
            return replace(manifest, context_length=context)
        return replace(manifest, context_length=spec.context_length, ram_mb=spec.ram_mb)

    def _spec(self, manifest: Manifest) -> ModelSpec:
        engine = self._engine(manifest)
        wishes = self._wishes
        path = self._store.file(manifest.id)
        footprint = self._footprints.of(path, engine.format)
        wanted = wishes.context_for(manifest.context_length or DEFAULT_CONTEXT_LENGTH)
        context = context_that_fits(footprint, wanted, wishes.parallel, self.ram_budget_mb)
        return ModelSpec(
            model_id=manifest.id,
            path=path,
            format=engine.format,
            context_length=context,
            parallel=wishes.parallel,
            threads=wishes.threads,
            ram_mb=footprint.mb(context, wishes.parallel),
            max_waiting=wishes.max_waiting,
        )

    def _engine(self, manifest: Manifest) -> Engine:
        engine = self._engines.get(manifest.format)
        if manifest.kind != "llm" or engine is None:
            raise InvalidRequest(
                f"{manifest.id} is no language model.",
                code="not_a_language_model",
                hint="See `edge-agent models list`.",
                param="model",
            )
        if engine.format not in self._runnable:
            raise Unavailable(
                f"{manifest.id} needs {engine.name}, which is not installed.",
                code="extra_missing",
                hint=f"Run: {engine.install_command}, then start the daemon again.",
            )
        return engine


class Considerer:
    """Gathers what `decide` looks at. The encoder's work is done in a thread."""

    def __init__(
        self,
        *,
        readers: Readers,
        models: LocalModels,
        bridge: BridgeClient,
        state: State,
        policy: Policy,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._readers = readers
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
            intent=turn.intent,
            p_local_right=p_local_right,
            never_leave=self._policy.never_leave,
            defer=request.edge.defer,
            threshold=DEFAULT_THRESHOLD,
            max_cost_usd=request.edge.max_cost_usd,
            cost_estimate_usd=self._cost_estimate(request.conversation),
            spent_today_usd=await self._spent_today(),
            usd_per_day=self._policy.usd_per_day,
        )

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
        from edge_agent.routing.features import judged_text  # noqa: PLC0415 numpy, of which `Readers` says more

        text = judged_text(conversation)
        if not text.strip():
            return None, None
        rows = self._readers.encoder.embed([text])
        chance = self._readers.difficulty.estimate(conversation, rows[0], model_id)
        return self._readers.intents.of_embeddings(rows)[0], chance

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
    return _characters(conversation) // CHARACTERS_PER_LONG_TOKEN
