"""`edge-agent`: all commands in one place."""

from __future__ import annotations

import sys

import typer

from edge_agent.cli import ask, doctor, ledger, models, outbox, privacy, routing, serve, sessions, status, token
from edge_agent.cli.output import run

app = typer.Typer(
    name="edge-agent",
    help="Answers what it can on this device, and escalates the rest without your data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),  # noqa: FBT003 read by main
) -> None:
    """Options that every command takes."""


app.command()(serve.serve)
app.command()(ask.ask)
app.command()(status.status)
app.command()(doctor.doctor)
for group, name, text in (
    (models.app, "models", "Local models: list, pull, verify, remove."),
    (sessions.app, "sessions", "What was said: list, show, export, forget."),
    (ledger.app, "ledger", "What left this device, byte for byte."),
    (outbox.app, "outbox", "What waits to be sent."),
    (privacy.app, "privacy", "What would be masked."),
    (routing.app, "routing", "How requests are routed."),
    (token.app, "token", "The key that local clients send."),
):
    app.add_typer(group, name=name, help=text, no_args_is_help=True)


def main() -> None:
    """Run the command line; the process ends with its exit status."""
    debug = "--debug" in sys.argv
    # Typed after a subcommand, too: everyone tries that first.
    sys.argv = [sys.argv[0], *(["--debug"] if debug else []), *(a for a in sys.argv[1:] if a != "--debug")]
    sys.exit(run(app, debug=debug))


if __name__ == "__main__":
    main()
