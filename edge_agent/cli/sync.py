"""`edge-agent sync start|invite|join|status|devices|remove|leave`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cloud_bridge.protocol.problems import Conflict, InvalidRequest, Problem, Unavailable
from edge_agent.cli.output import JsonFlag, print_json, print_table
from edge_agent.composition import open_state
from edge_agent.group import Group, Listing, leave_here
from edge_agent.home import current_home, device_key_path
from edge_agent.settings import Settings
from edge_agent.state.log import Log
from edge_agent.state.sync import membership as memberships
from edge_agent.state.sync.invitation import Invitation
from edge_agent.state.sync.standing import standing, untold
from edge_agent.state.times import iso

app = typer.Typer()

T = TypeVar("T")

WHAT_LEAVES = (
    "From now on all sessions of this device, the older ones too, go to the devices of the group, and theirs come"
    " here: all but values of the types in [privacy] never_leave. They are sealed for these devices alone: the bridge"
    " cannot read them."
)
_MAX_INPUT = 4096


@app.command()
def start(json: JsonFlag = False) -> None:
    """Found a group of your own devices at the bridge, with this one in it."""
    founded = _at_bridge(lambda group: group.start())
    if json:
        print_json({"group": founded.keys.id, "bridge": founded.url})
        return
    sys.stdout.write(f"Founded the group {founded.keys.id} at {founded.url}. {WHAT_LEAVES}\n")
    sys.stdout.write("To let another device join: 'edge-agent sync invite' here, then 'edge-agent sync join' there.\n")


@app.command()
def invite(
    hours: Annotated[float, typer.Option(help="For how long it holds, up to a week.")] = 24,
    json: JsonFlag = False,
) -> None:
    """Print what another device of yours needs to join. It is a secret, for one device."""
    invitation = _at_bridge(lambda group: group.invite(hours))
    until = iso(invitation.expires_at * 1000)
    if json:
        print_json({"invitation": invitation.to_text(), "expires_at": until, "group": invitation.group})
        return
    sys.stdout.write(invitation.to_text() + "\n")
    sys.stderr.write(
        f"It is a secret: whoever has it first, and may call the bridge, reads every session. It lets one device join,"
        f" until {until}. There: 'edge-agent sync join -', and paste it.\n"
    )


@app.command()
def join(
    invitation: Annotated[str, typer.Argument(help="What 'sync invite' printed; -: read it from the input.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: JsonFlag = False,
) -> None:
    """Join a group with an invitation: all sessions of this device are then shared with the others."""
    text = sys.stdin.read(_MAX_INPUT) if invitation == "-" and not _is_terminal() else invitation
    if invitation == "-" and _is_terminal():
        text = typer.prompt("Invitation", err=True, hide_input=True)
    found = Invitation.from_text(text)
    if not yes:
        _confirm(WHAT_LEAVES, "Join?")
    joined = _at_bridge(lambda group: group.join(found))
    if json:
        print_json({"group": joined.keys.id, "bridge": joined.url})
        return
    sys.stdout.write(f"Joined the group {joined.keys.id}. {WHAT_LEAVES if yes else ''}".rstrip() + "\n")


@app.command()
def status(json: JsonFlag = False) -> None:
    """Show the group, its devices, the last exchange, and what the others have not heard yet."""
    home = current_home()
    with open_state(home) as state:
        found = _standing(home, state.log)
    if json:
        print_json(found)
        return
    if found["group"] is not None:
        found["last_exchange"] = found["last_exchange"] or "none yet"
    rows = [(name.replace("_", " "), value) for name, value in found.items() if name != "devices"]
    print_table(("", ""), [row for row in rows if row[1] is not None], empty="")
    if found["devices"]:
        sys.stdout.write("\n")
        _print_devices(found["devices"])


@app.command()
def devices(json: JsonFlag = False) -> None:
    """List the devices of the group."""
    found = [device.to_json() for device in _at_bridge(lambda group: group.listing()).devices]
    if json:
        print_json({"devices": found})
    else:
        _print_devices(found)


@app.command()
def remove(
    device: Annotated[str, typer.Argument(help="Its id, as 'sync devices' lists it.")], json: JsonFlag = False
) -> None:
    """Take another device out: it can neither call nor read what is said from now on. What it has, it keeps."""
    without = _at_bridge(lambda group: group.remove(device))
    if json:
        print_json({"removed": device, "also_removed": without})
        return
    sys.stdout.write(f"Removed {device}. The others get a new key with their next exchange.\n")
    for origin in without:
        sys.stderr.write(
            f"Removed with it: {origin}. That its key is its own could not be shown, so the new one was not sealed to"
            " it. If the device is yours, invite it again.\n"
        )


@app.command()
def leave(
    here_only: Annotated[bool, typer.Option("--here-only", help="Do not tell the bridge, which may be gone.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Also where the others have not heard everything.")] = False,
    json: JsonFlag = False,
) -> None:
    """Take this device out of its group. What it has of the others' sessions stays here."""
    if here_only:
        with open_state(current_home()) as state:
            leave_here(state.log)
    else:
        try:
            if not yes:
                _require_all_told()
            _at_bridge(lambda group: group.leave())
        except Problem as problem:
            if problem.code not in {"sync_no_group", "sync_untold"}:
                problem.hint += " To leave without the bridge: 'edge-agent sync leave --here-only'."
            raise
    if json:
        print_json({"left": True})
    else:
        sys.stdout.write("This device is in no group any more.\n")


