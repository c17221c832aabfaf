"""What is known of a request before anything runs: intent, difficulty, models, the cloud, the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import anyio.to_thread

from cloud_bridge.client import BridgeClient
from cloud_bridge.protocol.conversation import Conversation, ResponseFormat
from cloud_bridge.protocol.events import Finish, Usage
from cloud_bridge.protocol.problems import Problem, Unavailable
from cloud_bridge.protocol.residency import Residency, narrowed, nobody_there
from edge_agent.device import Device, DeviceState
from edge_agent.judging import LocalJudge, takes_back
from edge_agent.local_models import LocalModels
from edge_agent.models.manifest import Manifest
from edge_agent.notes import Note, said
from edge_agent.promises import Terms
from edge_agent.routing.calibration.task import EXACT_TASKS, task_of
from edge_agent.routing.candidates import Candidate
from edge_agent.routing.intents_file import OwnIntents
from edge_agent.routing.parameters import Parameters, parameters_for
from edge_agent.routing.rules import Facts, Rule, needs_intent
from edge_agent.routing.situation import CloudPolicy, ImplicitPolicy, Situation
from edge_agent.routing.weigh import Weights
from edge_agent.runtimes.resident import LoadedModel
from edge_agent.speeds import Speeds
from edge_agent.state.state import State
from edge_agent.state.times import midnight
from edge_agent.text_models import TextModels
from edge_agent.turn import Request, Turn

if TYPE_CHECKING:
    from edge_agent.routing.reading import Reading

CHARACTERS_PER_TOKEN = 3.5
CHARACTERS_PER_LONG_TOKEN = 12
"""No text of a real language has longer tokens on average."""

TYPICAL_ANSWER_TOKENS = 300

LOAD_MS_PER_MB = 4.0
"""What loading a model takes, reckoned from its size: 4 to 5 s for one of 1.1 GB."""

LOW_BATTERY_PERCENT = 20.0

_EVEN = Weights()


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
    rules: tuple[Rule, ...] = ()
    weights: Weights = _EVEN


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was looked at for one request. `wanted` is the model that it names, or `local`; `able`: who may answer."""

    local: Manifest | None
    wanted: Manifest | None
    known: Mapping[str, Manifest]
    able: Sequence[Manifest]
    terms: Mapping[str, Terms]
    reading: Reading | None
    kept_by: str | None
    chances: Mapping[str, float]
    device: DeviceState


