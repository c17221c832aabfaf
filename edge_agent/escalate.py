"""Out of the device and back: mask, keep in the outbox, send, restore.

Every escalation is a job of the outbox from before its first byte leaves until its answer is on record, whether
a client waits for it or not. So a killed process, a dead provider and a closed laptop are one case: the job is
still there, with its idempotency key.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from cloud_bridge.client import BridgeClient
from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import Departure, Escalation
from cloud_bridge.protocol.events import Event, Served
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import Problem, Unavailable
from cloud_bridge.protocol.residency import Residency, narrowed
from edge_agent.answer_cache import AnswerCache, Hit, Question
from edge_agent.answer_record import cost_usd
from edge_agent.feed import Feed
from edge_agent.notes import Note, cut_or_kept, masked_with_notes
from edge_agent.outcomes import Outcomes
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mask import TIMEOUT_S, MaskResult, mask
from edge_agent.privacy.restore import StreamRestorer
from edge_agent.privacy.second_check import SecondCheck, StandIn
from edge_agent.privacy.vault import Vault
from edge_agent.routing.obstacles import never_leaves
from edge_agent.state.jobs import CLIENT_GONE, IN_FLIGHT, Job, Wish
from edge_agent.state.mappings import MappingEntry, StoredMapping
from edge_agent.state.state import State
from edge_agent.turn import Turn, Unsent

if TYPE_CHECKING:
    from cloud_bridge.providers.provider import OnDeparture

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2.0
LONGEST_WAIT_S = 300.0
MAX_RETRY_AFTER_S = 3600.0
"""Whoever asks for more is asked again by then all the same."""


def wait_s(problem: Unavailable, *, attempts: int, random: Callable[[float, float], float] = random.uniform) -> float:
    """How long to wait before the next attempt, in seconds: at random up to 2 s, 4 s ... 5 min, after what was asked.

    Full jitter, of Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): what failed at one time is
    not tried again at one time.
    """
    asked = min(MAX_RETRY_AFTER_S, max(0.0, problem.retry_after_s or 0.0))
    return asked + random(0.0, min(LONGEST_WAIT_S, RETRY_AFTER_S * 2 ** min(attempts, 16)))


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of all that leaves, as plain values.

    `residency` None: any region. `timeout_s`: how long masking may take. `second_check` is the last look at what
    leaves. `trusts_clock`: send though the clock is behind the device's own records.
    """

    never_leave: frozenset[str] = frozenset()
    residency: Residency | None = None
    timeout_s: float = TIMEOUT_S
    trusts_clock: bool = False
    second_check: SecondCheck = field(default_factory=SecondCheck)