def _require_all_told() -> None:
    """Raise Conflict where something was said, or forgotten, that the bridge has not heard of."""
    try:
        told = _at_bridge(Group.listing).told
    except Unavailable:
        raise
    except Problem:
        return  # leaving says what is wrong
    with open_state(current_home()) as state:
        waiting = untold(state.log, told)
    if waiting:
        raise Conflict(
            f"The other devices have not heard {waiting} of the things said or forgotten here.",
            code="sync_untold",
            hint="Let the daemon run until 'edge-agent sync status' shows nothing waiting, or say --yes.",
        )


def _at_bridge(work: Callable[[Group], Awaitable[T]]) -> T:
    """What `work` comes to, with the group of this home at the bridge that the settings name."""
    home = current_home()
    url = _bridge_url(home)
    with open_state(home) as state:
        return asyncio.run(_called(home, url, state.log, work))


async def _called(home: Path, url: str, log: Log, work: Callable[[Group], Awaitable[T]]) -> T:
    from cloud_bridge.sync_client import open_sync_client  # noqa: PLC0415 slow, and `--help` needs none of it

    async with open_sync_client(url, device_key_path(home)) as client:
        return await work(Group(log, client, url))


def _bridge_url(home: Path) -> str:
    bridge = Settings.load(home, os.environ).bridge
    if bridge.mode != "remote":
        raise Conflict(
            f'Devices share through a bridge that all of them reach, and [bridge] mode is "{bridge.mode}" here.',
            code="sync_needs_bridge",
            hint='Set mode = "remote" and url = "https://..." in the [bridge] section of config.toml.',
        )
    return bridge.url.rstrip("/")


def _standing(home: Path, log: Log) -> dict[str, Any]:
    group, begun = memberships.load(log), memberships.load_beginning(log)
    found: dict[str, Any] = {"group": None, "state": "in no group", "bridge": None, "key_epoch": None}
    if begun is not None:
        command = "start" if begun.keys is not None else "join"
        found |= {"state": f"begun: run 'edge-agent sync {command}' again", "bridge": begun.url}
    if group is not None:
        found |= {"group": group.keys.id, "state": "member", "bridge": group.url, "key_epoch": group.keys.epoch}
    noted = standing(log)
    last = None if noted.last_ok_ms is None else iso(noted.last_ok_ms)
    found |= {"last_exchange": last, "last_error": noted.last_error}
    if group is None:
        return {**found, "bridge_says": None, "not_yet_told": None, "devices": []}
    try:
        listing = asyncio.run(_called(home, _bridge_url(home), log, Group.listing))
    except Problem as problem:
        return {**found, "bridge_says": str(problem), "not_yet_told": None, "devices": []}
    return {**found, "bridge_says": "ok", **_told(log, listing)}


def _told(log: Log, listing: Listing) -> dict[str, Any]:
    return {
        "not_yet_told": untold(log, listing.told),
        "devices": [device.to_json() for device in listing.devices],
    }


def _print_devices(found: list[dict[str, Any]]) -> None:
    print_table(
        ("device", "", "key", "joined", "last seen"),
        [
            (
                each["device"],
                "this one" if each["this"] else "",
                "its own" if each["genuine"] else "NOT SHOWN TO BE ITS OWN",
                each["joined_at"],
                each["last_seen"],
            )
            for each in found
        ],
        empty="No devices.",
    )


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _confirm(what: str, question: str) -> None:
    if not _is_terminal():
        raise InvalidRequest(
            f"Nobody is there to be asked. {what}", code="not_confirmed", hint="If that is wanted, add --yes."
        )
    sys.stderr.write(what + "\n")
    if not typer.confirm(question, err=True):
        raise Conflict("Not joined.", code="not_confirmed", hint="Nothing was changed.")
