"""The way of one request, from top to bottom.

accept (durable) → consider → decide → answer here, or mask and escalate, or queue → record (durable)
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass

from anyio import CancelScope

from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.events import AnswerEvent, Finish, Revision, SaidEvent, TextDelta
from cloud_bridge.protocol.gathered import gather
from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotAllowed, NotFound, Problem, Unavailable, Unsafe
from cloud_bridge.protocol.report import Report
from edge_agent.deciding import Decider, Standing
from edge_agent.escalate import Escalator
from edge_agent.local_attempt import LocalAttempt, drawn
from edge_agent.privacy.mask import MaskResult
from edge_agent.recall import Recall
from edge_agent.record import Recorder
from edge_agent.routing.agreement import agreement
from edge_agent.routing.calibration.signals import with_alternatives
from edge_agent.routing.parameters import applied
from edge_agent.routing.situation import Decision
from edge_agent.runtimes.pool import Pool
from edge_agent.shadow import Shadow
from edge_agent.tasks import Tasks
from edge_agent.turn import Request, Turn

_CLOUD_FAILED = (Unavailable, InvalidRequest, NotAllowed, Unsafe)
_LOCAL_FAILED = (Unavailable, Broken, InvalidRequest, NotFound)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to a request: the decision, what would leave, what would be masked, why it would fail."""

    report: Report
    would_send: Departure | None
    masked: MaskResult | None
    problem: Problem | None


