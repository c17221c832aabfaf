"""`edge-agent sync …` on homes of one person, at a real bridge, and with somebody between them and it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from typer.testing import CliRunner

from cloud_bridge.database import BridgeDatabase
from cloud_bridge.device_key import DeviceKey
from cloud_bridge.devices import DeviceRegistry
from cloud_bridge.protocol.problems import Problem
from cloud_bridge.sync_client import open_sync_client
from edge_agent.cli import sync
from edge_agent.group import Group
from edge_agent.home import device_key_path
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from edge_agent.state.sync import membership as memberships
from edge_agent.state.sync.invitation import Invitation
from edge_agent.state.sync.membership import Membership
from tests.daemon.bridge_process import BridgeProcess, bridge_process
from tests.daemon.wiretap import Wiretap, wiretap

pytestmark = pytest.mark.slow
NOBODY = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Home:
    """A device of its own, without a daemon."""

    path: Path
    environ: dict[str, str] = field(default_factory=dict)

    def use(self, url: str) -> None:
        """Set the bridge's address."""
        self.environ.update(
            EDGE_AGENT_HOME=str(self.path), EDGE_AGENT_BRIDGE__MODE="remote", EDGE_AGENT_BRIDGE__URL=url
        )

    def sync(self, *words: str, said: str = "") -> Any:
        """What `edge-agent sync` prints as JSON. Raises its Problem."""
        result = CliRunner().invoke(sync.app, [*words, "--json"], env=self.environ, input=said)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def shown(self, *words: str) -> str:
        """What it prints for a person."""
        result = CliRunner().invoke(sync.app, words, env=self.environ)
        assert result.exit_code == 0, result.output
        return str(result.output)

    def refused(self, *words: str, said: str = "") -> Problem:
        """The problem that the command ends in."""
        with pytest.raises(Problem) as problem:
            self.sync(*words, said=said)
        assert problem.value.hint
        return problem.value

    @property
    def device(self) -> str:
        with State.open(self.path / "state.db", HomeKey(self.path).open()) as state:
            return state.device

    def group(self) -> Membership | None:
        """What the home keeps of its group."""
        with State.open(self.path / "state.db", HomeKey(self.path).open()) as state:
            return memberships.load(state.log)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    with bridge_process(tmp_path_factory.mktemp("base") / "bridge", NOBODY) as running:
        yield running


@pytest.fixture
def tap(bridge: BridgeProcess) -> Iterator[Wiretap]:
    with wiretap(bridge.port) as tapped:
        yield tapped


@pytest.fixture
def homes(bridge: BridgeProcess, tap: Wiretap, tmp_path: Path) -> list[Home]:
    """Three enrolled devices, whose way to the bridge is tapped."""
    found = []
    with closing(BridgeDatabase(bridge.home / "bridge.db")) as database:
        for name in "abc":
            home = Home(tmp_path / name)
            home.path.mkdir()
            home.use(tap.url)
            key = DeviceKey.load_or_create(device_key_path(home.path))
            DeviceRegistry(database).enroll(f"{tmp_path.name} {name}", key.public_id)
            found.append(home)
    return found


def in_one_group(first: Home, *others: Home) -> None:
    first.sync("start")
    for other in others:
        other.sync("join", first.sync("invite")["invitation"], "--yes")


def test_devices_join_are_listed_and_are_removed(homes: list[Home]) -> None:
    a, b, c = homes
    assert a.sync("status")["state"] == "in no group"
    group = a.sync("start")["group"]
    invited = a.sync("invite", "--hours", "2")
    assert b.sync("join", "-", "--yes", said=invited["invitation"] + "\n")["group"] == group
    c.sync("join", b.sync("invite")["invitation"], "--yes")
    devices = {each["device"]: each for each in c.sync("devices")["devices"]}
    assert set(devices) == {home.device for home in homes}
    assert all(each["genuine"] for each in devices.values())
    assert [each["device"] for each in devices.values() if each["this"]] == [c.device]
    assert "its own" in c.shown("devices")
    assert a.sync("remove", b.device) == {"removed": b.device, "also_removed": []}
    assert b.refused("devices").code == "sync_not_member"
    assert b.refused("invite").code == "sync_not_member"
    assert [each["device"] for each in c.sync("devices")["devices"]] == sorted([a.device, c.device])
    groups = [home.group() for home in homes]
    assert [None if found is None else found.keys.epoch for found in groups] == [1, 0, 1]
    assert groups[0] is not None
    assert groups[2] is not None
    assert groups[0].keys.to_bytes() == groups[2].keys.to_bytes()
    # And who came back since can remove who removed.
    b.sync("join", c.sync("invite")["invitation"], "--yes")
    assert b.sync("remove", a.device)["also_removed"] == []
    assert a.refused("devices").code == "sync_not_member"
    assert c.sync("status")["key_epoch"] == 1
    assert c.sync("status")["key_epoch"] == 2


