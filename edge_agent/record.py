"""What must be on disk before, and after, a request is worked on. Every call waits for the disk in a thread."""

from __future__ import annotations

import secrets
import time

import anyio
import anyio.to_thread

from cloud_bridge.protocol.envelope import conversation_to_json
from cloud_bridge.protocol.trace import Traceparent, parse_traceparent
from edge_agent.answer_record import answer_json
from edge_agent.feed import Feed
from edge_agent.state.state import State
from edge_agent.turn import Request, Turn


class Recorder:
    """Records turns in the state, and tells the feed."""

    def __init__(self, state: State, feed: Feed) -> None:
        self._state = state
        self._feed = feed

    async def accept(self, request: Request) -> Turn:
        """Record the request, durably, and give it its ids. Raises Problem where it cannot be recorded."""
        started = time.perf_counter()
        session_id = request.edge.session_id or self._state.new_id()
        edge = request.edge
        meta = {"model": request.model, "surface": request.surface, "defer": edge.defer, "residency": edge.residency}
        request_id = await anyio.to_thread.run_sync(
            self._state.accept_request, session_id, conversation_to_json(request.conversation), meta
        )
        return self._turn(request, request_id, session_id, started)

    def imagine(self, request: Request) -> Turn:
        """A turn that leaves no record."""
        return self._turn(request, "", request.edge.session_id or self._state.new_id(), time.perf_counter())

    async def finish(self, turn: Turn) -> None:
        """Record the answer and the decision in one step."""
        answer = None if turn.route in {"queued", "refused"} else answer_json(turn.events)
        await anyio.to_thread.run_sync(
            lambda: self._state.finish_request(turn.request_id, answer, turn.record(), job_id=turn.in_flight_job_id)
        )
        turn.in_flight_job_id = None
        self._feed.publish(
            "decision",
            decision_id=turn.decision_id,
            session_id=turn.session_id,
            route=turn.route,
            provisional=turn.provisional,
        )

    async def fail(self, turn: Turn, code: str) -> None:
        """Record why the request came to nothing, and what was decided, even while this task is being cancelled."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._state.fail_request, turn.request_id, code)
            await anyio.to_thread.run_sync(
                lambda: self._state.record_decision(turn.record(), request_id=turn.request_id)
            )
        self._feed.publish("failed", session_id=turn.session_id, code=code)

    def _turn(self, request: Request, request_id: str, session_id: str, started: float) -> Turn:
        return Turn(
            request=request,
            request_id=request_id,
            decision_id=self._state.new_id(),
            session_id=session_id,
            trace=_trace(request.traceparent),
            started=started,
        )


def _trace(header: str | None) -> Traceparent:
    """The client's trace with a span of our own, or a new trace."""
    parent = parse_traceparent(header)
    span_id = secrets.token_hex(8)
    return parent.child(span_id) if parent else Traceparent(secrets.token_hex(16), span_id)
