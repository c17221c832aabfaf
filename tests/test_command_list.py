"""The list of commands is written down once more, so that showing it imports none of them: it must not go stale."""

from __future__ import annotations

from importlib import import_module
from inspect import getdoc

import pytest

from edge_agent.cli.main import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_the_command_says(name: str) -> None:
    module, text = import_module(f"edge_agent.cli.{name}"), COMMANDS[name]
    app = getattr(module, "app", None)
    if app is None:
        assert text == (getdoc(getattr(module, name)) or "").partition("\n")[0]
    elif ": " in text:
        subcommands = {each.name or each.callback.__name__ for each in app.registered_commands}
        assert set(text.removesuffix(".").partition(": ")[2].split(", ")) == subcommands
