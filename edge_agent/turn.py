"""One request on its way: what is known of it so far, and the report that comes of that."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event, Finish, OtherChoice, ReasoningDelta, Served, TextDelta, ToolCallDelta
from cloud_bridge.protocol.problems import Problem
from cloud_bridge.protocol.report import ImplicitIdentity, Intent, PrivacyReport, Report, Route, Timings
from cloud_bridge.protocol.residency import Residency
from cloud_bridge.protocol.trace import Traceparent
from edge_agent.answer_cache import Hit
from edge_agent.memory.choosing import tokens
from edge_agent.notes import NOTHING, Note, Notes
from edge_agent.privacy.mask import MaskResult
from edge_agent.promises import Terms
from edge_agent.routing import replay
from edge_agent.routing.replay import Step
from edge_agent.routing.situation import Decision
from edge_agent.state.jobs import Job, Priority

Defer = Literal["never", "allow", "always"]

CacheUse = Literal["use", "refresh", "off", "only"]
"""Whether a kept answer may be given, and this one be kept; "refresh": only the latter; "only": a kept one or none."""

MemoryUse = Literal["use", "off"]
"""Whether documents, and earlier turns that the client did not send, may be used for the answer."""

ROOM_FOR_ANSWER = 512
"""Tokens that are left for an answer where the request does not say how long it may be."""

_WITHOUT_NOTES = frozenset({"context_length_exceeded", "template_refused"})
"""What a local model refuses a conversation with that it may answer without notes."""


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """The `edge` object of a request. `residency`: the regions where it may be processed, beside the settings' own.

    `priority` and `expires_s` are for what is queued: what goes first, and the seconds from acceptance after which a
    late answer is worth nothing. `deadline_ms` is how long the client waits for this one.

    `revise`: the client takes back a streamed answer when it is told to, so a weak one need not be held back.
    `cached_within_s`: how old a kept answer may be, where the settings allow more.
    """

    session_id: str | None = None
    task: str | None = None
    deadline_ms: int | None = None
    max_cost_usd: float | None = None
    defer: Defer = "allow"
    priority: Priority = "normal"
    expires_s: float | None = None
    residency: Residency | None = None
    revise: bool = False
    cache: CacheUse = "use"
    cached_within_s: float | None = None
    memory: MemoryUse = "use"


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation to answer. `model`: auto, local, cloud, or a model's id.

    `stream` is False where the client takes the answer whole: then a better answer may still replace a weak one.
    """

    conversation: Conversation
    model: str = "auto"
    edge: EdgeOptions = EdgeOptions()
    surface: str = "openai_chat"
    stream: bool = True
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Unsent:
    """A job that this turn claimed and could not send: to be sent at `not_before` (seconds since 1970) or later."""

    job: Job
    reason: str
    not_before: float


