"""The life of a turn: accepted before any work, then answered, failed, or found interrupted.

request.accepted ──▶ answer.given ──▶ answer.revised     siblings, both children of the request
                 ├─▶ request.failed
                 └─▶ request.interrupted                 its process died; a late answer still counts
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud_bridge.protocol.problems import NotFound
from edge_agent.state import bodies, history
from edge_agent.state.decisions import ReportLike, append_decision, report_json
from edge_agent.state.event import Event
from edge_agent.state.history import Message
from edge_agent.state.log import Log, Transaction

Answer = str | Mapping[str, Any]
"""An answer's text, or {"text": ..., "tool_calls": [{"id", "name", "arguments"}, ...]}."""


def accept(log: Log, session_id: str, conversation: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """Record a request, durably, and return its id."""
    with log.transaction() as tx:
        _, key = tx.session_key(session_id)
        place = history.place(tx, session_id, key, conversation["messages"])
        body = bodies.to_json({"conversation": {**conversation, "messages": place.added}, "meta": dict(meta)})
        event = tx.append("request.accepted", session_id, body, meta=place.meta, parent=place.parent)
    return event.id


def finish(
    log: Log, request_id: str, answer: Answer | None, report: ReportLike, *, job_id: str | None = None
) -> str | None:
    """Record the answer and its decision together; return the answer's id. No answer: it was queued or refused.

    `job_id`: the job that this answer ends; both in one step, so that a crash cannot send it again.
    """
    document = report_json(report)
    with log.transaction() as tx:
        request = _require_request(tx, request_id)
        answer_id = None
        if answer is not None:
            answer_id = append_answer(tx, request, answer, document, kind="answer.given")
        append_decision(tx, request.session_id, document, parent=request_id)
        if job_id is not None:
            tx.append("job.done", request.session_id, meta={"answer_id": answer_id}, parent=job_id)
    return answer_id


def fail(log: Log, request_id: str, code: str) -> None:
    """Record that a request came to nothing, and why."""
    with log.transaction() as tx:
        request = _require_request(tx, request_id)
        tx.append("request.failed", request.session_id, meta={"code": code}, parent=request_id)


def interrupt_open(tx: Transaction) -> int:
    """Mark this device's open requests as interrupted: their process is dead. Returns how many."""
    rows = list(
        tx.rows(
            "SELECT turns.id, turns.session_id FROM turns JOIN events USING (id) WHERE status = 'open' AND device = ?"
            " ORDER BY turns.id",
            tx.log.device,
        )
    )
    for row in rows:
        tx.append("request.interrupted", row["session_id"], meta={"code": "interrupted"}, parent=row["id"])
    return len(rows)


def append_revision(tx: Transaction, request_id: str, answer: Answer, report: Mapping[str, Any]) -> str:
    """Record a job's answer, beside the provisional one where there is one: that stays. Returns its id."""
    given = tx.row("SELECT id FROM answers WHERE turn_id = ? AND provisional ORDER BY id DESC LIMIT 1", request_id)
    revises = None if given is None else given["id"]
    return append_answer(tx, _require_request(tx, request_id), answer, report, kind="answer.revised", revises=revises)


def provisional_text(log: Log, request_id: str) -> str | None:
    """The text of the newest provisional answer to a request; None where there is none, or it was forgotten."""
    with log.reading() as tx:
        given = tx.row("SELECT id FROM answers WHERE turn_id = ? AND provisional ORDER BY id DESC LIMIT 1", request_id)
        document = None if given is None else tx.document(given["id"])
        return None if document is None else text_of(document["message"])


def append_answer(
    tx: Transaction,
    request: Event,
    answer: Answer,
    report: Mapping[str, Any],
    *,
    kind: str,
    revises: str | None = None,
) -> str:
    """Record an answer to `request`, once: the outbox and the waiting client may both report it. Returns its id."""
    message = message_of(answer)
    marks = history.of_answer(tx.require_key_of(request), request.meta, message)
    provisional = bool(report.get("provisional", False))
    known = tx.row(
        "SELECT id FROM answers WHERE turn_id = ? AND mac = ? AND provisional = ?",
        *(request.id, marks["mac"], provisional),
    )
    if known is not None:
        return str(known["id"])
    meta = {**marks, "provisional": provisional, "revises": revises, "decision_id": report.get("decision_id")}
    return tx.append(kind, request.session_id, bodies.to_json({"message": message}), meta=meta, parent=request.id).id


def message_of(answer: Answer) -> Message:
    """The assistant's message, as `envelope.conversation_to_json` spells it when the client sends it back."""
    document: Mapping[str, Any] = {"text": answer} if isinstance(answer, str) else answer
    calls = [{"type": "tool_call", **call} for call in document.get("tool_calls", ())]
    text = document.get("text") or ""
    parts = [{"type": "text", "text": text}, *calls] if text or not calls else calls
    return {"role": "assistant", "name": None, "parts": parts}


def text_of(message: Message) -> str:
    """The text parts of a message, joined."""
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def _require_request(tx: Transaction, request_id: str) -> Event:
    request = tx.event(request_id)
    if request is None or request.kind != "request.accepted":
        raise NotFound(
            "There is no such request.", code="unknown_request", hint="'edge-agent sessions show' lists them."
        )
    tx.require_key_of(request)
    return request
