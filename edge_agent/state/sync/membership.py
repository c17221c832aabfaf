"""What this device keeps of its group: one sealed row, with the group's keys and the device's own box key."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloud_bridge.protocol.problems import Broken, Problem
from edge_agent.state.event import canonical
from edge_agent.state.keys import KeyRing
from edge_agent.state.log import Log, Reader, Transaction
from edge_agent.state.sync.box import open_with, seal_to
from edge_agent.state.sync.keys import GroupKeys
from edge_agent.state.sync.welcome import Welcome, decoded, encoded

_BOUND = b"sync_group"


class Listed(Protocol):
    """A member as the bridge lists it: nothing of it is to be believed without its card."""

    @property
    def origin(self) -> str:
        """The device's id in its events."""

    @property
    def box_key(self) -> bytes:
        """What is said to be its X25519 public key."""

    @property
    def card(self) -> bytes:
        """What shows that it is."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A group that this device belongs to. `url`: the bridge's; `members`: box keys known to be genuine, by origin."""

    keys: GroupKeys
    url: str
    box: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)
    members: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a membership is not pickled")

    @property
    def box_key(self) -> bytes:
        """What others seal to, for this device."""
        return self.box.public_key().public_bytes_raw()

    def is_genuine(self, member: Listed) -> bool:
        """Whether the box key is the member's own, as far as the group's keys can show."""
        if self.members.get(member.origin) == member.box_key:
            return True
        try:
            self.keys.check_card(member.card, member.origin, member.box_key)
        except Problem:
            return False
        return True

    def without(self, origin: str, listed: Iterable[Listed]) -> tuple[Membership, dict[str, bytes]]:
        """The group at a new epoch, which `origin` is not told of; and what tells the others: a box for each.

        Only those listed with a genuine box key get one, this device among them.
        """
        remaining = {m.origin: m.box_key for m in listed if m.origin != origin and self.is_genuine(m)}
        keys = self.keys.rotated()
        welcome = Welcome(keys, remaining).to_bytes()
        boxes = {
            member: seal_to(box_key, welcome, _context(keys.id, keys.epoch, member))
            for member, box_key in remaining.items()
        }
        return replace(self, keys=keys, members=remaining), boxes

    def opened(self, origin: str, epoch: int, sealed: bytes) -> Membership:
        """With what a box for this device (`origin`) tells of; the same where it knows that epoch already.

        Raises Broken `sync_box_damaged` or `sync_damaged` where it was altered, or nobody wrote it who has the newest
        epoch that is known here: `Welcome.from_bytes` says what that is worth against a device that was removed.
        """
        if epoch <= self.keys.epoch:
            return self
        document = open_with(self.box, sealed, _context(self.keys.id, epoch, origin))
        welcome = Welcome.from_bytes(document, self.keys)
        return replace(self, keys=welcome.keys, members=dict(welcome.members))


@dataclass(frozen=True, slots=True)
class Beginning:
    """A membership that the bridge may or may not know of yet: the same command again ends it.

    `keys`: of a group to be founded; `invitation`: the text of the one to join with.
    """

    url: str
    keys: GroupKeys | None = None
    invitation: str | None = field(default=None, repr=False)
    box: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a membership is not pickled")

    @property
    def box_key(self) -> bytes:
        """What others will seal to, for this device."""
        return self.box.public_key().public_bytes_raw()


def load(log: Log) -> Membership | None:
    """The group that this device belongs to, or None. Raises Broken `state_damaged`."""
    with log.reading() as tx:
        found = _read(tx)
    return found if isinstance(found, Membership) else None


def load_beginning(log: Log) -> Beginning | None:
    """What `start` or `join` has begun and not ended, or None. Raises Broken `state_damaged`."""
    with log.reading() as tx:
        found = _read(tx)
    return found if isinstance(found, Beginning) else None


def save(log: Log, membership: Membership | Beginning) -> None:
    """Keep it, sealed, in place of what was there."""
    with log.transaction() as tx:
        _write(tx, membership)


def take_box(log: Log, epoch: int, sealed: bytes) -> Membership | None:
    """Go on with the keys that a box for this device tells of, in one step; None where it is in no group.

    Raises as `Membership.opened`; nothing is changed then.
    """
    with log.transaction() as tx:
        found = _read(tx)
        if not isinstance(found, Membership):
            return None
        opened = found.opened(log.device, epoch, sealed)
        if opened is not found:
            _write(tx, opened)
        return opened


def clear(log: Log) -> None:
    """Keep nothing of any group any longer. Raises Unavailable `traces_left`, as forgetting a session does."""
    with log.transaction() as tx:
        tx.db.execute("DELETE FROM sync_group")
        tx.db.execute("DELETE FROM sync_state")
    log.erase_traces()


def rekey(db: sqlite3.Connection, old: KeyRing, new: KeyRing) -> None:
    """Seal the row by another master key."""
    for (sealed,) in db.execute("SELECT CAST(sealed AS BLOB) FROM sync_group").fetchall():
        document = old.own.open(sealed, _BOUND)
        db.execute("UPDATE sync_group SET sealed = ?", (new.own.seal(document, _BOUND),))


def _read(tx: Reader) -> Membership | Beginning | None:
    found = tx.db.execute("SELECT CAST(sealed AS BLOB) FROM sync_group").fetchone()
    if found is None:
        return None
    document = json.loads(tx.log.keys.own.open(found[0], _BOUND))
    try:
        return _from_json(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Broken(
            "What is kept of this device's group cannot be read.",
            code="state_damaged",
            hint="A newer version may have written it: upgrade edge-agent, or restore state.db from a backup.",
        ) from error


def _write(tx: Transaction, membership: Membership | Beginning) -> None:
    document = canonical(_to_json(membership)).encode()
    tx.db.execute("INSERT OR REPLACE INTO sync_group VALUES (1, ?)", (tx.log.keys.own.seal(document, _BOUND),))


def _to_json(membership: Membership | Beginning) -> dict[str, Any]:
    common = {"url": membership.url, "box": encoded(membership.box.private_bytes_raw())}
    if isinstance(membership, Beginning):
        keys = None if membership.keys is None else membership.keys.to_bytes().decode()
        return {**common, "is": "beginning", "keys": keys, "invitation": membership.invitation}
    members = {origin: encoded(key) for origin, key in membership.members.items()}
    return {**common, "is": "member", "keys": membership.keys.to_bytes().decode(), "members": members}


def _from_json(found: dict[str, Any]) -> Membership | Beginning:
    box = X25519PrivateKey.from_private_bytes(decoded(found["box"]))
    keys = None if found["keys"] is None else GroupKeys.from_bytes(found["keys"].encode())
    if found["is"] == "beginning":
        return Beginning(found["url"], keys, found["invitation"], box)
    if keys is None or found["is"] != "member":
        raise ValueError("no membership")
    return Membership(keys, found["url"], box, {origin: decoded(key) for origin, key in found["members"].items()})


def _context(group: str, epoch: int, origin: str) -> bytes:
    return f"edge-agent/sync/1/removal\x1f{group}\x1f{epoch}\x1f{origin}".encode()
