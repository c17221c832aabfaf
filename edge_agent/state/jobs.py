"""Jobs of the outbox as they are seen: one, a page of them, their number. What happens to them is `outbox`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from cloud_bridge.protocol.envelope import Escalation, decode_escalation
from cloud_bridge.protocol.problems import NotFound, Problem
from edge_agent.state.log import Log, Reader
from edge_agent.state.turns import text_of

IN_FLIGHT = "in_flight"
"""The reason of a job whose client waits for it."""

CLIENT_GONE = "client_gone"
"""The reason of a job whose client went away before the answer."""

EXPIRED = "expired"
COST_CAP = "cost_cap"
BUDGET_SPENT = "budget_spent"
OVER_BUDGET = "over_budget"

Status = Literal["queued", "sending", "done", "failed", "dropped"]

OPEN: Sequence[Status] = ("queued", "sending", "failed")
"""What still wants something of somebody."""

Priority = Literal["low", "normal", "high"]

PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high")
"""In rising order; the log and the views have their numbers."""

_DEFERRED = "(status = 'queued' OR repeated OR reason NOT IN ('in_flight', 'client_gone'))"
"""Word for word what the index `jobs_deferred` is of."""

_ADVICE = {
    EXPIRED: "Its answer came to be worth nothing before it could be sent. Retry it if it is wanted all the same.",
    COST_CAP: "It may cost more than its max_cost_usd allows. Ask again with a higher one.",
    OVER_BUDGET: "It may cost more than a whole day's budget. Raise [budget] usd_per_day and retry it, or drop it.",
    BUDGET_SPENT: "It is sent when the day's budget begins anew, or [budget] usd_per_day is raised.",
    "provider_rejected": "Every provider refused it. Check base_url and model, then retry it.",
    "never_leaves": "It holds what must not leave. Change [privacy] never_leave and retry it, or drop it.",
    "clock_wrong": "Set this device's clock.",
    "state_damaged": "Its record is damaged. Restore state.db from a backup, or drop it.",
    "malformed_envelope": "Its record is damaged. Restore state.db from a backup, or drop it.",
    CLIENT_GONE: "Whoever asked went away. Retry it if the answer is wanted in the session all the same.",
    "internal_error": "Something failed inside edge-agent. Retry it after an upgrade, or drop it.",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """How a job wants to be treated. `expires_s`: seconds from acceptance after which its answer is worth nothing."""

    priority: Priority = "normal"
    expires_s: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A queued escalation. `reason`: why it waits, or why it ended. `not_before`, `expires_at`: seconds since 1970.

    `repeated`: a call may have been in flight when its process was killed, and is made again with the same key.
    `refusals`: how often every provider understood and refused it.
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
    priority: Priority = "normal"
    expires_at: float | None = None
    refusals: int = 0

    @property
    def advice(self) -> str:
        """What a person can do about it; "" where nothing is to be done."""
        found = _ADVICE.get(self.reason, "")
        if self.status == "failed":
            return found or f"Retry it: edge-agent outbox retry {self.id}"
        return found if self.status == "queued" else ""

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
            "priority": self.priority,
            "not_before": self.not_before,
            "expires_at": self.expires_at,
            "advice": self.advice,
        }


def listed(log: Log, status: Status | None) -> list[Job]:
    """All jobs, the oldest first."""
    with log.reading() as tx:
        if status is None:
            rows = tx.rows("SELECT * FROM jobs ORDER BY id")
        else:
            rows = tx.rows("SELECT * FROM jobs WHERE status = ? ORDER BY id", status)
        return [_listed(tx, dict(row)) for row in rows]


def page(log: Log, statuses: Sequence[Status], limit: int, after: str | None) -> list[Job]:
    """At most `limit` jobs of these statuses, the oldest first; `after`: younger than the job of that id."""
    with log.reading() as tx:
        # Each status by its index: all at once would be sorted first, however many there are.
        found = [
            dict(row)
            for status in statuses
            for row in tx.rows(
                "SELECT * FROM jobs INDEXED BY jobs_by_status WHERE status = ? AND id > ? ORDER BY id LIMIT ?",
                *(status, after or "", limit),
            )
        ]
        return [_listed(tx, row) for row in sorted(found, key=lambda row: str(row["id"]))[:limit]]


def newest_deferred(log: Log, limit: int, before: str | None) -> list[Job]:
    """At most `limit` jobs that waited for a provider, the newest first; `before`: older than the job of that id.

    Other jobs only guarded a request that was answered at once.
    """
    with log.reading() as tx:
        rows = tx.rows(
            f"SELECT * FROM jobs INDEXED BY jobs_deferred WHERE {_DEFERRED} AND id < ? ORDER BY id DESC LIMIT ?",  # noqa: S608 - constant
            *(before or "~", limit),
        )
        return [_listed(tx, dict(row)) for row in rows]


def counts(log: Log) -> dict[str, int]:
    """How many jobs have each status; a status without jobs is 0. Kept by triggers: nobody counts them all."""
    with log.reading() as tx:
        found = dict(tx.db.execute("SELECT status, number FROM job_counts").fetchall())
    return {status: found[status] for status in get_args(Status)}


def one(log: Log, job_id: str) -> Job:
    """One job. Raises NotFound, and Broken where its answer was altered."""
    with log.reading() as tx:
        return job_of(tx, row_of(tx, job_id))


def escalation_of(log: Log, job_id: str) -> Escalation:
    """What the job sends, exactly as it was accepted.

    Raises NotFound where its session was forgotten, Broken or InvalidRequest where its record is damaged.
    """
    with log.reading() as tx:
        row_of(tx, job_id)
        event = tx.event(job_id)
        body = None if event is None else tx.body(event)
    if body is None:
        raise NotFound("The job's session was forgotten.", code="session_forgotten", hint="There is nothing to send.")
    return decode_escalation(body)


def row_of(tx: Reader, job_id: str) -> Mapping[str, Any]:
    """The job's row. Raises NotFound."""
    row = tx.row("SELECT * FROM jobs WHERE id = ?", job_id)
    if row is None:
        raise NotFound("There is no such job.", code="unknown_job", hint="'edge-agent outbox list' lists them.")
    return dict(row)


def job_of(tx: Reader, row: Mapping[str, Any]) -> Job:
    """The job in a row, with its answer."""
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
        priority=PRIORITIES[row["priority"]],
        expires_at=None if row["expires_ms"] is None else row["expires_ms"] / 1000,
        refusals=row["refusals"],
    )


def _listed(tx: Reader, row: Mapping[str, Any]) -> Job:
    try:
        return job_of(tx, row)
    except Problem:  # one damaged answer does not hide the other jobs
        return job_of(tx, {**row, "answer_id": None})
