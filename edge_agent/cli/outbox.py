"""`edge-agent outbox list|flush|drop|retry`."""

from __future__ import annotations

import sys
import time
from typing import Annotated, get_args

import typer

from edge_agent.cli.client import DaemonClient
from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.composition import open_state
from edge_agent.home import current_home
from edge_agent.state import jobs, outbox
from edge_agent.state.jobs import OPEN, Job, Status

app = typer.Typer()

PAGE = 100


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also what was sent or dropped.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=1000)] = PAGE,
    after: Annotated[str | None, typer.Option(help="Those after the job of this id.")] = None,
    json: JsonFlag = False,
) -> None:
    """List what waits to be sent or failed, the oldest first, and what can be done about it."""
    statuses = get_args(Status) if everything else OPEN
    with open_state(current_home()) as state:
        found = jobs.page(state.log, statuses, limit, after)
        counts = state.count_jobs()
    if json:
        print_json({"jobs": [job.to_json() for job in found], "counts": counts})
        return
    columns = ("job", "status", "priority", "session", "reason", "attempts", "repeated")
    print_table(columns, [_row(job) for job in found], empty="Nothing waits." if after is None else "No more.")
    for job in found:
        if job.status == "failed":
            sys.stdout.write(f"{job.id}: {job.advice}\n")
    if len(found) == limit:
        sys.stdout.write(f"There may be more: --after {found[-1].id}\n")


@app.command()
def flush(json: JsonFlag = False) -> None:
    """Make the daemon try everything that waits, now, on a metered network, too."""
    outcome = DaemonClient.from_home(current_home()).post("/edge/v1/outbox/flush", {})
    if json:
        print_json(outcome)
    elif outcome.get("held") and not outcome["job_ids"]:
        sys.stdout.write(f"Nothing was sent ({outcome['held']}), still queued {outcome['queued']}.\n")
    else:
        sys.stdout.write(f"Sent {outcome['sent']}, still queued {outcome['queued']}, failed {outcome['failed']}.\n")


@app.command()
def drop(job_id: str, json: JsonFlag = False) -> None:
    """Give a job up: it is not sent, and its record says dropped."""
    with open_state(current_home()) as state:
        job = state.drop_job(job_id)
    if json:
        print_json(job.to_json())
    else:
        sys.stdout.write(f"Dropped {job.id}.\n")


@app.command()
def retry(job_id: str, json: JsonFlag = False) -> None:
    """Let a failed job be sent after all, with the key that it was accepted with."""
    with open_state(current_home()) as state:
        job = outbox.requeue(state.log, job_id, time.time())
    if json:
        print_json(job.to_json())
    else:
        sys.stdout.write(f"Queued {job.id} again; the daemon sends it.\n")


def _row(job: Job) -> tuple[object, ...]:
    repeated = "yes" if job.repeated else ""
    return (job.id, job.status, job.priority, job.session_id, job.reason, job.attempts, repeated)
