"""`edge-agent sessions list|show|export|choose|forget`."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import Annotated

import typer

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.composition import open_state
from edge_agent.home import current_home
from edge_agent.state.export import shown
from edge_agent.state.history import TURNS
from edge_agent.state.retention import LIVED_ON_MS, STEP, count_untouched, forget_untouched, lived_until_ms
from edge_agent.state.state import State
from edge_agent.state.times import iso, seconds

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
def show(
    session_id: str,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many of the newest turns.")] = TURNS,
    before: Annotated[str | None, typer.Option("--before", help="Those before the turn of this id.")] = None,
    json: JsonFlag = False,
) -> None:
    """Show a session's newest turns, and what was provisional, revised, branched or interrupted."""
    with open_state(current_home()) as state:
        session = state.session(session_id, limit, before)
    if json:
        print_json(session.to_json())
    else:
        sys.stdout.writelines(shown(session))


@app.command()
def export(
    session_id: str,
    form: Annotated[Form, typer.Option("--format", help="jsonl for programs, markdown for people.")] = Form.JSONL,
    json: JsonFlag = False,
) -> None:
    """Print a whole session in the clear."""
    with open_state(current_home()) as state:
        sys.stdout.writelines(state.export(session_id, "jsonl" if json else form.value))


@app.command()
def choose(session_id: str, answer_id: str, json: JsonFlag = False) -> None:
    """Go on from an answer, where a session has branches: the next request carries the line that it ends."""
    with open_state(current_home()) as state:
        state.choose(session_id, answer_id)
    if json:
        print_json({"id": session_id, "continues": answer_id})
    else:
        sys.stdout.write(f"{session_id} goes on from {answer_id}.\n")


@app.command()
def forget(
    session_id: Annotated[str | None, typer.Argument(help="The session to forget.")] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="All that nothing happened in for so long: 12h, 30d, 8w.")
    ] = None,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="With --older-than: the clock is right, though the device was not used lately."),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Destroy a session's key, or those of all old ones: nothing can read them again. Cannot be undone."""
    if (session_id is None) == (older_than is None):
        raise InvalidRequest(
            "Say what to forget.",
            code="invalid_value",
            hint="Name one session, or give --older-than 30d for all that nothing happened in for so long.",
            param="session_id",
        )
    with open_state(current_home()) as state:
        if session_id is not None:
            state.forget(session_id)
            forgotten, waiting = [session_id], 0
        else:
            forgotten, waiting = _forget_old(state, seconds(older_than or "", param="older-than"), trusted=yes)
    if json:
        print_json({"forgotten": session_id} if session_id else {"sessions": forgotten, "waiting": waiting})
    elif session_id is not None:
        sys.stdout.write(f"Forgot {session_id}.\n")
    else:
        kept = f" Of {waiting} more something waits to be sent: they stay." if waiting else ""
        sys.stdout.write(f"Forgot {len(forgotten)} {'session' if len(forgotten) == 1 else 'sessions'}.{kept}\n")


def _forget_old(state: State, age_s: float, *, trusted: bool) -> tuple[list[str], int]:
    """Which sessions were forgotten, and how many stay because something of them waits to be sent."""
    state.check_clock()
    now_ms = int(time.time() * 1000)
    if not trusted:
        _require_lived_by(state, now_ms)
    until_ms = now_ms - int(age_s * 1000)
    forgotten: list[str] = []
    while found := forget_untouched(state.log, until_ms, STEP):
        forgotten += found
    return forgotten, count_untouched(state.log, until_ms)


def _require_lived_by(state: State, now_ms: int) -> None:
    """Raise InvalidRequest where the device was not used by about this time: its clock may have leapt ahead."""
    lived_until = lived_until_ms(state.log)
    # That one is a day behind the newest use; the clock may be another day ahead of this.
    if lived_until is None or now_ms > lived_until + 2 * LIVED_ON_MS:
        last = "for a day by this clock" if lived_until is None else f"by this clock since {iso(lived_until)}"
        raise InvalidRequest(
            f"It is {iso(now_ms)} by the clock, and the device was not used {last}: what is old is not certain.",
            code="clock_uncertain",
            hint="Is that the time? Then run the command again with --yes.",
            param="older-than",
        )
