"""`edge-agent vault status|rotate|move`: the key that everything in the home is encrypted under."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from cloud_bridge.protocol.problems import Conflict
from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.composition import home_key, open_state
from edge_agent.home import current_home
from edge_agent.settings import Settings
from edge_agent.settings import Vault as VaultSettings
from edge_agent.state.master_key.home_key import HomeKey, Stored

app = typer.Typer()

_ANYWHERE = VaultSettings(key="auto")


class Target(StrEnum):
    """Where the key can be."""

    KEYRING = "keyring"
    FILE = "file"
    PASSPHRASE = "passphrase"  # noqa: S105 the word, not one


@app.command()
def status(json: JsonFlag = False) -> None:
    """Show where the master key is. Nothing is unlocked, and no secret shown."""
    home = current_home()
    found = _describe(home, home_key(home, _ANYWHERE))
    if json:
        print_json(found)
        return
    print_table(("", ""), [(name.replace("_", " "), _cell(value)) for name, value in found.items()], empty="")


@app.command()
def rotate(json: JsonFlag = False) -> None:
    """Replace the master key by a new one; what was recorded stays readable. The daemon must not run."""
    home = current_home()
    key = home_key(home, _ANYWHERE)
    with open_state(home, owner=True, key=key) as state:
        before = state.key_fingerprint
        number = key.rotate(state)
    found = {**_describe(home, key), "replaced": _short(before), "sessions": number}
    if json:
        print_json(found)
    else:
        sys.stdout.write(
            f"The master key is new: {found['fingerprint']}, of {number} sessions. The old one is removed.\n"
        )


@app.command()
def move(to: Target, json: JsonFlag = False) -> None:
    """Bring the master key to the keyring, to a file, or under a passphrase. The daemon must not run."""
    home = current_home()
    wanted = Settings.load(home, os.environ).vault.key
    if wanted not in {"auto", to.value}:
        raise Conflict(
            f'[vault] key says "{wanted}": a key in the place "{to.value}" would not be used.',
            code="vault_elsewhere",
            hint=f'Set [vault] key = "{to.value}" or "auto" first.',
        )
    key = home_key(home, _ANYWHERE)
    with open_state(home, owner=True, key=key) as state:
        is_changed = key.move(state, to.value)
    if json:
        print_json({**_describe(home, key), "changed": is_changed})
    else:
        now = "is now" if is_changed else "was already"
        sys.stdout.write(f'The master key {now} in the place "{to.value}".\n')


def _describe(home: Path, key: HomeKey) -> dict[str, Any]:
    found = key.find()
    return {
        "key": found.place.name if found else None,
        "setting": Settings.load(home, os.environ).vault.key,
        "record": str(found.record) if found else None,
        "fingerprint": _short(found.fingerprint) if found else None,
        "fits_state": _fits(home, found, key),
        "settled": key.is_settled(),
    }


def _fits(home: Path, found: Stored | None, key: HomeKey) -> bool | None:
    """Whether the database was written with this key; None where nothing is written yet."""
    written_with = key.written_with() if (home / "state.db").exists() else None
    return None if written_with is None else found is not None and found.fingerprint == written_with


def _short(fingerprint: str | None) -> str | None:
    """Enough of it to compare by eye."""
    return None if fingerprint is None else "-".join(fingerprint[i : i + 4] for i in range(0, 16, 4))


def _cell(value: object) -> object:
    match value:
        case None:
            return "none yet"
        case bool():
            return "yes" if value else "no"
        case _:
            return value
