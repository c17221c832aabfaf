"""The outbox: escalations that wait for a provider. In order within a session, in parallel across sessions.

queued ──claim──▶ sending ──▶ done | failed
  ▲                  │
  ├─ retry, recover ─┘          queued, failed ──▶ dropped
  └─ requeue ── failed

Of the sessions' first jobs those of the highest priority go first; a job lifts the whole of its session, else one of
high priority would wait for as long as one of low priority before it. Among equals, who has been due the longest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloud_bridge.protocol.envelope import Escalation, encode_escalation
from cloud_bridge.protocol.problems import Conflict
from edge_agent.state.decisions import ReportLike, append_decision, report_json
from edge_agent.state.jobs import BUDGET_SPENT, EXPIRED, PRIORITIES, Job, Priority, Wish, job_of, row_of
from edge_agent.state.log import Log, Reader, Transaction
from edge_agent.state.turns import Answer, append_revision

LONGEST_WAIT_S = 90_000.0
"""A day and an hour: what is to be sent later than that was put back while the clock was ahead, and is due."""

BATCH = 200
"""Jobs that are changed in one transaction, at most."""

_WAITING = (
    "SELECT id, session_id, not_before FROM jobs INDEXED BY jobs_due WHERE head = 1 AND status = 'queued' AND level = ?"
)


def enqueue(
    log: Log,
    escalation: Escalation,
    reason: str,
    *,
    request_id: str,
    decision_id: str | None,
    not_before: float,
    sending: bool,
    wish: Wish,
) -> Job:
    """Accept an escalation, durably; `sending`: claimed by the caller in the same step, ahead of its session's others.

    The same idempotency key again gives the job that is already there, as it is.
    """
    with log.transaction() as tx:
        known = tx.row("SELECT id FROM jobs WHERE idempotency_key = ?", escalation.idempotency_key)
        if known is None:
            meta: dict[str, Any] = {
                "request_id": request_id,
                "decision_id": decision_id,
                "idempotency_key": escalation.idempotency_key,
                "reason": reason,
                "not_before": not_before,
            }
            if wish.priority != "normal":
                meta["priority"] = PRIORITIES.index(wish.priority)
            if wish.expires_s is not None:
                meta["expires_s"] = wish.expires_s
            body = encode_escalation(escalation)
            job_id = tx.append("job.queued", escalation.session_id, body, meta=meta, parent=request_id).id
            if sending:
                tx.append("job.sending", escalation.session_id, parent=job_id)
        else:
            job_id = known["id"]
        return job_of(tx, row_of(tx, job_id))


def claim_next(log: Log, now: float, *, longest: bool = False) -> Job | None:
    """Take the job that is to be sent next at `now`; no one else gets it. None where none is due.

    `longest`: the one that has been due the longest, whatever its priority.
    """
    with log.transaction() as tx:
        due = [row for level in reversed(range(len(PRIORITIES))) if (row := _due(tx, level, now)) is not None]
        if not due:
            return None
        return _claim(tx, min(due, key=lambda row: _due_since(row, now)) if longest else due[0])


def claim_waiting(log: Log, priority: Priority, after: str) -> Job | None:
    """Take the next waiting job of a priority whenever it is due: of the smallest id after `after`."""
    with log.transaction() as tx:
        row = tx.row(
            "SELECT id, session_id FROM jobs INDEXED BY jobs_first"
            " WHERE head = 1 AND status = 'queued' AND level = ? AND id > ? ORDER BY id LIMIT 1",
            *(PRIORITIES.index(priority), after),
        )
        return None if row is None else _claim(tx, dict(row))


def is_waiting(log: Log) -> bool:
    """Whether any job waits to be sent."""
    with log.reading() as tx:
        return tx.row("SELECT 1 FROM jobs INDEXED BY jobs_by_status WHERE status = 'queued' LIMIT 1") is not None


def finish(log: Log, job_id: str, answer: Answer, report: ReportLike | None) -> Job:
    """Record the answer as the revision of its turn, and the job as done. A job that is not pending stays as it is."""
    with log.transaction() as tx:
        row = row_of(tx, job_id)
        if row["status"] in {"queued", "sending"}:
            decided = {"decision_id": row["decision_id"]} if report is None else report_json(report)
            answer_id = append_revision(tx, row["request_id"], answer, decided)
            if report is not None:
                append_decision(tx, row["session_id"], decided, parent=row["request_id"])
            tx.append("job.done", row["session_id"], meta={"answer_id": answer_id}, parent=job_id)
        return job_of(tx, row_of(tx, job_id))


def retry(log: Log, job_id: str, not_before: float, reason: str | None, *, refused: bool = False) -> Job:
    """Put a job that is being sent back, to be sent at `not_before` or later. `refused`: every provider refused it."""
    with log.transaction() as tx:
        row = row_of(tx, job_id)
        if row["status"] == "sending":
            meta = {"not_before": not_before, "reason": reason or row["reason"], **({"refused": 1} if refused else {})}
            tx.append("job.retried", row["session_id"], meta=meta, parent=job_id)
        return job_of(tx, row_of(tx, job_id))


def fail(log: Log, job_id: str, reason: str) -> Job:
    """Set a job aside that can never be sent, with the reason; the jobs behind it go on."""
    with log.transaction() as tx:
        row = row_of(tx, job_id)
        if row["status"] in {"queued", "sending"}:
            tx.append("job.failed", row["session_id"], meta={"reason": reason}, parent=job_id)
        return job_of(tx, row_of(tx, job_id))


def expire(log: Log, now: float) -> list[Job]:
    """Set aside what waits and is worth nothing any more, some at a time. Returns those."""
    now_ms = int(now * 1000)
    with log.reading() as tx:
        if not _expired(tx, now_ms, 1):  # asked again and again: a look is cheaper than a write
            return []
    with log.transaction() as tx:
        rows = _expired(tx, now_ms, BATCH)
        for row in rows:
            tx.append("job.failed", row["session_id"], meta={"reason": EXPIRED}, parent=row["id"])
        return [job_of(tx, row_of(tx, row["id"])) for row in rows]


def release_held(log: Log, now: float) -> list[Job]:
    """Make what waits for the next day's budget due now, some at a time. Returns those."""
    with log.transaction() as tx:
        rows = list(
            tx.rows(
                "SELECT id, session_id FROM jobs INDEXED BY jobs_held"
                " WHERE status = 'queued' AND reason = 'budget_spent' AND not_before > ? ORDER BY not_before LIMIT ?",
                *(now, BATCH),
            )
        )
        for row in rows:
            meta = {"not_before": now, "reason": BUDGET_SPENT}
            tx.append("job.retried", row["session_id"], meta=meta, parent=row["id"])
        return [job_of(tx, row_of(tx, row["id"])) for row in rows]