@dataclass(slots=True)
class Turn:
    """The record of one request while it is being answered. Changed only by the agent that answers it.

    `ready`: local models that would have begun at once when it was decided, being loaded with nobody waiting.
    """

    request: Request
    request_id: str
    decision_id: str
    session_id: str
    trace: Traceparent
    started: float
    notes: Notes = NOTHING
    notes_left_out: bool = False
    masked: MaskResult | None = None
    route: Route = "refused"
    reasons: tuple[str, ...] = ()
    intent: Intent | None = None
    confidence: float | None = None
    threshold: float | None = None
    model: str | None = None
    served: Served | None = None
    entities: Mapping[str, int] = field(default_factory=dict)
    implicit: ImplicitIdentity | None = None
    bytes_sent: int = 0
    ledger_id: str | None = None
    unknown_placeholders: Counter[str] = field(default_factory=Counter)
    provisional: bool = False
    unsent: Unsent | None = None
    in_flight_job_id: str | None = None
    cost_usd: float = 0.0
    saved_usd: float = 0.0
    events: list[Event] = field(default_factory=list)
    steps: tuple[Step, ...] = ()
    decided: Decision | None = None
    agreed: bool | None = None
    hit: Hit | None = None
    given: list[Event] = field(default_factory=list)
    terms: Mapping[str, Terms] = field(default_factory=dict)
    ready: frozenset[str] = frozenset()
    revised: bool = False
    failed_over: bool = False
    finished_ms: float | None = None
    route_ms: float | None = None
    anonymize_ms: float | None = None
    first_token_ms: float | None = None

    @property
    def on_record(self) -> bool:
        """False for a turn that is only imagined, to explain it."""
        return bool(self.request_id)

    @property
    def answered(self) -> bool:
        """Whether some of the answer has been passed on: from then on it can no longer be replaced."""
        return self.first_token_ms is not None

    @property
    def conversation(self) -> Conversation:
        """What the local model is given: with notes, where there are any and it can take them."""
        asked = self.request.conversation
        return asked if self.notes_left_out else self.notes.here(asked)

    def fit_notes(self, context_length: int) -> None:
        """Leave the notes out where the local model would have no room left to answer; as far as can be estimated."""
        answer = self.request.conversation.sampling.max_tokens or ROOM_FOR_ANSWER
        needed = sum(map(tokens, self.conversation.strings())) + answer
        self.notes_left_out = self.notes_left_out or needed > context_length

    def leave_notes_out(self, problem: Problem) -> bool:
        """Whether the local model may be asked again, without notes, since with them it failed so."""
        again = (
            bool(self.notes.all) and not self.notes_left_out and not self.answered and problem.code in _WITHOUT_NOTES
        )
        self.notes_left_out = self.notes_left_out or again
        return again

    def follow(self, decision: Decision, steps: Sequence[Step]) -> None:
        """Take over what was decided, by these steps."""
        self.decided = decision
        self.steps = tuple(steps)
        self.route = decision.route
        self.reasons = decision.reasons
        self.threshold = decision.threshold
        self.model = decision.model
        self.provisional = decision.provisional

    def record(self) -> dict[str, Any]:
        """The report as it is kept: with what the decision was made from, and whether both tiers said the same."""
        made_from = {} if self.decided is None else replay.record(self.steps, self.decided)
        report = self.report()
        nameless = replace(report, memory=tuple(replace(use, name=None) for use in report.memory))
        return {**nameless.to_json(), **made_from, "agreed": self.agreed}

    def elapsed_ms(self) -> float:
        """Milliseconds since the request was accepted."""
        return (time.perf_counter() - self.started) * 1000

    def note(self, event: Event) -> None:
        """Take in an event that is about to be passed to the client."""
        self.events.append(event)
        if isinstance(event, Served):
            self.served = event
        if isinstance(event, Finish):
            self.finished_ms = self.elapsed_ms()
        shown = TextDelta | ToolCallDelta | ReasoningDelta | OtherChoice
        if self.first_token_ms is None and isinstance(event, shown):
            self.first_token_ms = self.elapsed_ms()

    def take_back(self) -> list[Event]:
        """Forget an answer that was passed on and may be replaced by a better one. Returns its events."""
        shown, self.events = self.events, []
        return shown

    def start_over(self) -> None:
        """Forget an answer that failed before any of it was passed on, and who was to give it."""
        self.failed_over = True
        self.events.clear()
        self.unknown_placeholders.clear()
        self.served = None

    def report(self) -> Report:
        """The contract's `edge` object as it stands now."""
        return Report(
            decision_id=self.decision_id,
            session_id=self.session_id,
            trace_id=self.trace.trace_id,
            route=self.route,
            reasons=self.reasons,
            intent=self.intent,
            confidence=self.confidence,
            threshold=self.threshold,
            model=self.served.model if self.served else self.model,
            provider=self.served.provider if self.served else None,
            privacy=PrivacyReport(
                self.entities, self.bytes_sent, self.ledger_id, self.implicit, self.unknown_placeholders.total()
            ),
            cost_usd=self.cost_usd,
            saved_usd=self.saved_usd,
            timings_ms=Timings(self.route_ms, self.anonymize_ms, self.first_token_ms, self.elapsed_ms()),
            provisional=self.provisional,
            job_id=self.unsent.job.id if self.unsent else None,
            memory=tuple(note.use for note in self._notes_used()),
        )

    def _notes_used(self) -> tuple[Note, ...]:
        """Those that whoever answers has been given, or would be."""
        if self.route in {"cloud", "queued", "cache"}:
            return self.notes.leaving
        is_task = self.decided is not None and self.decided.task is not None
        return () if self.route != "local" or is_task or self.notes_left_out else self.notes.all