class Escalator:
    """Sends masked conversations through the bridge and restores what comes back.

    `outcomes` is for whoever empties the outbox: what became of a job here and could not be recorded yet.
    """

    def __init__(
        self,
        *,
        detector: Detector,
        vault: Vault,
        bridge: BridgeClient,
        state: State,
        cache: AnswerCache,
        rules: Rules | None = None,
        feed: Feed | None = None,
    ) -> None:
        self._rules = rules or Rules()
        self._detector = detector
        self._vault = vault
        self._passing_vault = Vault(_Unkept(state), vault.style)
        self._bridge = bridge
        self._state = state
        self._cache = cache
        self.outcomes = Outcomes(state, feed or Feed())

    async def mask(self, turn: Turn) -> MaskResult:
        """The turn's conversation with every value masked, made once a turn. Raises Problem; then nothing may leave."""
        if turn.masked is None:
            started = time.perf_counter()
            turn.notes = turn.notes.keeping(await self._kept_here(turn))
            turn.masked, turn.notes = await masked_with_notes(
                turn.notes, turn.request.conversation, partial(self._masked, turn), self._rules.never_leave
            )
            turn.anonymize_ms = (time.perf_counter() - started) * 1000
            turn.entities = turn.masked.masked.entities
        return turn.masked

    async def _masked(self, turn: Turn, conversation: Conversation) -> MaskResult:
        event_id = turn.request_id or None
        return await mask(
            conversation,
            detector=self._detector,
            vault=self._vault if turn.on_record else self._passing_vault,
            session_id=turn.session_id,
            note=True,
            check=self._rules.second_check,
            timeout_s=self._rules.timeout_s,
            began=await anyio.to_thread.run_sync(self._state.began, turn.session_id, event_id),
        )

    async def _kept_here(self, turn: Turn) -> Sequence[Note]:
        """The notes that stay here by what stands around them; all, where that cannot be known in time."""
        if not turn.notes.leaving:
            return ()
        stop = threading.Event()
        look = partial(cut_or_kept, turn.notes.leaving, self._detector, self._rules.never_leave, stop)
        try:
            with anyio.fail_after(self._rules.timeout_s):
                return await anyio.to_thread.run_sync(look, abandon_on_cancel=True)
        except (Problem, TimeoutError):
            return turn.notes.leaving
        finally:
            stop.set()

    async def known_answer(self, turn: Turn, *, offline: bool) -> Hit | None:
        """What the cloud answered to the same masked request, if it did and the client takes it.

        `offline`: older answers, too.
        """
        edge = turn.request.edge
        if edge.cache not in {"use", "only"} or not turn.on_record:
            return None
        try:
            question = await self._question(turn)
            return await self._cache.lookup(question, offline=offline, within_s=edge.cached_within_s)
        except Problem:  # whatever it is, the request can do without
            return None

    async def keep(self, turn: Turn) -> None:
        """Keep what the cloud said to this turn, masked as it came, for the next who asks the same. Never raises."""
        if not turn.given or turn.request.edge.cache == "off":
            return
        try:
            await self._cache.keep(await self._question(turn), turn.given)
        except Problem as problem:
            log.warning("an answer could not be kept: %s", problem.code)
        except Exception as error:  # noqa: BLE001 its client has the answer, and it is on record
            log.error("an answer could not be kept: %s", type(error).__name__)

    async def queue(self, turn: Turn, reason: str) -> None:
        """Keep the turn's masked conversation for later. `release` lets it go once the turn is recorded.

        A late answer is one answer, however many were wanted: it joins the session, which has one a turn.
        """
        turn.unsent = Unsent(await self._claimed(turn, reason), reason, time.time())

    async def release(self, turn: Turn) -> None:
        """Let the outbox send what this turn left unsent. Not sooner: the late answer revises the one given now."""
        if turn.unsent is not None:
            unsent, turn.unsent = turn.unsent, None
            await self.outcomes.put_back(unsent.job.id, unsent.not_before, unsent.reason)
        if turn.in_flight_job_id is not None:
            # Its answer came, and is not on record: the bridge has it, and gives it again for the same key.
            job_id, turn.in_flight_job_id = turn.in_flight_job_id, None
            await self.outcomes.put_back(job_id, 0)

    async def give_up(self, turn: Turn, code: str) -> None:
        """The client is told that there is no answer: nothing may be sent for it later."""
        if turn.unsent is not None:
            unsent, turn.unsent = turn.unsent, None
            await self.outcomes.set_aside(unsent.job.id, code)

    async def reachable(self) -> bool:
        """Whether a call could work now, as of a few seconds ago."""
        return await self._bridge.reachable()

    async def preview(self, turn: Turn) -> Departure:
        """Exactly what would leave now. Sends nothing, keeps nothing. Raises Problem where it would not leave."""
        masked = await self.mask(turn)
        escalation = self._escalation(turn, masked.masked)
        departure = self._bridge.preview(escalation)
        # The mapping is not kept, so what stands for a value is known from the masking only.
        await self._check(escalation, departure, {entity.placeholder for entity in masked.found}.__contains__)
        return departure

    async def answer(self, turn: Turn) -> AsyncGenerator[Event]:
        """Send now, and pass on the restored answer.

        Where the bridge cannot answer, the job waits for `release` (`defer: never`: it is set aside), and
        Unavailable is raised. Where the client goes away, the job is given up.
        """
        await self.mask(turn)
        job = await self._claimed(turn, IN_FLIGHT)

        async def record(departure: Departure) -> None:
            turn.ledger_id = await self.record(job, departure)
            turn.bytes_sent += len(departure.body)

        masked: list[Event] = []
        try:
            delivered = self.deliver(job, record, turn.unknown_placeholders, masked)
            async with aclosing(delivered), aclosing(_in_time(delivered, turn)) as events:
                # Until something was passed on, another answer may still take this one's place.
                held = [] if turn.request.stream else [event async for event in events]
                for event in held:
                    turn.note(event)
                    yield event
                async for event in events:
                    turn.note(event)
                    yield event
        except Unavailable as problem:
            if turn.request.edge.defer == "never":
                await self.outcomes.set_aside(job.id, problem.code)
            else:
                turn.unsent = Unsent(job, problem.code, time.time() + wait_s(problem, attempts=0))
            raise
        except Problem as problem:
            await self.outcomes.set_aside(job.id, problem.code)
            raise
        except BaseException as error:
            reason = "internal_error" if isinstance(error, Exception) else CLIENT_GONE
            with anyio.CancelScope(shield=True):
                await self.outcomes.set_aside(job.id, reason)
            raise
        turn.cost_usd += cost_usd(turn.events)
        turn.given = masked
        turn.in_flight_job_id = job.id  # closed in one step with the answer, when the turn is recorded

    async def deliver(
        self,
        job: Job,
        record: OnDeparture,
        unknown: Counter[str] | None = None,
        masked: list[Event] | None = None,
    ) -> AsyncGenerator[Event]:
        """Send a claimed job, with the key and the bytes it was accepted with, and restore the answer.

        The settings may have changed since, and the clock: what may not leave now raises Problem before it does.
        `unknown` counts the placeholders of the answer that stand for nothing; `masked` gets the events as they came.
        """
        escalation = await anyio.to_thread.run_sync(self._state.escalation, job.id)
        escalation = await self._permitted(escalation)
        mapping = await self._vault.session(job.session_id)
        restorer = StreamRestorer(mapping, unknown)

        async def checked(departure: Departure) -> None:
            await self._check(escalation, departure, mapping.stands_in)
            await record(departure)

        # Both are closed here and now: leaving only the restorer would leave the connection open.
        async with (
            aclosing(self._bridge.escalate(escalation, checked)) as answer,
            aclosing(restorer.restore(_noted(answer, masked))) as events,
        ):
            async for event in events:
                yield event

    async def _question(self, turn: Turn) -> Question:
        masked = (await self.mask(turn)).masked
        mapping = await self._vault.session(turn.session_id)
        residency = narrowed(self._rules.residency, turn.request.edge.residency)
        return Question(masked, mapping, turn.session_id, residency)

    async def _permitted(self, escalation: Escalation) -> Escalation:
        """The escalation under the rules as they are now. Raises NeverLeaves, or Unavailable code "clock_wrong"."""
        kept = sorted(self._rules.never_leave & escalation.masked.entities.keys())
        if kept:
            raise never_leaves(kept)
        if not self._rules.trusts_clock:
            await anyio.to_thread.run_sync(self._state.check_clock)
        return replace(escalation, residency=narrowed(self._rules.residency, escalation.residency))

    async def _check(self, escalation: Escalation, departure: Departure, stand_in: StandIn) -> None:
        """The second check, on the bytes themselves. Raises Unsafe."""
        ours = (escalation.idempotency_key, escalation.traceparent)
        check = self._rules.second_check
        await anyio.to_thread.run_sync(lambda: check.body(departure.body, stand_in, ours=ours))

    async def _claimed(self, turn: Turn, reason: str) -> Job:
        """A job that nobody else sends, on disk before anything else happens."""
        escalation = self._escalation(turn, (await self.mask(turn)).masked)
        return await anyio.to_thread.run_sync(
            lambda: self._state.enqueue(
                escalation,
                reason,
                request_id=turn.request_id,
                decision_id=turn.decision_id,
                sending=True,
                wish=Wish(turn.request.edge.priority, turn.request.edge.expires_s),
            )
        )

    def _escalation(self, turn: Turn, masked: Masked) -> Escalation:
        edge = turn.request.edge
        return Escalation(
            # Nobody would see more than one of the answers that come later, and each is paid for.
            masked=masked if turn.route == "cloud" else masked.for_one_answer(),
            idempotency_key=turn.decision_id,
            session_id=turn.session_id,
            traceparent=turn.trace.header,
            deadline_ms=edge.deadline_ms,
            max_cost_usd=edge.max_cost_usd,
            residency=narrowed(self._rules.residency, edge.residency),
        )

    async def record(self, job: Job, departure: Departure) -> str:
        """Enter bytes into the ledger, durably, before they leave. Returns the entry's id."""
        return await anyio.to_thread.run_sync(self._state.record_departure, job.session_id, job.decision_id, departure)


