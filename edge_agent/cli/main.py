"""`edge-agent`: all commands in one place."""

from __future__ import annotations

import sys
from collections.abc import Container
from importlib import import_module

import typer

from cloud_bridge import crash_dumps
from edge_agent.cli.output import run

COMMANDS = {
    "serve": "Serve OpenAI-compatible clients on localhost.",
    "ask": "Ask the running daemon.",
    "status": "Show what the running daemon has loaded, queued and spent.",
    "doctor": "Check the home, the settings, the models, the state and the daemon.",
    "models": "The models on this machine: list, pull, rm, verify, export, import, bench.",
    "sessions": "What was said: list, show, export, choose, forget.",
    "docs": "Documents that answers may draw on: add, list, rm, search.",
    "ledger": "What left this device, byte for byte.",
    "outbox": "What waits to be sent.",
    "sync": "Sessions shared by your own devices: start, invite, join, status, devices, remove, leave.",
    "privacy": "What would be masked.",
    "intents": "The user's own intents: import, add, list, test, rm.",
    "routing": "How requests are routed.",
    "calibrate": "Measure how sure the local model must be, so that few of its answers are wrong. Takes minutes.",
    "vault": "The key of everything kept: status, rotate, move.",
    "token": "The key that local clients send.",
}
"""Each is a module beside this one, with a function of its name, or an `app` where it has subcommands."""


def build(words: Container[str]) -> typer.Typer:
    """The command line. Commands that are not among `words` are there by name and help only, to be listed.

    Each brings its own libraries along: importing them all would take longer than most of them run.
    """
    app = typer.Typer(
        name="edge-agent",
        help="Answers what it can on this device, and escalates the rest without your data.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(options)
    for name, text in COMMANDS.items():
        if name not in words:
            app.command(name, help=text)(_only_listed)
            continue
        module = import_module(f"edge_agent.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, help=text, no_args_is_help=True)
        else:
            app.command(name)(getattr(module, name))
    return app


def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),  # noqa: FBT003 read by main
) -> None:
    """Options that every command takes."""


def main() -> None:
    """Run the command line; the process ends with its exit status."""
    crash_dumps.forbid()
    debug = "--debug" in sys.argv
    # Typed after a subcommand, too: everyone tries that first.
    sys.argv = [sys.argv[0], *(["--debug"] if debug else []), *(a for a in sys.argv[1:] if a != "--debug")]

    def command_line() -> None:
        build(sys.argv)()

    sys.exit(run(command_line, debug=debug))


def _only_listed() -> None:
    """Stands for a command that nobody asked for."""


if __name__ == "__main__":
    main()
