"""`edge-agent sessions list|show|export|forget`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.composition import open_state
from edge_agent.home import current_home

app = typer.Typer()


class Form(StrEnum):
    """What an export is written as."""

    JSONL = "jsonl"
    MARKDOWN = "markdown"


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List the sessions, the newest first."""
    with open_state(current_home()) as state:
        found = state.sessions()
    if json:
        print_json({"sessions": [session.to_json() for session in found]})
        return
    print_table(
        ("session", "turns", "interrupted", "queued", "started", "changed"),
        [(s.id, s.turns, s.interrupted or "", s.jobs_pending or "", s.started_at, s.updated_at) for s in found],
        empty="No sessions yet.",
    )


@app.command()
def show(session_id: str, json: JsonFlag = False) -> None:
    """Show one session: its turns, and what was provisional, revised, branched or interrupted."""
    with open_state(current_home()) as state:
        if json:
            print_json(state.session(session_id).to_json())
        else:
            sys.stdout.write(state.export(session_id, "markdown"))


@app.command()
def export(
    session_id: str,
    form: Annotated[Form, typer.Option("--format", help="jsonl for programs, markdown for people.")] = Form.JSONL,
    json: JsonFlag = False,
) -> None:
    """Print a whole session in the clear."""
    with open_state(current_home()) as state:
        sys.stdout.write(state.export(session_id, "jsonl" if json else form.value))


@app.command()
def forget(session_id: str, json: JsonFlag = False) -> None:
    """Destroy a session's key: nothing can read it again. Cannot be undone."""
    with open_state(current_home()) as state:
        state.forget(session_id)
    if json:
        print_json({"forgotten": session_id})
    else:
        sys.stdout.write(f"Forgot {session_id}.\n")