class Considerer:
    """Gathers what `decide` looks at. The encoder's work is done in a thread."""

    def __init__(
        self,
        *,
        text_models: TextModels,
        models: LocalModels,
        bridge: BridgeClient,
        state: State,
        judge: LocalJudge,
        own_intents: OwnIntents,
        device: Device,
        speeds: Speeds,
        loaded: Callable[[], Sequence[LoadedModel]],
        policy: Policy,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._text_models = text_models
        self._models = models
        self._bridge = bridge
        self._state = state
        self._judge = judge
        self._own_intents = own_intents
        self.device = device
        self._speeds = speeds
        self._loaded = loaded
        self._policy = policy
        self._now = now

    async def situation(self, turn: Turn) -> Situation:
        """The situation of this request, now. What was detected in the text is not part of it yet."""
        request, policy = turn.request, self._policy
        seen = await anyio.to_thread.run_sync(self._look, request)
        local, wanted, reading = seen.local, seen.wanted, seen.reading
        turn.intent = reading.intent if reading else None
        turn.terms = seen.terms
        loaded = self._loaded()
        turn.ready = frozenset(each.model_id for each in loaded if each.has_seat)
        candidates = tuple(self._candidate(each, request, seen, loaded) for each in seen.able)
        terms = seen.terms.get(wanted.id, Terms()) if wanted else Terms()
        battery = seen.device.battery
        low_battery = bool(seen.device.on_battery) and battery is not None and battery < LOW_BATTERY_PERCENT
        return Situation(
            requested_model=request.model,
            known_local_models=frozenset(seen.known),
            local_model=local.id if local else None,
            local_available=wanted is not None,
            local_context_length=wanted.context_length if wanted else None,
            prompt_tokens_estimate=_tokens_at_least(request.conversation),
            needs_tools=bool(request.conversation.tools),
            cloud_policy=policy.cloud,
            cloud_configured=self._bridge.configured,
            cloud_available=self._bridge.configured and await self._bridge.reachable(),
            cloud_refusal=await self._refusal(request),
            intent=turn.intent,
            p_local_right=seen.chances.get(wanted.id) if wanted else None,
            never_leave=policy.never_leave,
            implicit_policy=policy.implicit,
            defer=request.edge.defer,
            calibrated=terms.calibrated,
            promise_broken=terms.promise_broken,
            threshold=terms.threshold,
            hold_tokens=terms.hold_tokens,
            max_cost_usd=request.edge.max_cost_usd,
            cost_estimate_usd=self.cost_estimate(turn.notes.there(request.conversation)),
            spent_today_usd=await self._spent_today(),
            usd_per_day=policy.usd_per_day,
            candidates=candidates,
            own_route=reading.route if reading else "auto",
            own_task=reading.task if reading else None,
            kept_by=seen.kept_by,
            rules=policy.rules,
            facts=self._facts(request, seen) if policy.rules else Facts(),
            weights=policy.weights,
            low_battery=low_battery,
            deadline_ms=request.edge.deadline_ms,
            cloud_ms=self._expected_ms(Speeds.CLOUD, request),
            revisable=takes_back(request),
            cached_only=request.edge.cache == "only",
            parameters=_parameters(request, candidates, low_battery=low_battery),
        )

    def _look(self, request: Request) -> _Seen:
        """What takes files, the encoder or the system to know. Blocks."""
        local, known = self._models.choices(request.model)
        wanted = known.get(request.model, local)
        judged = self._is_judged(request)
        able = [local] if local and judged else []
        if judged and self._models.chooses:
            able += [each for each in self._models.runnable(known.values()) if each is not local]
        reading: Reading | None = None
        chances: dict[str, float] = {}
        if judged or self._needs_intent(request):
            named = [each.id for each in (*able, *([wanted] if wanted else ()))]
            reading, chances = self._read(request.conversation, named)
        kept_by = self._kept_by(request) if reading and self._own_intents.current() else None
        terms = {each.id: self._judge.terms(each, request) for each in (*able, *([wanted] if wanted else ()))}
        return _Seen(local, wanted, known, able, terms, reading, kept_by, chances, self.device.state())

    def _kept_by(self, request: Request) -> str | None:
        """The own intent by which something in the conversation must stay here, whoever said it, and when."""
        if request.model != "auto":
            return None
        return self._text_models.reader.kept_by([message.text for message in request.conversation.messages])

    def _candidate(self, model: Manifest, request: Request, seen: _Seen, loaded: Sequence[LoadedModel]) -> Candidate:
        """A model that "auto" may choose."""
        terms, budget_mb = seen.terms[model.id], self._models.ram_budget_mb
        loads_ms = 0.0 if any(each.model_id == model.id for each in loaded) else model.ram_mb * LOAD_MS_PER_MB
        queue_ms = self._speeds.queue_ms(model.id, loaded, ram_mb=model.ram_mb, ram_budget_mb=budget_mb)
        return Candidate(
            model=model.id,
            runtime=model.format,
            context_length=model.context_length,
            fits=model.ram_mb <= budget_mb,
            p_right=seen.chances.get(model.id),
            expected_ms=self._expected_ms(model.id, request, queue_ms + loads_ms),
            queue_ms=queue_ms,
            calibrated=terms.calibrated,
            threshold=terms.threshold,
            hold_tokens=terms.hold_tokens,
            promise_broken=terms.promise_broken,
        )

    def _expected_ms(self, name: str, request: Request, starts_ms: float = 0.0) -> float | None:
        expected = self._speeds.expected_ms(name, _answer_tokens(request.conversation))
        return None if expected is None else starts_ms + expected

    def _facts(self, request: Request, seen: _Seen) -> Facts:
        """What the user's rules may ask for."""
        now = datetime.fromtimestamp(self._now())  # noqa: DTZ006 - the user's own clock
        characters = _characters(request.conversation)
        return Facts(
            intents=seen.reading.intent.every if seen.reading else (),
            own=seen.reading.own if seen.reading else frozenset(),
            tokens=round(characters / CHARACTERS_PER_TOKEN),
            characters=characters,
            minute=now.hour * 60 + now.minute,
            network=seen.device.network,
            battery=seen.device.battery,
            on_battery=seen.device.on_battery,
            session=request.edge.session_id or "",
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

    async def keep_notes(self, turn: Turn) -> None:
        """Keep here the notes that describe somebody without a name, and those of a subject that the user keeps here.

        Raises Problem where it cannot be known; then nothing may leave.
        """
        if turn.masked is None and turn.notes.leaving:
            stays = await anyio.to_thread.run_sync(lambda: list(filter(self._stays, turn.notes.leaving)))
            turn.notes = turn.notes.keeping(stays)

    def _stays(self, note: Note) -> bool:
        text = note.passage.text
        if self._policy.implicit != "warn" and self._text_models.implicit.assess(said(text)).found:
            return True
        return bool(self._own_intents.current()) and self._text_models.reader.kept_by([text]) is not None

    async def read_late(self, turn: Turn) -> None:
        """Find the intent for the report, where the decision needed none: after the answer, it delays no word of it."""
        if turn.intent is None:
            with suppress(Problem):  # the answer is given; what is wrong with the encoder, /readyz and doctor say
                reading, _ = await anyio.to_thread.run_sync(self._read, turn.request.conversation, ())
                turn.intent = reading.intent if reading else None

    def note_speed(self, turn: Turn) -> None:
        """Remember how fast whoever answered was, for the next decision; not where somebody else was asked first."""
        tiers = {step.confidence is not None for step in turn.steps}
        is_second = turn.failed_over or (turn.route == "cloud" and True in tiers)
        name = {"cloud": Speeds.CLOUD, "local": turn.model}.get(turn.route)
        if is_second or name is None or turn.finished_ms is None or (turn.route == "local" and name not in turn.ready):
            return
        finish = turn.events[-1]
        if isinstance(finish, Finish):
            took_ms = turn.finished_ms - (turn.route_ms or 0.0)
            self._speeds.note(name, took_ms=took_ms, tokens=finish.usage.completion_tokens)

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

    def _needs_intent(self, request: Request) -> bool:
        """Whether a rule or an intent of the user's own could decide about this request."""
        return needs_intent(self._policy.rules) or (request.model == "auto" and bool(self._own_intents.current()))

    def _read(self, conversation: Conversation, model_ids: Sequence[str]) -> tuple[Reading | None, dict[str, float]]:
        """What is asked for, and for each model the chance that it will be right."""
        from edge_agent.routing.features import judged_text  # noqa: PLC0415 numpy, of which `TextModels` says more
        from edge_agent.routing.request_rows import meaning  # noqa: PLC0415 as above

        text = judged_text(conversation)
        if not text.strip():
            return None, {}
        reading = self._text_models.reader.read([text])[0]
        difficulty, row = self._text_models.difficulty, meaning(reading.row)
        # The preferred model is there to be tried; another one in its place must have shown what it can do.
        able = [each for index, each in enumerate(model_ids) if not index or difficulty.knows(each)]
        return reading, {each: difficulty.estimate(conversation, row, each) for each in able}

    def cost_estimate(self, conversation: Conversation) -> float:
        """What the first provider will ask for an answer, more or less, in US dollars."""
        answer = _answer_tokens(conversation)
        prompt = round(_characters(conversation) / CHARACTERS_PER_TOKEN)
        return self.would_have_cost(Usage(prompt, answer * conversation.sampling.n))


def _parameters(request: Request, candidates: Sequence[Candidate], *, low_battery: bool) -> Parameters:
    return parameters_for(
        request.conversation,
        exact=task_of(request.edge.task, request.conversation.response_format) in EXACT_TASKS,
        streams=request.stream,
        deadline_ms=request.edge.deadline_ms,
        expected_ms=max((each.expected_ms for each in candidates if each.expected_ms is not None), default=None),
        low_battery=low_battery,
    )


def _answer_tokens(conversation: Conversation) -> int:
    return conversation.sampling.max_tokens or TYPICAL_ANSWER_TOKENS


def _characters(conversation: Conversation) -> int:
    return sum(map(len, conversation.strings()))


def _tokens_at_least(conversation: Conversation) -> int:
    """Never too high: a longer prompt is escalated or refused by it. The runtime counts exactly."""
    # A response format's schema is kept to, and not read.
    return _characters(replace(conversation, response_format=ResponseFormat())) // CHARACTERS_PER_LONG_TOKEN