class Agent:
    """Answers requests. Built by `composition`; knows all rooms, owns none."""

    def __init__(
        self,
        *,
        decider: Decider,
        pool: Pool,
        tasks: Tasks,
        escalator: Escalator,
        recorder: Recorder,
        shadow: Shadow,
        recall: Recall | None = None,
    ) -> None:
        """`recall` None: nothing is looked up for a request."""
        self._decider = decider
        self._pool = pool
        self._tasks = tasks
        self._escalator = escalator
        self._recorder = recorder
        self._shadow = shadow
        self._recall = recall

    async def answer(self, request: Request) -> AsyncGenerator[AnswerEvent]:
        """Events of the answer, and a `Report` as the last. Raises Problem, before the first event where it can.

        Closing the iterator cancels the request; that it was asked stays on record.
        """
        request.conversation.require_prompt()
        turn = await self._recorder.accept(request)
        try:
            async with aclosing(self._carry_out(turn)) as events:
                async for event in events:
                    yield event
            await self._decider.read_late(turn)
            await self._recorder.finish(turn)
        except Problem as problem:
            await self._recorder.fail(turn, problem.code)
            raise
        except BaseException as error:
            await self._recorder.fail(turn, "internal_error" if isinstance(error, Exception) else "client_gone")
            raise
        finally:
            report = turn.report()
            with CancelScope(shield=True):
                await self._escalator.release(turn)
        await self._escalator.keep(turn)
        self._decider.note_speed(turn)
        self._shadow.offer(turn)
        yield report

    async def explain(self, request: Request) -> Explanation:
        """What would be decided now. Runs no language model, sends nothing."""
        request.conversation.require_prompt()
        turn = self._recorder.imagine(request)
        await self._look_up(turn)
        standing = await self._decider.first(turn)
        decision = standing.decision
        turn.follow(decision, standing.steps)
        await self._decider.read_late(turn)
        with suppress(Problem):  # where it counts it was looked for above; here it is only shown
            await self._decider.look_for_implicit(turn)
        leaves = decision.route in {"cloud", "queued"} or decision.queue
        departure, problem = None, decision.problem
        if leaves:
            try:
                departure = await self._escalator.preview(turn)
            except Problem as refusal:
                problem = refusal
        return Explanation(turn.report(), departure, turn.masked, problem)

    async def _look_up(self, turn: Turn) -> None:
        """Find the notes for the turn; a routine task works on the text that it is given."""
        edge = turn.request.edge
        if self._recall is not None and edge.memory == "use" and edge.task is None:
            asked = turn.request.conversation
            turn.notes = await self._recall.notes(
                asked, edge.session_id, on_record=turn.on_record, residency=edge.residency
            )

    async def _carry_out(self, turn: Turn) -> AsyncGenerator[SaidEvent]:
        await self._look_up(turn)
        standing = await self._decider.first(turn)
        turn.route_ms = turn.elapsed_ms()
        async with AsyncExitStack() as stack:
            attempt: LocalAttempt | None = None
            failure: Problem | None = None
            while True:
                try:
                    if standing.decision.route == "local" and attempt is None and standing.decision.task is None:
                        attempt = await stack.enter_async_context(aclosing(await self._attempt(turn, standing)))
                        standing = await self._decider.judge(turn, standing, attempt)
                except _LOCAL_FAILED as problem:
                    if turn.leave_notes_out(problem):
                        attempt = None
                        continue
                    standing, failure = await self._elsewhere(turn, standing, problem), problem
                    attempt = None
                    continue
                await self._follow(turn, standing, failure)
                try:
                    async with aclosing(self._events(turn, standing, attempt)) as events:
                        async for event in events:
                            if attempt is not None and standing.decision.route == "cloud" and turn.answered:
                                await attempt.aclose()  # it cannot take this one's place now; others wait for the model
                            yield event
                    if attempt is not None and standing.decision.route == "cloud":
                        _compare(turn, attempt)
                    return
                except (*_CLOUD_FAILED, *_LOCAL_FAILED) as problem:
                    if standing.decision.route == "local" and turn.leave_notes_out(problem):
                        attempt = None
                        continue
                    failure = problem
                    if standing.decision.route == "local":
                        standing, attempt = await self._elsewhere(turn, standing, problem), None
                        continue
                    if turn.answered or not isinstance(problem, _CLOUD_FAILED):
                        raise _cut(turn, problem) from problem
                    standing = await self._decider.after_cloud_failed(turn, standing, problem)

    async def _elsewhere(self, turn: Turn, standing: Standing, problem: Problem) -> Standing:
        """Where else a request is answered that failed here. Raises the problem where nowhere is."""
        try:
            return await self._decider.after_local_failed(turn, standing, problem)
        except Problem as found:
            raise _cut(turn, found) from problem

    async def _follow(self, turn: Turn, standing: Standing, failure: Problem | None) -> None:
        """Take the decision over; raise what it refuses with, keep for later what it queues."""
        decision = standing.decision
        turn.follow(decision, standing.steps)
        if decision.problem is not None:
            await self._escalator.give_up(turn, decision.problem.code)
            raise _explained(decision.problem, failure)
        if decision.route == "cache":
            await self._escalator.give_up(turn, "answered_from_cache")  # of an attempt that failed before
        if decision.queue and turn.unsent is None:
            await self._escalator.queue(turn, decision.reasons[-1])

    async def _events(self, turn: Turn, standing: Standing, attempt: LocalAttempt | None) -> AsyncGenerator[SaidEvent]:
        """The answer, from where it was decided that it comes from; nothing where it is queued."""
        source: AsyncGenerator[SaidEvent]
        match standing.decision.route:
            case "cloud":
                source = self._escalator.answer(turn)
            case "cache":
                source = self._cached(turn)
            case "local" if attempt is not None:
                source = self._local(turn, standing, attempt)
            case "local":
                source = self._task(turn, standing.decision)
            case _:
                return
        async with aclosing(source) as events:
            async for event in events:
                yield event

    async def _attempt(self, turn: Turn, standing: Standing) -> LocalAttempt:
        decision = standing.decision
        runtime = await self._pool.runtime(decision.model or "")
        if turn.notes.all:
            turn.fit_notes(runtime.context_length)
        conversation = applied(decision.parameters, turn.conversation)
        attempt = LocalAttempt(runtime.generate(with_alternatives(conversation)))
        if decision.stream_hold_tokens and decision.parameters.samples > 1:
            attempt.samples = await drawn(runtime, conversation, decision.parameters.samples - 1)
        return attempt

    async def _task(self, turn: Turn, decision: Decision) -> AsyncGenerator[SaidEvent]:
        """The answer of a routine task, as text."""
        answer = await self._tasks.one(decision.task or "", turn.request.conversation.last_user_text)
        kind, _, name = (answer.made_by or "").partition(":")
        turn.model, turn.confidence = name if kind == "model" else None, answer.confidence
        output = answer.output if isinstance(answer.output, str) else json.dumps(answer.output, ensure_ascii=False)
        for event in (TextDelta(output), Finish()):
            turn.note(event)
            yield event

    async def _local(self, turn: Turn, standing: Standing, attempt: LocalAttempt) -> AsyncGenerator[SaidEvent]:
        """A local answer. One that is shown before it is judged ends with its judgement, or with a better answer."""
        shown_first = self._decider.is_shown_first(turn, standing.decision)
        async for event in attempt.events():
            if isinstance(event, Finish) and shown_first:
                async with aclosing(self._revised(turn, standing, attempt, event)) as events:
                    async for other in events:
                        yield other
                return
            turn.note(event)
            if isinstance(event, Finish):
                await self._decider.finished_here(turn, attempt, event)
            yield event

    async def _revised(
        self, turn: Turn, standing: Standing, attempt: LocalAttempt, finish: Finish
    ) -> AsyncGenerator[SaidEvent]:
        """The end of an answer that was shown and is whole now: kept, or taken back for the cloud's."""
        standing = await self._decider.judge_held(turn, standing, attempt)
        if standing.decision.route in {"cloud", "cache"}:
            await attempt.aclose()  # it is whole, and others wait for the model
            shown = turn.take_back()
            turn.follow(standing.decision, standing.steps)
            try:
                async with aclosing(self._events(turn, standing, None)) as events:
                    async for event in events:
                        if not turn.revised:
                            turn.revised = True
                            yield Revision(standing.decision.reasons[-1])
                        yield event
                _compare(turn, attempt)
                return
            except _CLOUD_FAILED as problem:
                if turn.revised:
                    raise _cut(turn, problem) from problem
                standing = await self._decider.after_cloud_failed(turn, standing, problem)
                turn.events = shown
        if standing.decision.route == "refused":
            turn.take_back()
            yield Revision(standing.decision.reasons[-1])
        await self._follow(turn, standing, None)
        if standing.decision.route == "queued":
            turn.take_back()
            yield Revision(standing.decision.reasons[-1])
            return
        turn.note(finish)
        await self._decider.finished_here(turn, attempt, finish)
        yield finish

    async def _cached(self, turn: Turn) -> AsyncGenerator[SaidEvent]:
        """An answer that the cloud gave before."""
        if turn.hit is None:
            return
        turn.saved_usd = turn.hit.saved_usd
        async with aclosing(turn.hit.events(turn.unknown_placeholders)) as events:
            async for event in events:
                turn.note(event)
                yield event


def _compare(turn: Turn, attempt: LocalAttempt) -> None:
    """Note whether a whole local answer that was not good enough said the same as the cloud's."""
    if attempt.text is not None:
        turn.agreed = agreement(attempt.text, gather(turn.events).text, turn.request.conversation.response_format)


def _cut(turn: Turn, problem: Problem) -> Problem:
    """Half an answer cannot be replaced; where the whole one comes through the outbox, say so."""
    if turn.unsent is None:
        return problem
    hint = f"Do not ask again: the whole answer will be in session {turn.session_id}, by job {turn.unsent.job.id}."
    return Unavailable(problem.message, code=problem.code, hint=hint)


def _explained(problem: Problem, failure: Problem | None) -> Problem:
    """The refusal, with what the cloud said where it was asked."""
    if failure is None or problem.code != "cloud_unreachable":
        return problem
    return Unavailable(problem.message, code=problem.code, hint=f"{failure.hint or failure} {problem.hint}".strip())