def requeue(log: Log, job_id: str, now: float) -> Job:
    """Let a failed job be sent after all, with the same key and without its deadline: a person says so.

    Raises NotFound, or Conflict where it has not failed.
    """
    with log.transaction() as tx:
        row = row_of(tx, job_id)
        if row["status"] != "failed":
            raise Conflict(
                f"The job has not failed: it is {row['status']}.",
                code="job_not_failed",
                hint="'edge-agent outbox flush' tries what waits; what was dropped or done is asked anew.",
            )
        meta = {"not_before": now, "reason": "retry_asked"}
        tx.append("job.requeued", row["session_id"], meta=meta, parent=job_id)
        return job_of(tx, row_of(tx, job_id))


def drop(log: Log, job_id: str) -> Job:
    """Give a job up because a person says so. Raises Conflict where it is being sent or is done."""
    with log.transaction() as tx:
        row = row_of(tx, job_id)
        if row["status"] == "sending":
            raise Conflict("The job is being sent.", code="job_sending", hint="Wait until it has been, and look again.")
        if row["status"] == "done":
            raise Conflict(
                "The job is done.", code="job_done", hint="'edge-agent sessions forget' removes its answer, too."
            )
        if row["status"] != "dropped":
            tx.append("job.dropped", row["session_id"], parent=job_id)
        return job_of(tx, row_of(tx, job_id))


def requeue_sending(tx: Transaction) -> int:
    """Put back what a dead process was sending, marked as repeated. Returns how many."""
    rows = list(tx.rows("SELECT id, session_id FROM jobs WHERE status = 'sending' ORDER BY id"))
    for row in rows:
        tx.append("job.recovered", row["session_id"], parent=row["id"])
    return len(rows)


def _due(tx: Reader, level: int, now: float) -> Mapping[str, Any] | None:
    """The first due job of a level: two looks into an index, however many wait."""
    far = tx.row(f"{_WAITING} AND not_before > ? ORDER BY not_before, id LIMIT 1", level, now + LONGEST_WAIT_S)
    row = far or tx.row(f"{_WAITING} AND not_before <= ? ORDER BY not_before, id LIMIT 1", level, now)
    return None if row is None else dict(row)


def _due_since(row: Mapping[str, Any], now: float) -> tuple[float, str]:
    """Of what was put back while the clock was ahead nobody knows: before all others. Of one time, the older job."""
    return float("-inf") if row["not_before"] > now else float(row["not_before"]), row["id"]


def _claim(tx: Transaction, row: Mapping[str, Any]) -> Job:
    tx.append("job.sending", row["session_id"], parent=row["id"])
    return job_of(tx, row_of(tx, row["id"]))


def _expired(tx: Reader, now_ms: int, limit: int) -> list[Mapping[str, Any]]:
    rows = tx.rows(
        "SELECT id, session_id FROM jobs INDEXED BY jobs_expiring"
        " WHERE status = 'queued' AND expires_ms IS NOT NULL AND expires_ms <= ? ORDER BY expires_ms LIMIT ?",
        *(now_ms, limit),
    )
    return [dict(row) for row in rows]
