"""`edge-agent outbox list|flush|drop`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edge_agent.cli.client import DaemonClient
from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.composition import open_state
from edge_agent.home import current_home

app = typer.Typer()


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also what was sent or dropped.")] = False,
    json: JsonFlag = False,
) -> None:
    """List what waits to be sent or failed, the oldest first."""
    with open_state(current_home()) as state:
        found = [job for job in state.jobs() if everything or job.status not in {"done", "dropped"}]
    if json:
        print_json({"jobs": [job.to_json() for job in found]})
        return
    print_table(
        ("job", "status", "session", "reason", "attempts", "repeated"),
        [(j.id, j.status, j.session_id, j.reason, j.attempts, "yes" if j.repeated else "") for j in found],
        empty="Nothing waits.",
    )


@app.command()
def flush(json: JsonFlag = False) -> None:
    """Make the daemon try everything that waits, now."""
    outcome = DaemonClient.from_home(current_home()).post("/edge/v1/outbox/flush", {})
    if json:
        print_json(outcome)
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
