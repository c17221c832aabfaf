"""`edge-agent status`: is the daemon up, and what does it do."""

from __future__ import annotations

from edge_agent.cli.client import DaemonClient
from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.home import current_home


def status(json: JsonFlag = False) -> None:
    """Show what the running daemon has loaded, queued and spent."""
    found = DaemonClient.from_home(current_home()).get("/edge/v1/status")
    if json:
        print_json(found)
        return
    print_table(("", ""), [(key.replace("_", " "), _cell(value)) for key, value in found.items()], empty="")


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
