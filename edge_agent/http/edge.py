"""`/edge/v1`: what no other API has. Classify, anonymize, explain; decisions, ledger, sessions, outbox, events."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from cloud_bridge.protocol import openai_chat
from cloud_bridge.protocol.fields import Fields
from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.report import PrivacyReport
from cloud_bridge.protocol.sse import encode_sse
from edge_agent.http.openai import agent_request
from edge_agent.http.requests import JsonObject, TheDaemon, ThePage, ThePageOfTurns
from edge_agent.readiness import current_status
from edge_agent.state.times import seconds

router = APIRouter(prefix="/edge/v1", tags=["edge"])

MAX_TEXTS = 1024
MAX_LABELS = 256


@router.post("/classify")
async def classify(body: JsonObject, daemon: TheDaemon) -> dict[str, Any]:
    """The intent of each text, or the closest of `labels`."""
    fields = Fields(body)
    fields.require("texts")
    texts = list(fields.texts("texts", most=MAX_TEXTS))
    empty = next((index for index, text in enumerate(texts) if not text.strip()), None)
    if empty is not None:
        raise InvalidRequest("A text is empty.", code="empty_text", hint="Send some text.", param=f"texts[{empty}]")
    labels = list(fields.texts("labels", most=MAX_LABELS)) if fields.raw("labels") is not None else None
    return {"results": [intent.to_json() for intent in await daemon.tasks.classify(texts, labels)]}


@router.post("/anonymize")
async def anonymize(body: JsonObject, daemon: TheDaemon) -> dict[str, Any]:
    """The text with every detected value replaced; the mapping stays here."""
    fields = Fields(body)
    return await daemon.tasks.anonymize(fields.required_text("text"), fields.text("mapping_id"))


@router.post("/restore")
async def restore(body: JsonObject, daemon: TheDaemon) -> dict[str, str]:
    """The text with its placeholders turned back."""
    fields = Fields(body)
    return {"text": await daemon.tasks.restore(fields.required_text("text"), fields.required_text("mapping_id"))}


@router.post("/explain")
async def explain(body: JsonObject, daemon: TheDaemon, request: Request) -> dict[str, Any]:
    """What would happen to this chat request, and the exact bytes that would leave. Sends nothing."""
    found = await daemon.agent.explain(agent_request(openai_chat.decode_request(body), request))
    sent = found.would_send
    return {
        "decision": found.report.to_json(),
        "would_send": None
        if sent is None
        else {"provider": sent.provider, "url": sent.url, "body": sent.body.decode()},
        "entities": [] if found.masked is None else [asdict(entity) for entity in found.masked.found],
        "problem": None if found.problem is None else openai_chat.encode_error(found.problem)["error"],
        "warnings": _warnings(found.report.privacy),
    }


def _warnings(privacy: PrivacyReport) -> list[dict[str, Any]]:
    """What masking cannot mend. Where in the request it stands is told in numbers, not in its words."""
    if privacy.implicit is None or not privacy.implicit.found:
        return []
    message = "The request describes somebody who can be recognised without a name; masking does not hide that."
    return [{"code": "implicit_identity", "message": message, **asdict(privacy.implicit)}]


@router.get("/decisions")
def decisions(daemon: TheDaemon) -> dict[str, Any]:
    """The newest decisions, newest first."""
    return {"decisions": daemon.state.decisions()}


@router.get("/decisions/{decision_id}")
def decision(decision_id: str, daemon: TheDaemon) -> dict[str, Any]:
    """One decision, with all it was made from."""
    return daemon.state.decision(decision_id)


@router.get("/routing/report")
def routing_report(daemon: TheDaemon, since: str = "7d") -> dict[str, Any]:
    """What was answered where, why, at what cost; `?since=` 30m, 24h, 7d, 4w."""
    return daemon.state.routing_report(time.time() - seconds(since)).to_json()


@router.get("/ledger")
def ledger(daemon: TheDaemon) -> dict[str, Any]:
    """What left this device, newest first, without the bytes."""
    return {"entries": [entry.to_json(with_body=False) for entry in daemon.state.ledger(100)]}


@router.get("/ledger/{entry_id}")
def ledger_entry(entry_id: str, daemon: TheDaemon) -> dict[str, Any]:
    """One departure with its exact bytes."""
    return daemon.state.ledger_entry(entry_id).to_json()


@router.get("/sessions")
def sessions(daemon: TheDaemon, page: ThePage) -> dict[str, Any]:
    """Sessions, newest first; `?limit=` of them, `?before=` a session's id."""
    return {"sessions": [session.to_json() for session in daemon.state.sessions(page.limit, page.before)]}


@router.get("/sessions/{session_id:path}")
def session(session_id: str, daemon: TheDaemon, page: ThePageOfTurns) -> dict[str, Any]:
    """One session's newest turns, with what was provisional and what revised it; `?limit=` of them, `?before=` a turn.

    `history`: what the next request carries, of so many turns at most, whichever page is asked for.
    """
    found = daemon.state.session(session_id, page.limit, page.before)
    return {**found.to_json(), "history": daemon.state.history(session_id, page.limit)}


@router.post("/sessions/{session_id:path}/choose")
def choose(session_id: str, body: JsonObject, daemon: TheDaemon) -> dict[str, Any]:
    """Go on from this answer: the next request that asks for the session's history carries the line that it ends."""
    answer_id = Fields(body).required_text("answer_id")
    daemon.state.choose(session_id, answer_id)
    return {"id": session_id, "continues": answer_id}


@router.get("/outbox")
def outbox(daemon: TheDaemon, page: ThePage) -> dict[str, Any]:
    """What waits to be sent, is being sent, or was, newest first; `?limit=` of them, `?before=` a job's id.

    `counts`: how many jobs have each status; `held`: why nothing is sent just now.
    """
    return {
        "jobs": [job.to_json() for job in daemon.state.newest_deferred_jobs(page.limit, page.before)],
        "counts": daemon.state.count_jobs(),
        "held": daemon.outbox.held if daemon.bridge.configured else "cloud_off",
    }


@router.post("/outbox/flush")
async def flush(daemon: TheDaemon, _: JsonObject) -> dict[str, Any]:
    """Try everything that waits, now."""
    return asdict(await daemon.outbox.flush())


@router.get("/jobs/{job_id}")
def job(job_id: str, daemon: TheDaemon) -> dict[str, Any]:
    """One queued request, and its answer once it is there."""
    return daemon.state.job(job_id).to_json()


@router.post("/jobs/{job_id}/drop")
async def drop_job(job_id: str, daemon: TheDaemon, _: JsonObject) -> dict[str, Any]:
    """Give a job up: it is not sent."""
    return (await daemon.outbox.drop(job_id)).to_json()


@router.post("/jobs/{job_id}/retry")
async def retry_job(job_id: str, daemon: TheDaemon, _: JsonObject) -> dict[str, Any]:
    """Send a failed job after all, with the key that it was accepted with."""
    return (await daemon.outbox.retry(job_id)).to_json()


@router.get("/status")
async def status(daemon: TheDaemon) -> dict[str, Any]:
    """What is loaded, queued and spent."""
    return await current_status(daemon)


@router.get("/events", response_class=StreamingResponse)
async def events(daemon: TheDaemon) -> StreamingResponse:
    """What happens in the daemon, as server-sent events. Ids and states only; never text."""

    async def stream() -> AsyncIterator[bytes]:
        async with aclosing(daemon.feed.subscribe()) as happenings:
            async for happening in happenings:
                yield encode_sse(json.dumps(happening), event=happening["type"])

    return StreamingResponse(stream(), media_type="text/event-stream")
