"""The way of one request, from top to bottom.

accept (durable) → consider → decide → answer here, or mask and escalate, or queue → record (durable)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, replace

from anyio import CancelScope

from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.events import AnswerEvent, Event, Finish
from cloud_bridge.protocol.problems import InvalidRequest, NotAllowed, Problem, Unavailable, Unsafe
from cloud_bridge.protocol.report import Report
from edge_agent.consider import Considerer
from edge_agent.escalate import Escalator
from edge_agent.local_attempt import WHOLE, LocalAttempt
from edge_agent.privacy.mask import MaskResult
from edge_agent.record import Recorder
from edge_agent.routing.confidence import from_logprobs
from edge_agent.routing.decide import decide, decide_after_local
from edge_agent.routing.situation import Decision, Situation
from edge_agent.runtimes.pool import Pool
from edge_agent.turn import Request, Turn


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to a request: the decision, what would leave, what would be masked, why it would fail."""

    report: Report
    would_send: Departure | None
    masked: MaskResult | None
    problem: Problem | None


class Agent:
    """Answers requests. Built by `composition`; knows all rooms, owns none."""

    def __init__(self, *, considerer: Considerer, pool: Pool, escalator: Escalator, recorder: Recorder) -> None:
        self._considerer = considerer
        self._pool = pool
        self._escalator = escalator
        self._recorder = recorder

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
            await self._considerer.read_late(turn)
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
        yield report

    async def explain(self, request: Request) -> Explanation:
        """What would be decided now. Runs no language model, sends nothing."""
        request.conversation.require_prompt()
        turn = self._recorder.imagine(request)
        _, decision = await self._decide(turn, await self._considerer.situation(turn))
        turn.follow(decision)
        await self._considerer.read_late(turn)
        with suppress(Problem):  # where it counts it was looked for above; here it is only shown
            await self._considerer.look_for_implicit(turn)
        leaves = decision.route in {"cloud", "queued"} or decision.queue
        departure, problem = None, decision.problem
        if leaves:
            try:
                departure = await self._escalator.preview(turn)
            except Problem as refusal:
                problem = refusal
        return Explanation(turn.report(), departure, turn.masked, problem)

    async def _carry_out(self, turn: Turn) -> AsyncGenerator[Event]:
        situation, decision = await self._decide(turn, await self._considerer.situation(turn))
        turn.route_ms = turn.elapsed_ms()
        async with AsyncExitStack() as stack:
            attempt: LocalAttempt | None = None
            failure: Problem | None = None
            judged = decision
            if decision.route == "local":
                attempt = await stack.enter_async_context(aclosing(await self._attempt(turn, decision)))
                situation, decision = await self._judge(turn, situation, decision, attempt)
            turn.follow(decision)
            if decision.route == "cloud":
                try:
                    async with aclosing(self._escalator.answer(turn)) as events:
                        async for event in events:
                            if attempt is not None and turn.answered:
                                await attempt.aclose()  # it cannot take this one's place now; others wait for the model
                            yield event
                    return
                except (Unavailable, InvalidRequest, NotAllowed, Unsafe) as problem:
                    if turn.answered:
                        raise _cut(turn, problem) from problem
                    failure = problem
                    situation = _after(situation, problem)
                turn.start_over()
                decision = decide(situation) if attempt is None else _rejudge(turn, judged, situation)
                turn.follow(decision)
            if decision.problem is not None:
                await self._escalator.give_up(turn, decision.problem.code)
                raise _explained(decision.problem, failure)
            if decision.queue and turn.unsent is None:
                await self._escalator.queue(turn, decision.reasons[-1])
            if decision.route == "local":
                if attempt is None:
                    attempt = await stack.enter_async_context(aclosing(await self._attempt(turn, decision)))
                async for event in attempt.events():
                    self._note(turn, event, attempt)
                    yield event

    async def _decide(self, turn: Turn, situation: Situation) -> tuple[Situation, Decision]:
        """Decide; where something would leave, look at what it holds first, and decide again with that known."""
        decision = decide(situation)
        if decision.route in {"cloud", "queued"} or decision.queue:
            situation = await self._with_privacy(turn, situation)
            decision = decide(situation)
        return situation, decision

    async def _judge(
        self, turn: Turn, situation: Situation, decision: Decision, attempt: LocalAttempt
    ) -> tuple[Situation, Decision]:
        """Hold the answer's first tokens until they can be judged. Where they are weak, decide as `_decide` does."""
        if not decision.stream_hold_tokens:
            return situation, decision
        await attempt.hold(decision.stream_hold_tokens if turn.request.stream else WHOLE)
        turn.confidence = from_logprobs(attempt.logprobs)
        after = _rejudge(turn, decision, situation)
        if after.route == "cloud" or after.queue:
            situation = await self._with_privacy(turn, situation)
            after = _rejudge(turn, decision, situation)
        return situation, after

    async def _attempt(self, turn: Turn, decision: Decision) -> LocalAttempt:
        runtime = await self._pool.runtime(decision.model or "")
        return LocalAttempt(runtime.generate(turn.request.conversation))

    async def _with_privacy(self, turn: Turn, situation: Situation) -> Situation:
        """The situation with the types of what was found. Where masking fails, nothing may leave: it fails closed."""
        try:
            result = await self._escalator.mask(turn)
            implicit = await self._considerer.look_for_implicit(turn)
        except Problem as problem:
            return replace(situation, privacy_problem=problem)
        return replace(situation, entity_types=result.types, implicit_identity=implicit)

    def _note(self, turn: Turn, event: Event, attempt: LocalAttempt) -> None:
        turn.note(event)
        if isinstance(event, Finish):
            turn.confidence = from_logprobs(attempt.logprobs)
            turn.saved_usd = self._considerer.would_have_cost(event.usage)


def _rejudge(turn: Turn, decision: Decision, situation: Situation) -> Decision:
    return decide_after_local(decision, situation, turn.confidence or 0.0)


def _after(situation: Situation, problem: Problem) -> Situation:
    """What is left to decide by: nobody answers now, nobody can be asked this at all, or it is not safe to ask."""
    if isinstance(problem, Unsafe):
        return replace(situation, privacy_problem=problem)
    if isinstance(problem, InvalidRequest | NotAllowed):
        return situation.with_cloud_refusal(problem)
    return situation.without_cloud()


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
