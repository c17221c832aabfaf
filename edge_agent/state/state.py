"""`State`: everything the device remembers, behind one door."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from cloud_bridge.protocol.envelope import Departure, Escalation
from edge_agent.state import (
    bodies,
    cached_answers,
    checks,
    clock,
    decisions,
    jobs,
    ledger,
    mappings,
    outbox,
    rekey,
    routing_facts,
    routing_report,
    sessions,
    turns,
)
from edge_agent.state.cached_answers import KeptAnswer, Limits, NewAnswer
from edge_agent.state.checks import Check
from edge_agent.state.database import own_home
from edge_agent.state.decisions import ReportLike
from edge_agent.state.event import Event
from edge_agent.state.export import Format, export
from edge_agent.state.history import TURNS, Message, walk
from edge_agent.state.jobs import Job, Status, Wish
from edge_agent.state.keys import KeyRing
from edge_agent.state.ledger import LedgerEntry
from edge_agent.state.ledger_signatures import Head
from edge_agent.state.log import Log
from edge_agent.state.mappings import MappingEntry, StoredMapping
from edge_agent.state.routing_report import RoutingReport
from edge_agent.state.session_view import SessionView, view
from edge_agent.state.sessions import SessionSummary
from edge_agent.state.turns import Answer


class State:
    """The open state of one home. Thread-safe; every call blocks, for a disk write where it records something.

    What a recording call returned from is on disk and survives a power cut. Several processes may have the
    same state open; one may own it. Every call may raise Unavailable `state_busy` or `disk_full`, and Broken
    `state_damaged`.
    """

    def __init__(self, log: Log, ownership: sqlite3.Connection | None) -> None:
        """Use `open`."""
        self._log = log
        self._ownership = ownership

    @classmethod
    def open(
        cls,
        path: Path,
        keys: KeyRing,
        *,
        owner: bool = False,
        now: Callable[[], float] = time.time,
        random_bits: Callable[[int], int] = secrets.randbits,
    ) -> State:
        """Open or create the database at `path`.

        The owner (the daemon) keeps other owners out, checks the file, and recovers what a dead one left.
        Raises Conflict `home_in_use` or `schema_newer`, Broken `wrong_master_key` or `state_damaged`.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        ownership = own_home(path.parent) if owner else None
        try:
            state = cls(Log(path, keys, now=now, random_bits=random_bits), ownership)
        except BaseException:
            if ownership is not None:
                ownership.close()
            raise
        if owner:
            try:
                state.check()
                state.recover()
            except BaseException:
                state.close()
                raise
        return state

    def close(self) -> None:
        """Close the file and give the home up."""
        self._log.close()
        if self._ownership is not None:
            self._ownership.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The log

    @property
    def log(self) -> Log:
        """What the rooms that are no part of a request are built over."""
        return self._log

    @property
    def device(self) -> str:
        """The id of this device."""
        return self._log.device

    def new_id(self) -> str:
        """A fresh ULID: for decisions, sessions and idempotency keys."""
        return self._log.new_id()

    def append(self, kind: str, session_id: str, body: Mapping[str, Any], *, parent: str | None = None) -> Event:
        """Record any other happening of a session; the body is encrypted. Kinds of the rooms below are theirs."""
        with self._log.transaction() as tx:
            return tx.append(f"note.{kind}", session_id, bodies.to_json(body), parent=parent)

    def events(self, session_id: str) -> list[Event]:
        """All that happened in a session, in order, without bodies."""
        with self._log.reading() as tx:
            return tx.events(session_id)

    def body(self, event: Event) -> bytes | None:
        """An event's body, or None where its session was forgotten."""
        with self._log.reading() as tx:
            return tx.body(event)

    def check(self) -> None:
        """Raise Broken where the database is damaged. Reads the whole file."""
        self._log.check()

    def rebuild(self) -> None:
        """Make all views afresh from the log."""
        self._log.rebuild()

    @property
    def key_fingerprint(self) -> str:
        """The fingerprint of the master key that the database is written with."""
        with self._log.reading():
            return self._log.keys.fingerprint

    def change_master_key(self, new: KeyRing) -> int:
        """Wrap all sessions' keys by another master key, in one step. Returns how many; `new` counts from then on.

        Raises Unavailable `traces_left` where the step is done, and the old wrapped keys are in the file still.
        """
        with self._log.transaction() as tx:
            number = rekey.rekey(tx.db, self._log.keys, new)
        self._log.use_keys(new)
        self._log.erase_traces()
        return number

    def recover(self) -> tuple[int, int]:
        """Mark what a dead owner left: open requests as interrupted, jobs being sent as queued and repeated.

        Returns how many of each. For the owner only: another's requests and jobs are alive.
        """
        sessions.erase_left(self._log)
        with self._log.transaction() as tx:
            return turns.interrupt_open(tx), outbox.requeue_sending(tx)

    def check_clock(self) -> None:
        """Raise Unavailable code "clock_wrong" where the device's clock cannot be right: then nothing may leave."""
        clock.check(self._log)

    # Turns

    def accept_request(
        self, session_id: str, conversation: Mapping[str, Any], meta: Mapping[str, Any] | None = None
    ) -> str:
        """Record a request before any work on it starts; `conversation` as `conversation_to_json` makes it.

        Returns the request's id. Raises InvalidRequest `bad_session_id`.
        """
        return turns.accept(self._log, session_id, conversation, meta or {})

    def finish_request(
        self, request_id: str, answer: Answer | None, report: ReportLike, *, job_id: str | None = None
    ) -> str | None:
        """Record the answer (None: queued or refused) and the decision in one step. Returns the answer's id.

        `job_id`: the job whose answer this is; it ends in the same step.
        An answer that `finish_job` recorded already is not recorded twice.
        Raises Conflict `session_forgotten` where the session was forgotten meanwhile; nothing is recorded then.
        """
        return turns.finish(self._log, request_id, answer, report, job_id=job_id)

    def fail_request(self, request_id: str, code: str) -> None:
        """Record that a request came to nothing. Raises as `finish_request`."""
        turns.fail(self._log, request_id, code)

    # Sessions

    def sessions(self, limit: int | None = None, before: str | None = None) -> list[SessionSummary]:
        """Sessions, the newest first; `before`: those that changed before that one. Raises NotFound for a `before`."""
        return sessions.summaries(self._log, limit, before)

    def session(self, session_id: str, limit: int | None = None, before: str | None = None) -> SessionView:
        """One session with its newest turns. Raises NotFound `unknown_session`, `session_forgotten`, `unknown_turn`."""
        return view(self._log, session_id, limit, before)

    def history(self, session_id: str, turns: int | None = TURNS) -> list[Message]:
        """The messages that a next request of this session carries: of so many newest turns, or fewer."""
        with self._log.reading() as tx:
            return walk(tx, session_id, turns)

    def export(self, session_id: str, form: Format = "jsonl") -> Iterator[str]:
        """The whole session in the clear, in pieces. Raises as `session`."""
        return export(self._log, session_id, form)

    def choose(self, session_id: str, answer_id: str) -> None:
        """Go on from that answer of the session. Raises NotFound `unknown_session` or `unknown_answer`."""
        sessions.choose(self._log, session_id, answer_id)

    def forget(self, session_id: str) -> None:
        """Destroy the session's key, for good. Raises NotFound."""
        sessions.forget(self._log, session_id)

    # Decisions and spending

    def record_decision(self, report: ReportLike, *, request_id: str | None = None) -> None:
        """Record a decision on its own; `finish_request` and `finish_job` record theirs themselves."""
        decisions.record(self._log, report, request_id)

    def decisions(self, limit: int = 100, session_id: str | None = None) -> list[dict[str, Any]]:
        """Reports, the newest first."""
        return decisions.newest(self._log, limit, session_id)

    def decision(self, decision_id: str) -> dict[str, Any]:
        """One report. Raises NotFound."""
        return decisions.one(self._log, decision_id)

    def spent_since(self, since: float) -> float:
        """US dollars spent since `since`, in seconds since 1970."""
        return decisions.spent_since(self._log, since)

    # The ledger

    def record_departure(self, session_id: str, decision_id: str | None, departure: Departure) -> str:
        """Record bytes before they leave. Returns the entry's id."""
        return ledger.record(self._log, session_id, decision_id, departure)

    def ledger(self, limit: int | None = None) -> list[LedgerEntry]:
        """What left, the newest first."""
        return ledger.entries(self._log, limit)

    def ledger_entry(self, ledger_id: str) -> LedgerEntry:
        """One entry. Raises NotFound."""
        return ledger.one(self._log, ledger_id)

    def verify_ledger(self, *, public_key: str | None = None, kept: Head | None = None) -> int:
        """Check the whole chain; returns its length. Raises Broken `ledger_altered`, naming the first wrong entry.

        `public_key`: the key that must have signed the newest entry; `kept`: a head that was exported earlier.
        """
        return ledger.verify(self._log, public_key=public_key, kept=kept)

    def ledger_head(self) -> Head:
        """The ledger as it is now in one signed line, for somebody else to keep."""
        return ledger.head(self._log)

    # The outbox

    def enqueue(
        self,
        escalation: Escalation,
        reason: str,
        *,
        request_id: str,
        decision_id: str | None = None,
        not_before: float = 0,
        sending: bool = False,
        wish: Wish | None = None,
    ) -> Job:
        """Accept an escalation of `request_id`, durably. The same idempotency key again gives the same job.

        `sending`: the caller has claimed it in the same step, because a client waits for the answer.
        """
        return outbox.enqueue(
            self._log,
            escalation,
            reason,
            request_id=request_id,
            decision_id=decision_id,
            not_before=not_before,
            sending=sending,
            wish=wish or Wish(),
        )

    def jobs(self, status: Status | None = None) -> list[Job]:
        """Jobs, the oldest first."""
        return jobs.listed(self._log, status)

    def newest_deferred_jobs(self, limit: int, before: str | None = None) -> list[Job]:
        """Jobs that waited for a provider, the newest first; `before`: older than the job of that id."""
        return jobs.newest_deferred(self._log, limit, before)

    def count_jobs(self) -> dict[str, int]:
        """How many jobs have each status."""
        return jobs.counts(self._log)

    def job(self, job_id: str) -> Job:
        """One job. Raises NotFound."""
        return jobs.one(self._log, job_id)

    def escalation(self, job_id: str) -> Escalation:
        """What a job sends, as it was accepted. Raises NotFound where its session was forgotten."""
        return jobs.escalation_of(self._log, job_id)

    def claim_next(self, now: float) -> Job | None:
        """Take the job that is to be sent next at `now` (seconds since 1970); no one else gets it."""
        return outbox.claim_next(self._log, now)

    def finish_job(self, job_id: str, answer: Answer, report: ReportLike | None = None) -> Job:
        """Record the late answer beside the provisional one. A job that was ended meanwhile stays as it is."""
        return outbox.finish(self._log, job_id, answer, report)

    def retry_job(self, job_id: str, not_before: float, reason: str | None = None) -> Job:
        """Put back a job that is being sent. `reason`: why it still waits."""
        return outbox.retry(self._log, job_id, not_before, reason)

    def fail_job(self, job_id: str, reason: str) -> Job:
        """Set aside a job that can never be sent."""
        return outbox.fail(self._log, job_id, reason)

    def drop_job(self, job_id: str) -> Job:
        """Give a job up. Raises NotFound, or Conflict where it is being sent or done."""
        return outbox.drop(self._log, job_id)

    # Checks of calibrations

    def record_check(self, check: Check) -> None:
        """Keep what a check came to."""
        checks.record(self._log, check)

    def checks(self, calibration: str) -> list[Check]:
        """All checks of a calibration, in their order."""
        return checks.of_calibration(self._log, calibration)

    # Answers to be given again

    def keep_answer(self, answer: NewAnswer, limits: Limits) -> None:
        """Keep a masked answer, sealed with its session's key. Nothing, where the session was forgotten."""
        cached_answers.keep(self._log, answer, limits)

    def cached_answer(self, question: bytes) -> KeptAnswer | None:
        """The answer to exactly this question."""
        return cached_answers.find(self._log, question)

    def answers_near(self, question: bytes, newest: int) -> list[tuple[bytes, bytes]]:
        """Of the answers to questions that differ in their last words: what names each, and the words' embedding."""
        return cached_answers.near(self._log, question, newest)

    def answer_near(self, name: bytes) -> KeptAnswer | None:
        """The answer that `answers_near` named, where it is still there."""
        return cached_answers.one(self._log, name)

    # The routing report

    def routing_report(self, since: float) -> RoutingReport:
        """How requests were routed since `since`, in seconds since 1970."""
        return routing_report.report(self._log, since)

    def provisional_text(self, request_id: str) -> str | None:
        """The text of the provisional answer that a request was given, where it was."""
        return turns.provisional_text(self._log, request_id)

    def record_agreement(self, decision_id: str, *, agreed: bool) -> None:
        """Note whether the device and the cloud said the same to the request of a decision."""
        routing_facts.record_agreement(self._log, decision_id, agreed=agreed)

    def decisions_since(self, since: float) -> Iterator[dict[str, Any]]:
        """All reports since `since` (seconds since 1970) that can be read, the newest first; read some at a time."""
        return decisions.since(self._log, since)

    # Mappings: privacy's MappingStore

    def surrogate_seed(self, session_id: str) -> bytes:
        """What the session's surrogates are chosen by, which says nothing to those without the master key."""
        return self._log.keys.seed(session_id)

    def load(self, session_id: str) -> list[StoredMapping]:
        """A session's placeholders and values, in the order in which they were added."""
        return mappings.load(self._log, session_id)

    def began(self, session_id: str, event_id: str | None = None) -> str | None:
        """What work on the session, or on that event of it, begins under, for `add`; another after each forgetting."""
        return mappings.began(self._log, session_id, event_id)

    def add(self, session_id: str, entries: Iterable[MappingEntry], began: str | None = None) -> None:
        """Keep more of them, durably. Raises Conflict `session_forgotten` where it was forgotten since `began`."""
        mappings.add(self._log, session_id, entries, began)
