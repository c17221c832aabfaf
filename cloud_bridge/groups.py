"""Who shares with whom: groups of one person's devices, invitations into them, and who was removed.

A group is known here by a random name, its members by their origins and box keys. A caller, which is an enrolled
device, is bound to one origin in a group, and an origin to one caller. All of it may be lost and founded anew: what
keeps the devices' secrets is sealed by them, and they believe no list of members that the bridge tells.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from sqlite_utils import Database

from cloud_bridge.database import BridgeDatabase, Row
from cloud_bridge.protocol.problems import Conflict, InvalidRequest, NotAllowed, NotFound
from cloud_bridge.protocol.sync import (
    MAX_MEMBERS,
    Box,
    Exchange,
    Found,
    Invite,
    Join,
    Joined,
    Leave,
    Member,
    Remove,
    hash_token,
)
from cloud_bridge.protocol.sync_json import encode_request

MAX_GROUPS = 16
"""That one device can be in."""
MAX_OPEN = 16
"""Invitations of a group that nobody has used yet."""
MAX_INVITATION_S = 7 * 24 * 3600.0
SEEN_EVERY_S = 60.0
"""How exactly `last_seen` is kept: not every exchange is a write."""

_TABLES = (
    "sync_groups",
    "sync_members",
    "sync_invitations",
    "sync_origins",
    "sync_segments",
    "sync_keys",
    "sync_gone",
)


class Groups:
    """The groups of one bridge. Blocking; safe to use from many threads. `caller`: an enrolled device's name.

    All but `found`, `join` and `leave` raise NotAllowed "sync_not_member" where the caller is in no such group.
    """

    def __init__(self, database: BridgeDatabase, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def found(self, caller: str, wanted: Found) -> tuple[Member, ...]:
        """Begin a group; a repetition by its member is answered alike. Raises Conflict code "sync_group_taken"."""
        with self._database.transaction() as db:
            if _one(db, "SELECT 1 FROM sync_groups WHERE name = ?", wanted.group):
                member = _member_row(db, caller, wanted.group)
                if member is None or member["origin"] != wanted.origin:
                    raise _taken()
            else:
                db.execute("INSERT INTO sync_groups VALUES (?, 0, '', 0)", (wanted.group,))
            self._admit(db, caller, wanted)
            return members(db, wanted.group)

    def invite(self, caller: str, wanted: Invite) -> tuple[Member, ...]:
        """Let one more device join, for `MAX_INVITATION_S` at most. Raises InvalidRequest and Conflict."""
        now = self._now()
        if wanted.expires_at <= now:
            raise InvalidRequest(
                "This invitation is over before it begins.",
                code="sync_invitation_expired",
                hint="Set the device's clock, or let the invitation hold longer.",
                param="expires_at",
            )
        with self._database.transaction() as db:
            check_member(db, caller, wanted.group)
            db.execute("DELETE FROM sync_invitations WHERE expires_at <= ?", (now - MAX_INVITATION_S,))
            still_open = _one(
                db,
                "SELECT count(*) AS n FROM sync_invitations"
                " WHERE grp = ? AND used_by = '' AND expires_at > ? AND token_hash != ?",
                *(wanted.group, now, wanted.token_hash),
            )
            if still_open is not None and still_open["n"] >= MAX_OPEN:
                raise Conflict(
                    f"{MAX_OPEN} invitations of this group are open.",
                    code="sync_too_many_invitations",
                    hint="Use one of them, or wait until they have expired.",
                )
            until = min(wanted.expires_at, now + MAX_INVITATION_S)
            db.execute(
                "INSERT OR IGNORE INTO sync_invitations VALUES (?, ?, ?, ?, '')",
                (wanted.group, wanted.token_hash, wanted.sealed, until),
            )
            return members(db, wanted.group)

    def join(self, caller: str, wanted: Join) -> Joined:
        """Take up an invitation, once; the device that did is answered again.

        Raises NotAllowed "sync_invitation_unknown", "sync_invitation_used" or "sync_invitation_expired"; Conflict
        "sync_group_full" or "sync_origin_taken".
        """
        token_hash = hash_token(wanted.token)
        with self._database.transaction() as db:
            found = _one(
                db, "SELECT * FROM sync_invitations WHERE grp = ? AND token_hash = ?", wanted.group, token_hash
            )
            if found is None:
                raise _refused("unknown", "There is no such invitation, or a device was removed since it was made.")
            if found["used_by"]:
                member = _member_row(db, caller, wanted.group)
                if found["used_by"] != caller or member is None or member["origin"] != wanted.origin:
                    raise _refused("used", "This invitation was used already.")
            elif found["expires_at"] <= self._now():
                raise _refused("expired", "This invitation has expired.")
            self._admit(db, caller, wanted)
            db.execute(
                "UPDATE sync_invitations SET used_by = ? WHERE grp = ? AND token_hash = ?",
                (caller, wanted.group, token_hash),
            )
            return Joined(bytes(found["sealed"]), members(db, wanted.group))

    def remove(self, caller: str, wanted: Remove) -> tuple[Member, ...]:
        """Put a member out, and with it those of `put_out`; boxes wait for the others until the next removal.

        Open invitations hold the old keys and are void. Raises InvalidRequest where it is the caller itself, NotFound
        where there is no such member, Conflict "sync_epoch_taken" where another removal was first, and
        "sync_members_changed" where somebody joined whom the caller does not know of.
        """
        rotation = hashlib.sha256(encode_request(wanted)).hexdigest()
        with self._database.transaction() as db:
            own = check_member(db, caller, wanted.group)["origin"]
            group = _one(db, "SELECT * FROM sync_groups WHERE name = ?", wanted.group)
            if group is None or group["rotation"] == rotation:
                return members(db, wanted.group)
            if wanted.member == own:
                raise InvalidRequest(
                    "A device does not remove itself.", code="sync_remove_self", hint="Leave the group instead."
                )
            if wanted.epoch <= group["epoch"]:
                raise Conflict(
                    "Another device was removed at the same time.",
                    code="sync_epoch_taken",
                    hint="Exchange once, and then remove it again if it is still there.",
                )
            present = {member.origin for member in members(db, wanted.group)}
            if wanted.member not in present:
                raise NotFound(
                    "That device is not in the group.", code="sync_no_member", hint="See who is: sync devices."
                )
            if present - {own, wanted.member, *wanted.boxes, *wanted.put_out}:
                raise Conflict(
                    "Another device has joined the group meanwhile.",
                    code="sync_members_changed",
                    hint="Look at who is there, and then remove the device again.",
                )
            _rotate(db, own, wanted)
            db.execute(
                "UPDATE sync_groups SET epoch = ?, rotation = ? WHERE name = ?",
                (wanted.epoch, rotation, wanted.group),
            )
            return members(db, wanted.group)

    def leave(self, caller: str, wanted: Leave) -> tuple[Member, ...]:
        """Put the caller out, if it is in; with the last member everything of the group is deleted."""
        with self._database.transaction() as db:
            if _member_row(db, caller, wanted.group) is None:
                return ()
            db.execute("DELETE FROM sync_members WHERE caller = ? AND grp = ?", (caller, wanted.group))
            # Else it could be used a second time, by the one that left.
            db.execute("DELETE FROM sync_invitations WHERE grp = ? AND used_by = ?", (wanted.group, caller))
            left = members(db, wanted.group)
            if not left:
                for table in _TABLES:
                    name = "name" if table == "sync_groups" else "grp"
                    db.execute(f"DELETE FROM {table} WHERE {name} = ?", (wanted.group,))  # noqa: S608 - ours, above
        if not left:
            self._database.erase_traces()
        return left

    def seen(self, db: Database, caller: str, exchange: Exchange) -> Box | None:
        """Within a transaction: the caller is there, as the member it says. Returns its box of the newest removal.

        It is kept although the caller has used it: where its home is put back from a backup, it needs it again.
        """
        row = check_member(db, caller, exchange.group)
        if row["origin"] != exchange.origin:
            raise NotAllowed(
                "In this group the device has another id.",
                code="sync_other_origin",
                hint="Its state was replaced: have a device of the group run 'edge-agent sync invite', and join again.",
            )
        now = self._now()
        if abs(now - row["last_seen"]) >= SEEN_EVERY_S:
            db.execute(
                "UPDATE sync_members SET last_seen = ? WHERE grp = ? AND origin = ?",
                (now, exchange.group, exchange.origin),
            )
        return None if row["box"] is None else Box(row["box_epoch"], bytes(row["box"]))

    def _admit(self, db: Database, caller: str, wanted: Found | Join) -> None:
        """Make the caller the member that it wants to be, or bring its keys up to date."""
        holder = _one(
            db,
            "SELECT caller, revoked_at FROM sync_members LEFT JOIN devices ON devices.name = caller"
            " WHERE grp = ? AND origin = ?",
            *(wanted.group, wanted.origin),
        )
        if holder is not None and holder["caller"] != caller and holder["revoked_at"] is None:
            raise Conflict(
                "Another enrolled device is in the group under this id.",
                code="sync_origin_taken",
                hint="Two devices run on copies of one home: give one of them a fresh EDGE_AGENT_HOME. If the device "
                "was enrolled anew, revoke its old key with `cloud-bridge devices revoke`.",
            )
        old = _member_row(db, caller, wanted.group)
        # A revoked key's successor takes its place, and a device whose state was replaced its own.
        db.execute(
            "DELETE FROM sync_members WHERE grp = ? AND (origin = ? OR caller = ?)",
            (wanted.group, wanted.origin, caller),
        )
        _check_room(db, caller, wanted.group)
        now = self._now()
        card, joined_at, box = wanted.card, now, (None, None)
        if old is not None and old["origin"] == wanted.origin:
            card, joined_at = card or old["card"], old["joined_at"]
            if old["box_key"] == wanted.box_key:  # else it could not open it
                box = (old["box_epoch"], old["box"])
        db.execute(
            "INSERT INTO sync_members VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (wanted.group, wanted.origin, caller, wanted.box_key, card, joined_at, now, *box),
        )


def members(db: Database, group: str) -> tuple[Member, ...]:
    """Who is in a group, by origin."""
    rows = db.query("SELECT * FROM sync_members WHERE grp = ? ORDER BY origin", (group,))
    return tuple(
        Member(row["origin"], bytes(row["box_key"]), bytes(row["card"]), row["joined_at"], row["last_seen"])
        for row in rows
    )


def check_member(db: Database, caller: str, group: str) -> Row:
    """The caller's row. Raises NotAllowed; whether there is such a group is not told."""
    row = _member_row(db, caller, group)
    if row is None:
        raise NotAllowed(
            "This device is not in the group, or not any more.",
            code="sync_not_member",
            hint="Have a device of the group run 'edge-agent sync invite', and join with what it prints.",
        )
    return row


