"""`edge-agent token show|rotate`."""

from __future__ import annotations

import sys

import typer

from edge_agent.cli.output import JsonFlag, print_json
from edge_agent.home import current_home
from edge_agent.token import Token

app = typer.Typer()


@app.command()
def show(json: JsonFlag = False) -> None:
    """Print the token."""
    _print(Token.ensure(current_home()), json=json)


@app.command()
def rotate(json: JsonFlag = False) -> None:
    """Replace the token; clients with the old one are refused at once."""
    _print(Token.rotate(current_home()), json=json)


def _print(token: Token, *, json: bool) -> None:
    if json:
        print_json({"token": token.value(), "path": str(token.path)})
    else:
        sys.stdout.write(token.value() + "\n")
