"""Founding a group of one's own devices, and who belongs to it.

What a command begins is on record before the bridge hears of it, and ended on record after: cut anywhere, the same
command again finishes it. The bridge is believed in nothing that the group's keys can show.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cloud_bridge.protocol.problems import Broken, Conflict, InvalidRequest, NotFound, Problem
from cloud_bridge.protocol.sync import Exchange, Exchanged, Found, Invite, Join, Joined, Leave, Member, Remove
from edge_agent.state.log import Log
from edge_agent.state.sync import membership as memberships
from edge_agent.state.sync.invitation import Invitation
from edge_agent.state.sync.keys import GroupKeys
from edge_agent.state.sync.membership import Beginning, Membership
from edge_agent.state.sync.welcome import Welcome
from edge_agent.state.times import iso

MAX_HOURS = 7 * 24
_TRIES = 3
NOT_IN = "sync_not_member"
"""What a bridge says to a device that it does not count among the group, or of a group that it does not know."""

_REFUSED = "sync_invitation_"
_CHANGED = {"sync_epoch_taken", "sync_members_changed"}
"""What a bridge says where another device was removed, or joined, since it told who is in the group."""


class ExchangingBridge(Protocol):
    """The bridge, as it is asked for an exchange. Every call may raise Problem."""

    async def exchange(self, exchange: Exchange, /) -> Exchanged:
        """One exchange."""


class SyncBridge(ExchangingBridge, Protocol):
    """The bridge, as it is asked about a group."""

    async def found(self, found: Found, /) -> tuple[Member, ...]:
        """The caller is the first member; said again, nothing changes."""

    async def invite(self, invite: Invite, /) -> tuple[Member, ...]:
        """One more device may join."""

    async def join(self, join: Join, /) -> Joined:
        """The caller is a member; said again, the answer is the same."""

    async def remove(self, remove: Remove, /) -> tuple[Member, ...]:
        """Another device is a member no longer."""

    async def leave(self, leave: Leave, /) -> tuple[Member, ...]:
        """The caller is a member no longer."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the group. `genuine`: its key is its own, as far as the group's keys can show."""

    origin: str
    is_this: bool
    genuine: bool
    joined_at: str
    last_seen: str

    def to_json(self) -> dict[str, Any]:
        """As a command prints it."""
        return {
            "device": self.origin,
            "this": self.is_this,
            "genuine": self.genuine,
            "joined_at": self.joined_at,
            "last_seen": self.last_seen,
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """The group's devices, and up to which number the bridge has this one's events."""

    devices: tuple[Device, ...]
    told: int


class Group:
    """The group of a device at the bridge at `url`. For commands: calls block for a disk write. `now`: Unix time."""

    def __init__(self, log: Log, bridge: SyncBridge, url: str, *, now: Callable[[], float] = time.time) -> None:
        self._log = log
        self._bridge = bridge
        self._url = url
        self._now = now

    async def start(self) -> Membership:
        """Found a group with this device in it. Raises Conflict `sync_already` where it is in one.

        Where the bridge has lost the group, it is founded there again; the others need an invitation then.
        """
        current = memberships.load(self._log)
        if current is not None:
            await self._require_unknown(current)
            await self._found(current.keys, current.box_key)
            return self._here(current)
        begun = memberships.load_beginning(self._log)
        keys = None if begun is None or begun.url != self._url else begun.keys
        if begun is None or keys is None:
            await self._give_up(begun)
            keys = GroupKeys.new()
            begun = Beginning(self._url, keys)
            memberships.save(self._log, begun)
        await self._found(keys, begun.box_key)
        founded = Membership(keys, self._url, begun.box, {self._log.device: begun.box_key})
        memberships.save(self._log, founded)
        return founded

    async def invite(self, hours: float) -> Invitation:
        """Let one more device join, within so many hours. Raises InvalidRequest `invalid_value`."""
        if not 0 < hours <= MAX_HOURS:
            raise InvalidRequest(
                "An invitation cannot hold that long.",
                code="invalid_value",
                hint=f"Give more than 0 and at most {MAX_HOURS} hours.",
                param="hours",
            )
        # First, so that the newest keys are handed on: a device may have been removed meanwhile.
        group, _ = await self._ask()
        invitation = Invitation.make(group.keys, self._url, self._now() + hours * 3600)
        sealed = invitation.seal(Welcome(group.keys, group.members))
        await self._bridge.invite(Invite(group.keys.id, invitation.token_hash, sealed, float(invitation.expires_at)))
        return invitation

    async def join(self, invitation: Invitation) -> Membership:
        """Take an invitation up. Raises Conflict `sync_already` where this device is in a group.

        Raises Problem `sync_invitation_…` where the bridge lets nobody in with it, and Broken `sync_damaged` where its
        keys are not those that the invitation speaks of; then nothing is left of it here.
        """
        current = memberships.load(self._log)
        if current is not None and current.keys.id != invitation.group:
            raise _already(current)
        if current is not None:
            await self._require_unknown(current)
        holder = current or await self._begun(invitation.to_text())
        origin, box_key = self._log.device, holder.box_key
        join = Join(invitation.group, invitation.token, origin, box_key, invitation.card(origin, box_key))
        try:
            welcome = invitation.open((await self._bridge.join(join)).sealed)
        except Problem as problem:
            if isinstance(holder, Beginning) and (isinstance(problem, Broken) or problem.code.startswith(_REFUSED)):
                await self._give_up(holder)
            if problem.code == f"{_REFUSED}unknown" and not invitation.is_for(self._url):
                problem.hint += " It was made at another address than this device's [bridge] url."
            raise
        keys = welcome.keys if current is None else current.keys.joined_with(welcome.keys)
        joined = Membership(keys, self._url, holder.box, {**welcome.members, origin: box_key})
        memberships.save(self._log, joined)
        return joined

    async def listing(self) -> Listing:
        """Who is in the group, as the bridge says, and whose keys are shown to be their own."""
        group, answer = await self._ask()
        devices = tuple(self._device(group, member) for member in answer.members)
        return Listing(devices, answer.have.get(self._log.device, 0))

    async def remove(self, origin: str) -> list[str]:
        """Let a device neither call nor read what the group says from now on.

        Returns those that are put out with it, since their keys are not shown to be their own.
        Raises NotFound `sync_no_member`, Conflict `sync_remove_self`.
        """
        if origin == self._log.device:
            raise Conflict(
                "That is this device.",
                code="sync_remove_self",
                hint="To take it out of the group: 'edge-agent sync leave'.",
            )
        for attempt in range(_TRIES):
            group, answer = await self._ask()
            if origin not in {member.origin for member in answer.members}:
                raise NotFound(
                    "No device of that id is in the group.",
                    code="sync_no_member",
                    hint="'edge-agent sync devices' lists those that are.",
                )
            rotated, boxes = group.without(origin, answer.members)
            put_out = [m.origin for m in answer.members if m.origin not in {origin, self._log.device, *boxes}]
            try:
                # With a box for this device, too: where it ends before it has kept the new keys, they come back.
                await self._bridge.remove(Remove(group.keys.id, origin, rotated.keys.epoch, boxes, tuple(put_out)))
            except Conflict as conflict:
                if conflict.code not in _CHANGED or attempt + 1 == _TRIES:
                    raise
                continue  # who is there, and newer keys, are with the next answer
            memberships.save(self._log, rotated)
            return put_out
        raise AssertionError("the last attempt returns or raises")

    async def leave(self) -> None:
        """Be in no group any longer. Raises Conflict `sync_no_group`.

        Raises Unavailable where the bridge cannot be told: nothing is changed then, and `leave_here` is left.
        """
        group, begun = memberships.load(self._log), memberships.load_beginning(self._log)
        if group is not None:
            try:
                await self._bridge.leave(Leave(group.keys.id))
            except Problem as problem:
                if problem.code != NOT_IN:
                    raise
        await self._give_up(begun)
        leave_here(self._log, was_in_one=group is not None or begun is not None)

    async def _begun(self, invitation: str) -> Beginning:
        """What is on record of joining with this invitation, from now on if not before."""
        begun = memberships.load_beginning(self._log)
        if begun is None or begun.invitation != invitation or begun.url != self._url:
            await self._give_up(begun)
            begun = Beginning(self._url, invitation=invitation)
            memberships.save(self._log, begun)
        return begun

    async def _found(self, keys: GroupKeys, box_key: bytes) -> None:
        origin = self._log.device
        await self._bridge.found(Found(keys.id, origin, box_key, keys.card(origin, box_key)))

    async def _ask(self) -> tuple[Membership, Exchanged]:
        """The group as it is now, with the newest keys that were sealed to this device."""
        group = memberships.load(self._log)
        if group is None:
            raise no_group()
        # Its members only: what was said is the daemon's to exchange.
        answer = await self._bridge.exchange(Exchange(group.keys.id, self._log.device, {}, max_bytes=0))
        if answer.box is not None:
            group = memberships.take_box(self._log, answer.box.epoch, answer.box.sealed) or group
        return self._here(group), answer

    def _here(self, group: Membership) -> Membership:
        """The group, from now on at this address, where the bridge has moved."""
        if group.url != self._url:
            group = replace(group, url=self._url)
            memberships.save(self._log, group)
        return group

    async def _require_unknown(self, group: Membership) -> None:
        """Raise Conflict where the bridge knows this device as a member of its group."""
        try:
            await self._bridge.exchange(Exchange(group.keys.id, self._log.device, {}, max_bytes=0))
        except Problem as problem:
            if problem.code != NOT_IN:
                raise
        else:
            raise _already(group)

    async def _give_up(self, begun: Beginning | None) -> None:
        """Forget what was begun; the bridge, which may not know of it, is told as far as it can be."""
        if begun is None:
            return
        group = begun.keys.id if begun.keys is not None else Invitation.from_text(begun.invitation or "").group
        # It may never have heard of this device. If it cannot be reached, its list has one device too many.
        with suppress(Problem):
            await self._bridge.leave(Leave(group))
        memberships.clear(self._log)

    def _device(self, group: Membership, member: Member) -> Device:
        return Device(
            member.origin,
            member.origin == self._log.device,
            group.is_genuine(member),
            iso(int(member.joined_at * 1000)),
            iso(int(member.last_seen * 1000)),
        )


def leave_here(log: Log, *, was_in_one: bool = False) -> None:
    """Keep nothing of a group, whatever the bridge knows. Raises Conflict `sync_no_group` where there was nothing.

    Raises Unavailable `traces_left` as `memberships.clear`; the same again removes them.
    """
    was_in_one = was_in_one or (memberships.load(log) or memberships.load_beginning(log)) is not None
    memberships.clear(log)
    if not was_in_one:
        raise no_group()


def no_group() -> Conflict:
    """The device is in none."""
    return Conflict(
        "This device is in no group.",
        code="sync_no_group",
        hint="Found one with 'edge-agent sync start', or join with 'edge-agent sync join INVITATION'.",
    )


def _already(group: Membership) -> Conflict:
    return Conflict(
        f"This device is in the group {group.keys.id} already.",
        code="sync_already",
        hint="To be in another, leave it first: 'edge-agent sync leave'.",
    )