def _member_row(db: Database, caller: str, group: str) -> Row | None:
    return _one(db, "SELECT * FROM sync_members WHERE caller = ? AND grp = ?", caller, group)


def _rotate(db: Database, own: str, wanted: Remove) -> None:
    """Members without a box go, but for the caller; the others get theirs."""
    for member in members(db, wanted.group):
        box = wanted.boxes.get(member.origin) if member.origin != wanted.member else None
        where = (wanted.group, member.origin)
        if box or member.origin == own:
            db.execute(
                "UPDATE sync_members SET box_epoch = ?, box = ? WHERE grp = ? AND origin = ?",
                (wanted.epoch if box else None, box, *where),
            )
        else:
            db.execute("DELETE FROM sync_members WHERE grp = ? AND origin = ?", where)
    db.execute("DELETE FROM sync_invitations WHERE grp = ?", (wanted.group,))


def _check_room(db: Database, caller: str, group: str) -> None:
    in_group = _one(db, "SELECT count(*) AS n FROM sync_members WHERE grp = ?", group)
    in_groups = _one(db, "SELECT count(*) AS n FROM sync_members WHERE caller = ?", caller)
    if in_group is not None and in_group["n"] >= MAX_MEMBERS:
        raise Conflict(
            f"The group has {MAX_MEMBERS} devices, and no room for more.",
            code="sync_group_full",
            hint="Remove one that is not used any more.",
        )
    if in_groups is not None and in_groups["n"] >= MAX_GROUPS:
        raise Conflict(
            f"This device is in {MAX_GROUPS} groups.", code="sync_too_many_groups", hint="Leave one of them first."
        )


def _one(db: Database, sql: str, *values: object) -> Row | None:
    return next(iter(db.query(sql, values)), None)


def _taken() -> Conflict:
    return Conflict(
        "There is a group of this name already, and this device is not in it.",
        code="sync_group_taken",
        hint="Have a device of the group run 'edge-agent sync invite', and join with what it prints.",
    )


def _refused(why: str, message: str) -> NotAllowed:
    return NotAllowed(
        message,
        code=f"sync_invitation_{why}",
        hint="Have a device of the group run 'edge-agent sync invite' again; an invitation is good for one device.",
    )
