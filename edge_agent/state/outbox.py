"""The outbox: escalations that wait for a provider. In order within a session, in parallel across sessions.

queued ──claim──▶ sending ──▶ done | failed
  ▲                  │
  └─ retry, recover ─┘          queued, failed ──▶ dropped
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from cloud_bridge.protocol.envelope import Escalation, decode_escalation, encode_escalation
from cloud_bridge.protocol.problems import Conflict, NotFound
from edge_agent.state.decisions import ReportLike, append_decision, report_json
from edge_agent.state.log import Log, Reader, Transaction
from edge_agent.state.turns import Answer, append_revision, text_of

IN_FLIGHT = "in_flight"
"""The reason of a job whose client waits for it."""

CLIENT_GONE = "client_gone"
"""The reason of a job whose client went away before the answer."""

_UNDEFERRED = (IN_FLIGHT, CLIENT_GONE)

Status = Literal["queued", "sending", "done", "failed", "dropped"]


@dataclass(frozen=True, slots=True)
class Job:
    """A queued escalation. `reason`: why it waits, or why it ended. `not_before`: seconds since 1970.

    `repeated`: a call may have been in flight when its process was killed, and is made again with the same key.
    """

    id: str
    session_id: str
    status: Status
    reason: str
    answer: str | None
    idempotency_key: str
    attempts: int
    not_before: float
    repeated: bool
    request_id: str
    decision_id: str | None

    def to_json(self) -> dict[str, Any]:
        """As the contract spells it, and what an operator asks next."""
        return {
            "id": self.id,
            "status": self.status,
            "session_id": self.session_id,
            "reason": self.reason,
            "answer": self.answer,
            "attempts": self.attempts,
            "repeated": self.repeated,
            "decision_id": self.decision_id,
        }


def enqueue(
    log: Log,
    escalation: Escalation,
    reason: str,
    *,
    request_id: str,
    decision_id: str | None,
    not_before: float,
    sending: bool,
) -> Job:
    """Accept an escalation, durably; `sending`: claimed by the caller in the same step, ahead of its session's others.

    The same idempotency key again gives the job that is already there, as it is.
    """
    with log.transaction() as tx:
        known = tx.row("SELECT id FROM jobs WHERE idempotency_key = ?", escalation.idempotency_key)
        if known is None:
            meta = {
                "request_id": request_id,
                "decision_id": decision_id,
                "idempotency_key": escalation.idempotency_key,
                "reason": reason,
                "not_before": not_before,
            }
            body = encode_escalation(escalation)
            job_id = tx.append("job.queued", escalation.session_id, body, meta=meta, parent=request_id).id
            if sending:
                tx.append("job.sending", escalation.session_id, parent=job_id)
        else:
            job_id = known["id"]
        return _job(tx, _row(tx, job_id))


def listed(log: Log, status: Status | None) -> list[Job]:
    """Jobs, the oldest first."""
    with log.reading() as tx:
        if status is None:
            rows = tx.rows("SELECT * FROM jobs ORDER BY id")
        else:
            rows = tx.rows("SELECT * FROM jobs WHERE status = ? ORDER BY id", status)
        return [_job(tx, dict(row)) for row in rows]


def newest_deferred(log: Log, limit: int, before: str | None) -> list[Job]:
    """At most `limit` jobs that waited for a provider, the newest first; `before`: older than the job of that id.

    Other jobs only guarded a request that was answered at once.
    """
    with log.reading() as tx:
        rows = tx.rows(
            "SELECT * FROM jobs WHERE (status = 'queued' OR repeated OR reason NOT IN (?, ?)) AND id < ?"
            " ORDER BY id DESC LIMIT ?",
            *(*_UNDEFERRED, before or "~", limit),
        )
        return [_job(tx, dict(row)) for row in rows]


def counts(log: Log) -> dict[str, int]:
    """How many jobs have each status; a status without jobs is 0."""
    with log.reading() as tx:
        found = dict(tx.db.execute("SELECT status, count(*) FROM jobs GROUP BY status").fetchall())
    return {status: found.get(status, 0) for status in get_args(Status)}


def one(log: Log, job_id: str) -> Job:
    """One job. Raises NotFound."""
    with log.reading() as tx:
        return _job(tx, _row(tx, job_id))


def escalation_of(log: Log, job_id: str) -> Escalation:
    """What the job sends, exactly as it was accepted. Raises NotFound where its session was forgotten."""
    with log.reading() as tx:
        _row(tx, job_id)
        event = tx.event(job_id)
        body = None if event is None else tx.body(event)
    if body is None:
        raise NotFound("The job's session was forgotten.", code="session_forgotten", hint="There is nothing to send.")
    return decode_escalation(body)


def claim_next(log: Log, now: float) -> Job | None:
    """Take the oldest job that may be sent at `now`; no one else gets it. None where there is none."""
    with log.transaction() as tx:
        row = tx.row(
            # Only heads are looked at, so the cost does not grow with the jobs that wait behind them.
            "SELECT id, session_id FROM jobs INDEXED BY jobs_ready"
            " WHERE head = 1 AND status = 'queued' AND not_before <= ? ORDER BY id LIMIT 1",
            now,
        )
        if row is None:
            return None
        tx.append("job.sending", row["session_id"], parent=row["id"])
        return _job(tx, _row(tx, row["id"]))


def finish(log: Log, job_id: str, answer: Answer, report: ReportLike | None) -> Job:
    """Record the answer as the revision of its turn, and the job as done. A job that is not pending stays as it is."""
    with log.transaction() as tx:
        row = _row(tx, job_id)
        if row["status"] in {"queued", "sending"}:
            decided = {"decision_id": row["decision_id"]} if report is None else report_json(report)
            answer_id = append_revision(tx, row["request_id"], answer, decided)
            if report is not None:
                append_decision(tx, row["session_id"], decided, parent=row["request_id"])
            tx.append("job.done", row["session_id"], meta={"answer_id": answer_id}, parent=job_id)
        return _job(tx, _row(tx, job_id))


def retry(log: Log, job_id: str, not_before: float, reason: str | None) -> Job:
    """Put a job that is being sent back, to be sent at `not_before` or later."""
    with log.transaction() as tx:
        row = _row(tx, job_id)
        if row["status"] == "sending":
            meta = {"not_before": not_before, "reason": reason or row["reason"]}
            tx.append("job.retried", row["session_id"], meta=meta, parent=job_id)
        return _job(tx, _row(tx, job_id))


def fail(log: Log, job_id: str, reason: str) -> Job:
    """Set a job aside that can never be sent, with the reason; the jobs behind it go on."""
    with log.transaction() as tx:
        row = _row(tx, job_id)
        if row["status"] in {"queued", "sending"}:
            tx.append("job.failed", row["session_id"], meta={"reason": reason}, parent=job_id)
        return _job(tx, _row(tx, job_id))


def drop(log: Log, job_id: str) -> Job:
    """Give a job up because a person says so. Raises Conflict where it is being sent or is done."""
    with log.transaction() as tx:
        row = _row(tx, job_id)
        if row["status"] == "sending":
            raise Conflict("The job is being sent.", code="job_sending", hint="Wait until it has been, and look again.")
        if row["status"] == "done":
            raise Conflict(
                "The job is done.", code="job_done", hint="'edge-agent sessions forget' removes its answer, too."
            )
        if row["status"] != "dropped":
            tx.append("job.dropped", row["session_id"], parent=job_id)
        return _job(tx, _row(tx, job_id))


def requeue_sending(tx: Transaction) -> int:
    """Put back what a dead process was sending, marked as repeated. Returns how many."""
    rows = list(tx.rows("SELECT id, session_id FROM jobs WHERE status = 'sending' ORDER BY id"))
    for row in rows:
        tx.append("job.recovered", row["session_id"], parent=row["id"])
    return len(rows)


def _row(tx: Reader, job_id: str) -> Mapping[str, Any]:
    row = tx.row("SELECT * FROM jobs WHERE id = ?", job_id)
    if row is None:
        raise NotFound("There is no such job.", code="unknown_job", hint="'edge-agent outbox list' lists them.")
    return dict(row)


def _job(tx: Reader, row: Mapping[str, Any]) -> Job:
    answer = tx.document(row["answer_id"]) if row["answer_id"] else None
    return Job(
        id=row["id"],
        session_id=row["session_id"],
        status=row["status"],
        reason=row["reason"],
        answer=None if answer is None else text_of(answer["message"]),
        idempotency_key=row["idempotency_key"],
        attempts=row["attempts"],
        not_before=row["not_before"],
        repeated=bool(row["repeated"]),
        request_id=row["request_id"],
        decision_id=row["decision_id"],
    )
