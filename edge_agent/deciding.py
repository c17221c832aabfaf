"""The decisions on the way of one request: the first, and those after something became known or failed.

Where something would leave, the text is masked first and the decision made again with what was found; where masking
fails, nothing leaves. Each decision is noted in the turn, with what it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cloud_bridge.protocol.events import Finish
from cloud_bridge.protocol.problems import InvalidRequest, NotAllowed, Problem, Unsafe
from edge_agent.consider import Considerer
from edge_agent.escalate import Escalator
from edge_agent.judging import LocalJudge
from edge_agent.local_attempt import WHOLE, LocalAttempt
from edge_agent.routing.decide import decide, decide_after_local
from edge_agent.routing.replay import Step
from edge_agent.routing.rules import needs_entities
from edge_agent.routing.situation import Decision, Situation
from edge_agent.routing.weigh import privacy_risk
from edge_agent.turn import Turn

_CANNOT_HERE = frozenset({"context_length_exceeded", "unsupported_locally", "unsupported_schema", "model_too_large"})
"""What a request is refused with by one runtime, though another, or the cloud, may answer it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a request stands: what was decided last, and the steps to it.

    `begun`: the decision by which a local answer was begun, if one was.
    """

    situation: Situation
    decision: Decision
    steps: tuple[Step, ...]
    begun: Decision | None = None


class Decider:
    """Makes each decision of a turn. Built by `composition`."""

    def __init__(self, *, considerer: Considerer, judge: LocalJudge, escalator: Escalator) -> None:
        self._considerer = considerer
        self._judge = judge
        self._escalator = escalator

    async def first(self, turn: Turn) -> Standing:
        """Before anything ran."""
        return await self._decided(turn, await self._considerer.situation(turn))

    async def judge(self, turn: Turn, standing: Standing, attempt: LocalAttempt) -> Standing:
        """Hold the beginning of a local answer, or the whole for a client that waits for it, and decide by it."""
        decision = standing.decision
        begun = replace(standing, begun=decision)
        if not decision.stream_hold_tokens or self.is_shown_first(turn, decision):
            return begun
        await attempt.hold(decision.stream_hold_tokens if turn.request.stream else WHOLE)
        return await self.judge_held(turn, begun, attempt)

    async def judge_held(self, turn: Turn, standing: Standing, attempt: LocalAttempt) -> Standing:
        """Decide by as much of the local answer as there is."""
        turn.confidence = await self._judge.confidence(turn, standing.decision.model or "", attempt)
        judged = _rejudged(turn, standing, standing.situation)
        if _leaves(judged.decision):
            judged = _rejudged(turn, standing, await self._with_privacy(turn, standing.situation))
        return judged

    async def after_local_failed(self, turn: Turn, standing: Standing, problem: Problem) -> Standing:
        """Somebody else's answer in place of one that failed here.

        Raises `problem` where there is nobody. Who asked for the cloud is refused as where only that could answer.
        """
        situation, failed = standing.situation, standing.decision.model or ""
        requested = situation.requested_model
        if requested not in {"auto", "cloud"} or turn.answered or not _may_work_elsewhere(problem):
            raise problem
        other = await self._decided(turn, situation.without_local(failed))
        if other.decision.route == "refused" and requested == "auto":
            raise problem
        turn.failed_over = True
        return replace(other, steps=(*standing.steps, *other.steps))

    async def after_cloud_failed(self, turn: Turn, standing: Standing, problem: Problem) -> Standing:
        """What is left: nobody answers now, nobody can be asked this at all, or it is not safe to ask."""
        situation = _after(standing.situation, problem)
        if not situation.cloud_available:
            situation = await self._with_known_answer(turn, situation)
        turn.start_over()
        if standing.begun is not None:
            return _rejudged(turn, standing, situation)
        steps = (*standing.steps, Step(situation))
        return replace(standing, situation=situation, decision=decide(situation), steps=steps)

    def is_shown_first(self, turn: Turn, decision: Decision) -> bool:
        """Whether the local answer is shown as it comes, and judged when it is whole."""
        return decision.revisable and turn.request.stream

    async def look_for_implicit(self, turn: Turn) -> bool:
        """See `Considerer.look_for_implicit`."""
        return await self._considerer.look_for_implicit(turn)

    async def finished_here(self, turn: Turn, attempt: LocalAttempt, finish: Finish) -> None:
        """Note how sure the model was of its whole answer, where nothing was decided by that, and what it saved."""
        if turn.confidence is None:
            turn.confidence = await self._judge.confidence(turn, turn.model or "", attempt)
        turn.saved_usd = self._considerer.would_have_cost(finish.usage)

    def note_speed(self, turn: Turn) -> None:
        """See `Considerer.note_speed`."""
        self._considerer.note_speed(turn)

    async def read_late(self, turn: Turn) -> None:
        """See `Considerer.read_late`."""
        await self._considerer.read_late(turn)

    async def _decided(self, turn: Turn, situation: Situation) -> Standing:
        looked = needs_entities(situation.rules)
        if looked:
            situation = await self._with_privacy(turn, situation)
        decision = decide(situation)
        if _leaves(decision) and not looked:
            situation = await self._with_privacy(turn, situation)
            decision = decide(situation)
        return Standing(situation, decision, (Step(situation),))

    async def _with_privacy(self, turn: Turn, situation: Situation) -> Situation:
        """The situation with what was found, and whether the same was asked before. Fails closed."""
        try:
            if turn.notes.leaving:
                await self._considerer.keep_notes(turn)
            result = await self._escalator.mask(turn)
            implicit = await self._considerer.look_for_implicit(turn)
        except Problem as problem:
            return replace(situation, privacy_problem=problem)
        situation = replace(
            situation,
            entity_types=result.types,
            privacy_risk=privacy_risk(result.masked.entities),
            implicit_identity=implicit,
        )
        return await self._with_known_answer(turn, situation)

    async def _with_known_answer(self, turn: Turn, situation: Situation) -> Situation:
        """The situation with what the cloud answered before, an older answer where nobody else can be asked."""
        turn.hit = await self._escalator.known_answer(turn, offline=not situation.cloud_available)
        return replace(situation, cached=turn.hit.reason if turn.hit else None)


def _rejudged(turn: Turn, standing: Standing, situation: Situation) -> Standing:
    """The decision by which the local answer was begun, with the confidence in that answer."""
    confidence = turn.confidence or 0.0
    decision = decide_after_local(standing.begun or standing.decision, situation, confidence)
    return replace(
        standing, situation=situation, decision=decision, steps=(*standing.steps, Step(situation, confidence))
    )


def _leaves(decision: Decision) -> bool:
    """Whether something would leave, or would if anybody could be reached or asked: then an answer may be known."""
    unasked = decision.problem is not None and decision.problem.code in {"cloud_unreachable", "not_in_cache"}
    return unasked or decision.queue or decision.route in {"cloud", "queued"}


def _may_work_elsewhere(problem: Problem) -> bool:
    return not isinstance(problem, InvalidRequest) or problem.code in _CANNOT_HERE


def _after(situation: Situation, problem: Problem) -> Situation:
    if isinstance(problem, Unsafe):
        return replace(situation, privacy_problem=problem)
    if isinstance(problem, InvalidRequest | NotAllowed):
        return situation.with_cloud_refusal(problem)
    return situation.without_cloud()