async def _in_time(events: AsyncGenerator[Event], turn: Turn) -> AsyncGenerator[Event]:
    """The events, where the first words, or for a client that waits for all of it the whole, come by the deadline.

    Raises Unavailable code "deadline_exceeded" where they do not.
    """
    deadline_ms, waits = turn.request.edge.deadline_ms, turn.request.edge.deadline_ms is not None
    while True:
        left_s = max(0.0, (deadline_ms or 0) - turn.elapsed_ms()) / 1000 if waits else None
        try:
            with anyio.fail_after(left_s):
                event = await anext(events, None)
        except TimeoutError as error:
            raise _too_late() from error
        if event is None:
            return
        waits = waits and (isinstance(event, Served) or not turn.request.stream)
        yield event


def _too_late() -> Unavailable:
    return Unavailable(
        "The cloud did not answer by the deadline.",
        code="deadline_exceeded",
        hint='Give it longer: "edge": {"deadline_ms": ...}, or leave the deadline out.',
    )


async def _noted(events: AsyncIterator[Event], seen: list[Event] | None) -> AsyncIterator[Event]:
    async for event in events:
        if seen is not None:
            seen.append(event)
        yield event


class _Unkept:
    """A session's mapping as it is, for looking at what would be sent: what is added to it is not kept."""

    def __init__(self, state: State) -> None:
        self._state = state

    def load(self, session_id: str) -> Sequence[StoredMapping]:
        return self._state.load(session_id)

    def began(self, session_id: str) -> str | None:
        return self._state.began(session_id)

    def add(self, session_id: str, entries: Iterable[MappingEntry], began: str | None) -> None:
        """Forget them."""
