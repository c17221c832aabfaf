"""`edge-agent ledger list|show|verify`: what left this device, byte for byte."""

from __future__ import annotations

import sys

import typer

from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.composition import open_state
from edge_agent.home import current_home

app = typer.Typer()


@app.command("list")
def list_(json: JsonFlag = False) -> None:
    """List what left, the newest first."""
    with open_state(current_home()) as state:
        found = state.ledger()
    if json:
        print_json({"entries": [entry.to_json(with_body=False) for entry in found]})
        return
    print_table(
        ("entry", "sent", "provider", "url", "bytes", "session"),
        [(e.id, e.sent_at, e.provider, e.url, e.size, e.session_id) for e in found],
        empty="Nothing has left this device.",
    )


@app.command()
def show(entry_id: str, json: JsonFlag = False) -> None:
    """Show one entry with the exact bytes."""
    with open_state(current_home()) as state:
        entry = state.ledger_entry(entry_id)
    if json:
        print_json(entry.to_json())
        return
    for name, value in entry.to_json(with_body=False).items():
        sys.stdout.write(f"{name.replace('_', ' ')}: {'' if value is None else value}\n")
    sys.stdout.write("\n")
    sys.stdout.flush()
    if entry.body is None:
        sys.stdout.write("The session was forgotten; its bytes cannot be read.\n")
    else:
        # As they left: not decoded, not printed anew.
        sys.stdout.buffer.write(entry.body + b"\n")


@app.command()
def verify(json: JsonFlag = False) -> None:
    """Check that no entry was altered, removed or reordered; fails and names the first that was."""
    with open_state(current_home()) as state:
        count = state.verify_ledger()
    if json:
        print_json({"entries": count, "intact": True})
    else:
        sys.stdout.write(f"The ledger holds: {count} {'entry' if count == 1 else 'entries'}, none altered.\n")
