"""Empties the outbox: sends what waits as soon as a provider answers, one job a session at a time.

After an outage one job goes first, and the others once it has been answered: what piled up is no burst. Where nobody
answers though somebody is there, the pauses between attempts grow, whatever waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio.to_thread

from cloud_bridge.protocol.envelope import Departure, Escalation
from cloud_bridge.protocol.events import Event
from cloud_bridge.protocol.gathered import gather
from cloud_bridge.protocol.problems import NotFound, Problem, Unavailable
from cloud_bridge.protocol.report import PrivacyReport, Report
from cloud_bridge.protocol.trace import parse_traceparent
from cloud_bridge.providers.failures import REJECTED
from edge_agent.answer_record import answer_json, cost_usd
from edge_agent.escalate import Escalator, wait_s
from edge_agent.feed import Feed
from edge_agent.outbox_gate import Gate
from edge_agent.outcomes import Outcomes
from edge_agent.routing.agreement import agreement
from edge_agent.state import outbox
from edge_agent.state.jobs import BUDGET_SPENT, EXPIRED, PRIORITIES, Job, Priority
from edge_agent.state.state import State

log = logging.getLogger(__name__)

POLL_S = 2.0
PARALLEL = 4
REJECTIONS = 5
"""Refusals by every provider after which a job is set aside."""

FAILURES = 5
"""In a row, after which a flush ends, though somebody seems to be there."""

LONGEST_EVERY = 8
"""Of so many jobs one is the longest due, whatever its priority: so low ones are not starved."""

RETURN_S = 5.0
"""How long is waited at most when the network is back: many devices find that out at one moment."""

UNREACHABLE = "cloud_unreachable"
UNRECORDED = "not_recorded"


@dataclass(slots=True)
class Flushed:
    """What one pass over the outbox came to. `held`: why not all was tried; None where all was.

    `queued`: of what was tried, or where it was held, of all, what waits.
    """

    sent: int = 0
    queued: int = 0
    failed: int = 0
    held: str | None = None
    job_ids: list[str] = field(default_factory=list)


class OutboxWorker:
    """Runs as a task of the daemon; `flush` is the same work, at once, for someone who waits for it.

    `held` says why nothing is sent just now, None where nothing keeps it. `outcomes`: of all who claim jobs of `state`.
    """

    def __init__(
        self,
        *,
        state: State,
        escalator: Escalator,
        feed: Feed,
        gate: Gate | None = None,
        outcomes: Outcomes | None = None,
        parallel: int = PARALLEL,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        poll_s: float = POLL_S,
    ) -> None:
        self.held: str | None = None
        self._state = state
        self._escalator = escalator
        self._feed = feed
        self._gate = gate
        self._now = now
        self._sleep = sleep
        self._poll_s = poll_s
        self._slots = asyncio.Semaphore(parallel)
        self._on_their_way = 0
        self._claims = 0
        self._is_trying = True
        self._was_away = False
        self._failures = 0
        self._rests_until = 0.0  # by the monotonic clock
        self._outcomes = outcomes or Outcomes(state, feed)

    async def run(self) -> None:
        """Send what is due, again and again, until cancelled. A state that fails now is asked again later."""
        is_first = True
        async with asyncio.TaskGroup() as sending:
            while True:
                await self._slots.acquire()
                if is_first:
                    is_first = not await self._release_held()
                job = await self._claim_if_possible()
                if job is None:
                    self._slots.release()
                    await self._sleep(self._poll_s)
                    continue
                self._on_their_way += 1
                sending.create_task(self._send_and_release(job))

    async def flush(self) -> Flushed:
        """Try every job that waits once, now, whenever it was to be tried next, the higher priorities first.

        Nothing is tried where nobody is there, nor any more where nobody is there any more.
        """
        flushed = Flushed()
        await self._tidy()
        if self._gate is not None:
            flushed.held = await anyio.to_thread.run_sync(partial(self._gate.held, by_person=True))
        if flushed.held is None and not await self._escalator.reachable():
            flushed.held = UNREACHABLE
        for priority in reversed(PRIORITIES):
            if flushed.held is None:
                await self._flush(priority, flushed)
        if flushed.held is not None:
            flushed.queued = (await anyio.to_thread.run_sync(self._state.count_jobs))["queued"]
        return flushed

    async def drop(self, job_id: str) -> Job:
        """Give a job up, and tell the feed. Raises as `State.drop_job`."""
        job = await anyio.to_thread.run_sync(self._state.drop_job, job_id)
        self._feed.publish_job(job)
        return job

    async def retry(self, job_id: str) -> Job:
        """Let a failed job be sent after all, and tell the feed. Raises NotFound, or Conflict "job_not_failed"."""
        job = await anyio.to_thread.run_sync(outbox.requeue, self._state.log, job_id, self._now())
        self._feed.publish_job(job, "retried")
        return job

    async def _flush(self, priority: Priority, flushed: Flushed) -> None:
        after = ""
        while flushed.held is None:
            async with self._slots:
                job = await anyio.to_thread.run_sync(outbox.claim_waiting, self._state.log, priority, after)
                if job is None:
                    return
                after = job.id
                if job.id in flushed.job_ids:  # what had lifted it is gone meanwhile; it was tried
                    await self._outcomes.put_back(job.id, job.not_before, job.reason)
                    continue
                flushed.job_ids.append(job.id)
                failures = self._failures
                match await self._try(job):
                    case "done":
                        flushed.sent += 1
                    case "queued":
                        flushed.queued += 1
                        if self._failures > failures and await self._is_in_vain():
                            flushed.held = UNREACHABLE
                    case _:
                        flushed.failed += 1

    async def _is_in_vain(self) -> bool:
        """After a failure: whether nobody would answer the next one either."""
        return self._failures >= FAILURES or not await self._escalator.reachable()

    async def _send_and_release(self, job: Job) -> None:
        try:
            await self._try(job)
        finally:
            self._on_their_way -= 1
            self._slots.release()

    async def _try(self, job: Job) -> str:
        """Send one claimed job. Returns its status then; nothing is raised but cancellation."""
        try:
            return await self._send(job)
        except Exception as error:  # noqa: BLE001 what it came to could not be recorded: it is tried again, by its key
            log.error("job %s could not be recorded: %s", job.id, type(error).__name__)
            await self._outcomes.put_back(job.id, self._now(), UNRECORDED)
            return "queued"

    async def _claim_if_possible(self) -> Job | None:
        """A job that is due. None while it is held, or nobody is there: an attempt would only fill the ledger."""
        try:
            await self._tidy()
            if not await anyio.to_thread.run_sync(outbox.is_waiting, self._state.log):
                self.held = None
                return None
            was, self.held = self.held, None if self._gate is None else await anyio.to_thread.run_sync(self._gate.held)
            # The first job that the spent budget holds is put back by it, and tells why; the others are left alone.
            is_told = self.held == BUDGET_SPENT and was != BUDGET_SPENT
            if not is_told and (self.held is not None or not await self._is_reachable() or self._is_one_too_many()):
                return None
            longest = self._claims % LONGEST_EVERY == 0
            claim = partial(outbox.claim_next, self._state.log, self._now(), longest=longest)
            job = await anyio.to_thread.run_sync(claim)
        except Exception as error:  # noqa: BLE001 the outbox must outlive a full disk
            log.error("the outbox cannot be read: %s", type(error).__name__)
            return None
        self._claims += job is not None
        return job

    def _is_one_too_many(self) -> bool:
        """After a failure, for a while; after an outage, until the first one was answered."""
        return time.monotonic() < self._rests_until or (self._is_trying and self._on_their_way > 0)

    async def _is_reachable(self) -> bool:
        if not await self._escalator.reachable():
            self.held = UNREACHABLE
            self._is_trying = True
            self._was_away = True
            return False
        if self._was_away:
            self._was_away = False
            await self._sleep(random.uniform(0, RETURN_S))  # noqa: S311 no secret
        return True

    async def _release_held(self) -> bool:
        """At the start: the budget may have been raised since. False where it could not be done."""
        try:
            now = self._now()
            while released := await anyio.to_thread.run_sync(outbox.release_held, self._state.log, now):
                for job in released:
                    self._feed.publish_job(job)
        except Exception as error:  # noqa: BLE001 as above
            log.error("the outbox cannot be written: %s", type(error).__name__)
            return False
        return True

    async def _tidy(self) -> None:
        """Set aside what came to be worth nothing, and record what became of jobs where that could not be done."""
        for job in await anyio.to_thread.run_sync(outbox.expire, self._state.log, self._now()):
            self._feed.publish_job(job)
        await self._outcomes.settle()

    async def _send(self, job: Job) -> str:
        """Send one claimed job, and record what it comes to. Raises where that cannot be recorded."""
        self._feed.publish_job(job)
        try:
            await self._deliver(job)
            job = await anyio.to_thread.run_sync(self._state.job, job.id)
            self._is_trying, self._failures, self._rests_until = False, 0, 0.0
        except Unavailable as problem:
            job = await self._put_back(job, problem)
        except Problem as problem:
            job = await anyio.to_thread.run_sync(self._state.fail_job, job.id, problem.code)
        except Exception as error:  # noqa: BLE001 one poisoned job must not stop the others
            log.error("job %s failed: %s", job.id, type(error).__name__)
            job = await anyio.to_thread.run_sync(self._state.fail_job, job.id, "internal_error")
        self._feed.publish_job(job)
        return job.status

    async def _deliver(self, job: Job) -> None:
        """Send it and record the answer. Raises Problem."""
        if job.expires_at is not None and self._now() >= job.expires_at:
            raise NotFound("Its time has passed.", code=EXPIRED)
        escalation = await anyio.to_thread.run_sync(self._state.escalation, job.id)

        async def record(departure: Departure) -> None:
            await self._escalator.record(job, departure)

        async with self._admitted(escalation):
            async with contextlib.aclosing(self._escalator.deliver(job, record)) as events:
                answer = [event async for event in events]
            report = await self._report(job, answer, escalation)
            if report is not None:
                report["agreed"] = await self._agreed(job, answer, escalation)
            await anyio.to_thread.run_sync(self._state.finish_job, job.id, answer_json(answer), report)

    @asynccontextmanager
    async def _admitted(self, escalation: Escalation) -> AsyncIterator[None]:
        if self._gate is None:
            yield
            return
        admitted = self._gate.admitted(escalation)
        await anyio.to_thread.run_sync(admitted.__enter__)
        try:
            yield
        finally:
            admitted.__exit__(None, None, None)

    async def _put_back(self, job: Job, problem: Unavailable) -> Job:
        """Let the job wait; one that was understood and refused again and again is set aside, so others go on."""
        is_refused = problem.code == REJECTED
        if is_refused and job.refusals + 1 >= REJECTIONS:
            return await anyio.to_thread.run_sync(self._state.fail_job, job.id, problem.code)
        if problem.code == BUDGET_SPENT:
            wait = (problem.retry_after_s or 0.0) + random.uniform(0, self._poll_s)  # noqa: S311 no secret
        else:
            wait = wait_s(problem, attempts=job.attempts)
            if not is_refused:
                self._is_trying = True
                self._rests_until = time.monotonic() + wait_s(problem, attempts=self._failures)
                self._failures += 1
        put_back = partial(outbox.retry, self._state.log, job.id, self._now() + wait, problem.code, refused=is_refused)
        return await anyio.to_thread.run_sync(put_back)

    async def _agreed(self, job: Job, answer: Sequence[Event], escalation: Escalation) -> bool | None:
        """Whether the provisional answer said the same; None where there was none, or that cannot be told."""
        given = await anyio.to_thread.run_sync(self._state.provisional_text, job.request_id)
        if given is None:
            return None
        return agreement(given, gather(answer).text, escalation.masked.conversation.response_format)

    async def _report(self, job: Job, answer: Sequence[Event], escalation: Escalation) -> dict[str, Any] | None:
        """The decision's report, brought up to date; None where nothing was decided.

        The process that decided may have been killed before it was on record: what is paid for counts all the same.
        """
        if job.decision_id is None:
            return None
        try:
            report = await anyio.to_thread.run_sync(self._state.decision, job.decision_id)
        except NotFound:
            trace = parse_traceparent(escalation.traceparent)
            entities = PrivacyReport(escalation.masked.entities)
            trace_id = "" if trace is None else trace.trace_id
            made = Report(job.decision_id, job.session_id, trace_id, "cloud", ("interrupted",), privacy=entities)
            report = made.to_json()
        return {**report, "provisional": False, "cost_usd": report["cost_usd"] + cost_usd(answer)}
