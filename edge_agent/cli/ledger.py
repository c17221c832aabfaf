"""`edge-agent ledger list|show|head|verify`: what left this device, byte for byte."""

from __future__ import annotations

import sys
from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.composition import open_state
from edge_agent.home import current_home
from edge_agent.state.ledger_signatures import Head

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
def head(json: JsonFlag = False) -> None:
    """Print the newest entry's number and hash, signed by this device: who keeps it can check the ledger later."""
    with open_state(current_home()) as state:
        found = state.ledger_head().to_json()
    if json:
        print_json(found)
        return
    for name, value in found.items():
        sys.stdout.write(f"{name.replace('_', ' ')}: {value}\n")


@app.command()
def verify(
    public_key: Annotated[
        str | None, typer.Option(help="The device's public key, which must have signed the newest entry.")
    ] = None,
    head_file: Annotated[
        Path | None,
        typer.Option("--head", help="A file that 'ledger head --json' wrote: nothing up to there may have changed."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check that no entry was altered, removed or reordered, and every signature; fails and names the first wrong."""
    kept = None if head_file is None else Head.from_json(_document(head_file))
    with open_state(current_home()) as state:
        count = state.verify_ledger(public_key=public_key, kept=kept)
    if json:
        print_json({"entries": count, "intact": True})
    else:
        sys.stdout.write(f"The ledger holds: {count} {'entry' if count == 1 else 'entries'}, none altered.\n")


def _document(path: Path) -> dict[str, Any]:
    try:
        document = loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(path) from error
    if not isinstance(document, dict):
        raise _unreadable(path)
    return document


def _unreadable(path: Path) -> InvalidRequest:
    return InvalidRequest(
        f"{path} cannot be read as a head.",
        code="bad_head",
        hint="Give the file as 'edge-agent ledger head --json' wrote it.",
        param="head",
    )