def test_an_invitation_lets_one_device_in_while_it_holds(homes: list[Home]) -> None:
    a, b, c = homes
    a.sync("start")
    text = a.sync("invite")["invitation"]
    b.sync("join", text, "--yes")
    assert c.refused("join", text, "--yes").code == "sync_invitation_used"
    assert c.sync("status")["state"] == "in no group"
    assert c.refused("join", text[:-5], "--yes").code == "bad_invitation"
    assert c.refused("join", "", "--yes").code == "bad_invitation"
    late = a.sync("invite")["invitation"]
    a.sync("remove", b.device)
    assert c.refused("join", late, "--yes").code == "sync_invitation_unknown"
    assert a.refused("invite", "--hours", "0").code == "invalid_value"
    assert a.refused("invite", "--hours", "1000").code == "invalid_value"
    shown = a.shown("invite")
    assert "secret" in shown
    c.sync("join", next(line for line in shown.splitlines() if line.startswith("edge-sync-")), "--yes")


def test_nobody_joins_unasked_twice_or_without_a_bridge(homes: list[Home], tmp_path: Path) -> None:
    a, b, _ = homes
    a.sync("start")
    text = a.sync("invite")["invitation"]
    unasked = b.refused("join", text)
    assert unasked.code == "not_confirmed"
    assert "all sessions of this device" in unasked.message
    assert a.refused("start").code == "sync_already"
    b.sync("start")
    assert b.refused("join", text, "--yes").code == "sync_already"
    assert b.refused("remove", a.device).code == "sync_no_member"
    assert b.refused("remove", b.device).code == "sync_remove_self"
    alone = Home(tmp_path / "alone", {"EDGE_AGENT_HOME": str(tmp_path / "alone")})
    assert alone.refused("start").code == "sync_needs_bridge"
    alone.use(a.environ["EDGE_AGENT_BRIDGE__URL"])
    for words in (("invite",), ("devices",), ("remove", a.device), ("leave",)):
        assert alone.refused(*words).code == "sync_no_group"
    stranger = alone.refused("start")
    assert stranger.code == "unknown_device"
    assert alone.sync("status")["state"] == "begun: run 'edge-agent sync start' again"


def test_who_leaves_is_in_no_group_and_may_join_again(homes: list[Home]) -> None:
    a, b, _ = homes
    in_one_group(a, b)
    assert b.sync("leave") == {"left": True}
    assert b.refused("devices").code == "sync_no_group"
    b.sync("join", a.sync("invite")["invitation"], "--yes")
    assert all(each["genuine"] for each in a.sync("devices")["devices"])
    b.use(NOBODY)
    problem = b.refused("leave")
    assert problem.code == "cloud_unreachable"
    assert "--here-only" in problem.hint
    assert "could not be reached" in b.sync("status")["bridge_says"]
    b.sync("leave", "--here-only")
    assert b.group() is None
    a.sync("remove", b.device)


def test_what_was_cut_off_is_finished_by_the_same_command(homes: list[Home], tap: Wiretap) -> None:
    """The bridge did what it was asked to, and its answer never came."""
    a, b, c = homes
    tap.swallow = 1
    assert a.refused("start").code == "cloud_unreachable"
    assert a.group() is None
    group = a.sync("start")["group"]
    assert {request["group"] for request in tap.requests} == {group}
    text = a.sync("invite")["invitation"]
    tap.swallow = 1
    assert b.refused("join", text, "--yes").code == "cloud_unreachable"
    assert b.sync("status")["state"] == "begun: run 'edge-agent sync join' again"
    b.sync("join", text, "--yes")
    c.sync("join", a.sync("invite")["invitation"], "--yes")
    tap.swallow = 0
    # Of a removal, the first exchange is answered and the removal itself is not.
    tap.lie = lambda _: setattr(tap, "swallow", 1)
    assert a.refused("remove", c.device).code == "cloud_unreachable"
    tap.lie, tap.swallow = None, 0
    assert a.refused("remove", c.device).code == "sync_no_member"
    assert c.refused("devices").code == "sync_not_member"
    b.sync("devices")
    mine, theirs = a.group(), b.group()
    assert mine is not None
    assert theirs is not None
    assert mine.keys.to_bytes() == theirs.keys.to_bytes()
    assert mine.keys.epoch == 1
    tap.lie, tap.swallow = None, 1
    assert b.refused("leave", "--yes").code == "cloud_unreachable"
    assert b.sync("leave") == {"left": True}


def test_of_two_removals_at_once_one_is_first(homes: list[Home], tap: Wiretap) -> None:
    a, b, c = homes
    in_one_group(a, b, c)
    removed = b.device

    async def remove(state: State) -> None:
        async with open_sync_client(tap.url, device_key_path(c.path)) as client:
            await Group(state.log, client, tap.url).remove(removed)

    def in_between(_: dict[str, Any]) -> None:
        tap.lie = None
        with State.open(c.path / "state.db", HomeKey(c.path).open()) as state:
            asyncio.run(remove(state))

    tap.lie = in_between  # the first device has heard who is there, and another is quicker
    assert a.refused("remove", removed).code == "sync_no_member"
    assert sum(request["do"] == "remove" for request in tap.requests) == 2
    first, second = a.group(), c.group()
    assert first is not None
    assert second is not None
    assert first.keys.to_bytes() == second.keys.to_bytes()
    assert first.keys.epoch == 1


