"""Out of the device and back: mask, keep in the outbox, send, restore.

Every escalation is a job of the outbox from before its first byte leaves until its answer is on record, whether
a client waits for it or not. So a killed process, a dead provider and a closed laptop are one case: the job is
still there, with its idempotency key.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import anyio.to_thread
from cloud_bridge.client import BridgeClient

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import Departure, Escalation
from cloud_bridge.protocol.events import Event
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import Problem, Unavailable
from cloud_bridge.providers.provider import OnDeparture
from edge_agent.answer_record import cost_usd
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mask import MaskResult, mask
from edge_agent.privacy.restore import StreamRestorer
from edge_agent.privacy.vault import Vault
from edge_agent.state.outbox import CLIENT_GONE, IN_FLIGHT, Job
from edge_agent.state.state import State
from edge_agent.turn import Turn

RETRY_AFTER_S = 2.0


class Escalator:
    """Sends masked conversations through the bridge and restores what comes back."""

    def __init__(self, *, detector: Detector, vault: Vault, bridge: BridgeClient, state: State) -> None:
        self._detector = detector
        self._vault = vault
        self._bridge = bridge
        self._state = state

    async def mask(self, turn: Turn) -> MaskResult:
        """The turn's conversation with every value masked, made once a turn. Raises Problem; then nothing may leave."""
        if turn.masked is None:
            started = time.perf_counter()
            turn.masked = await self.mask_conversation(turn.request.conversation, turn.session_id)
            turn.anonymize_ms = (time.perf_counter() - started) * 1000
            turn.entities = turn.masked.masked.entities
        return turn.masked

    async def mask_conversation(self, conversation: Conversation, session_id: str) -> MaskResult:
        """The same for any conversation."""
        return await mask(conversation, detector=self._detector, vault=self._vault, session_id=session_id, note=True)

    async def queue(self, turn: Turn, reason: str) -> Job:
        """Keep the turn's masked conversation for later. The job's id goes into the turn."""
        job = await self._enqueue(turn, reason, sending=False)
        turn.job_id = job.id
        return job

    async def preview(self, turn: Turn) -> Departure:
        """Exactly what would leave now. Sends nothing, keeps nothing."""
        return self._bridge.preview(self._escalation(turn, (await self.mask(turn)).masked))

    async def answer(self, turn: Turn) -> AsyncGenerator[Event]:
        """Send now, and pass on the restored answer.

        Where the bridge cannot answer, the job waits in the outbox (`defer: never`: it is set aside), and
        Unavailable is raised. Where the client goes away, the job is given up.
        """
        await self.mask(turn)
        job = await self._enqueue(turn, IN_FLIGHT, sending=True)

        async def record(departure: Departure) -> None:
            turn.ledger_id = await self.record(job, departure)
            turn.bytes_sent += len(departure.body)

        try:
            async with aclosing(self.deliver(job, record)) as events:
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
                await anyio.to_thread.run_sync(self._state.fail_job, job.id, problem.code)
            else:
                await self.put_back(job, problem, attempts=0)
                turn.job_id = job.id
            raise
        except Problem as problem:
            await anyio.to_thread.run_sync(self._state.fail_job, job.id, problem.code)
            raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._state.fail_job, job.id, CLIENT_GONE)
            raise
        turn.cost_usd += cost_usd(turn.events)
        turn.in_flight_job_id = job.id  # closed in one step with the answer, when the turn is recorded

    async def deliver(self, job: Job, record: OnDeparture) -> AsyncGenerator[Event]:
        """Send a claimed job, with the key and the bytes it was accepted with, and restore the answer."""
        escalation = await anyio.to_thread.run_sync(self._state.escalation, job.id)
        restorer = StreamRestorer(await self._vault.session(job.session_id))
        async with aclosing(restorer.restore(self._bridge.escalate(escalation, record))) as events:
            async for event in events:
                yield event

    async def put_back(self, job: Job, problem: Unavailable, *, attempts: int) -> None:
        """Let the job wait, the longer the more often it failed: 2 s, 4 s ... 5 min."""
        wait_s = problem.retry_after_s or min(300.0, RETRY_AFTER_S * 2**attempts)
        await anyio.to_thread.run_sync(self._state.retry_job, job.id, time.time() + wait_s, problem.code)

    async def _enqueue(self, turn: Turn, reason: str, *, sending: bool) -> Job:
        escalation = self._escalation(turn, (await self.mask(turn)).masked)
        return await anyio.to_thread.run_sync(
            lambda: self._state.enqueue(
                escalation, reason, request_id=turn.request_id, decision_id=turn.decision_id, sending=sending
            )
        )

    def _escalation(self, turn: Turn, masked: Masked) -> Escalation:
        edge = turn.request.edge
        return Escalation(
            masked=masked,
            idempotency_key=turn.decision_id,
            session_id=turn.session_id,
            traceparent=turn.trace.header,
            deadline_ms=edge.deadline_ms,
            max_cost_usd=edge.max_cost_usd,
        )

    async def record(self, job: Job, departure: Departure) -> str:
        """Enter bytes into the ledger, durably, before they leave. Returns the entry's id."""
        return await anyio.to_thread.run_sync(self._state.record_departure, job.session_id, job.decision_id, departure)