def test_a_device_that_joins_meanwhile_is_not_put_out(homes: list[Home], tap: Wiretap) -> None:
    a, b, c = homes
    in_one_group(a, b)
    invitation = Invitation.from_text(a.sync("invite")["invitation"])
    removed = b.device

    async def join(state: State) -> None:
        async with open_sync_client(tap.url, device_key_path(c.path)) as client:
            await Group(state.log, client, tap.url).join(invitation)

    def in_between(_: dict[str, Any]) -> None:
        tap.lie = None
        with State.open(c.path / "state.db", HomeKey(c.path).open()) as state:
            asyncio.run(join(state))

    tap.lie = in_between
    assert a.sync("remove", removed) == {"removed": removed, "also_removed": []}
    assert {each["device"] for each in c.sync("devices")["devices"]} == {a.device, c.device}
    assert c.sync("status")["key_epoch"] == 1


def test_a_bridge_that_puts_its_own_key_in_a_members_place_is_sealed_nothing(homes: list[Home], tap: Wiretap) -> None:
    a, b, c = homes
    in_one_group(a, b, c)
    of_bridge = X25519PrivateKey.generate()
    own_key = base64.b64encode(of_bridge.public_key().public_bytes_raw()).decode()
    theirs = b.device

    def swap(document: dict[str, Any]) -> None:
        for member in document.get("members", ()):
            if member["origin"] == theirs:
                member["box_key"] = own_key

    tap.lie = swap
    shown = {each["device"]: each["genuine"] for each in a.sync("devices")["devices"]}
    assert shown == {a.device: True, b.device: False, c.device: True}
    assert "NOT SHOWN" in a.shown("devices")
    assert a.sync("remove", c.device)["also_removed"] == [b.device]
    removal = next(request for request in tap.requests if request["do"] == "remove")
    assert set(removal["boxes"]) == {a.device}
    assert removal["put_out"] == [b.device]


def test_what_the_bridge_hears_holds_no_key(homes: list[Home], tap: Wiretap) -> None:
    a, b, c = homes
    a.sync("start")
    invitations = [a.sync("invite")["invitation"] for _ in range(2)]
    for home, text in zip((b, c), invitations, strict=True):
        home.sync("join", text, "--yes")
    a.sync("remove", c.device)
    b.sync("devices")
    groups = [home.group() for home in homes]
    secrets = list(invitations)
    for group in groups:
        assert group is not None
        document = json.loads(group.keys.to_bytes())
        keys = [document["subject_key"], *document["epochs"].values()]
        raw = [base64.urlsafe_b64decode(key + "=") for key in keys] + [group.box.private_bytes_raw()]
        secrets += [*keys, *(base64.b64encode(key).decode() for key in raw), *(key.hex() for key in raw)]
    heard = json.dumps(tap.requests)
    assert len(tap.requests) > 8
    assert not [secret for secret in secrets if secret in heard]


def test_a_bridge_cannot_give_a_device_keys_of_its_own(homes: list[Home], tap: Wiretap) -> None:
    a, b, _ = homes
    a.sync("start")
    text = a.sync("invite")["invitation"]
    forged = base64.b64encode(bytes(200)).decode()
    tap.lie = lambda document: document.update(sealed=forged) if "sealed" in document else None
    assert b.refused("join", text, "--yes").code == "sync_box_damaged"
    assert b.sync("status")["state"] == "in no group"
    tap.lie = lambda document: document.update(box={"epoch": 7, "sealed": forged})
    assert a.refused("devices").code == "sync_box_damaged"
    found = a.group()
    assert found is not None
    assert found.keys.epoch == 0


def test_a_group_that_the_bridge_has_lost_is_founded_again(homes: list[Home], bridge: BridgeProcess) -> None:
    a, b, _ = homes
    in_one_group(a, b)
    found = a.group()
    assert found is not None
    with closing(BridgeDatabase(bridge.home / "bridge.db")) as database, database.transaction() as db:
        for table in ("sync_members", "sync_invitations", "sync_groups"):
            column = "name" if table == "sync_groups" else "grp"
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (found.keys.id,))  # noqa: S608 - constants
    assert a.refused("devices").code == "sync_not_member"
    assert a.sync("start")["group"] == found.keys.id
    assert b.refused("start").code == "sync_group_taken"
    b.sync("join", a.sync("invite")["invitation"], "--yes")
    assert len(b.sync("devices")["devices"]) == 2


def test_a_bridge_that_moved_is_found_at_its_new_address(
    homes: list[Home], bridge: BridgeProcess, tap: Wiretap
) -> None:
    a, b, _ = homes
    a.sync("start")
    text = a.sync("invite")["invitation"]
    url = f"http://127.0.0.1:{bridge.port}"
    a.use(url)
    a.sync("devices")
    found = a.group()
    assert found is not None
    assert found.url == a.sync("status")["bridge"] == url != tap.url
    a.sync("leave")  # the last one: the bridge keeps nothing of the group
    b.use(url)
    unknown = b.refused("join", text, "--yes")
    assert unknown.code == "sync_invitation_unknown"
    assert "made at another address" in unknown.hint
