"""How a person's devices are reconciled through the bridge: requests to POST /bridge/v1/sync, and their answers.

    Exchange ─▶ Exchanged        the events that the other side lacks, in sealed segments
    Join     ─▶ Joined           into a group, by a member's invitation
    Found, Invite, Remove, Leave ─▶ the members

All that is `sealed` is sealed by the devices for the devices: the bridge stores and passes on what it cannot read.
`sync_json` writes and reads them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cloud_bridge.protocol.problems import InvalidRequest

PATH = "/bridge/v1/sync"
MAX_BODY_BYTES = 8 * 1024 * 1024
"""Of a request: a batch of segments and one of the largest, in base64."""
MAX_SEALED_BYTES = 3_000_000
"""Of one segment, so that one always fits into a request."""
MAX_NOTE_BYTES = 65_536
"""Of what is sealed beside segments: keys, cards, boxes, invitations."""
MAX_SEGMENTS = 4096
MAX_KEYS = 4096
MAX_GONE = 4096
MAX_MEMBERS = 32
MAX_ORIGINS = 1024
"""Devices that ever were in a group."""
MAX_NUMBER = 2**63 - 1
BOX_KEY_BYTES = 32

ORIGIN = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
"""A device's ULID."""
NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""Of groups, tokens and key objects."""
SUBJECT = re.compile(r"[A-Za-z0-9_-]{43}")
TOKEN_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed stretch of one origin's events: those numbered from `after` + 1 up to `through`.

    `epoch`: of the group key that sealed it. `keys`: the names of the key objects that its bodies need.
    """

    origin: str
    after: int
    through: int
    epoch: int
    keys: tuple[str, ...]
    sealed: bytes


@dataclass(frozen=True, slots=True)
class KeyObject:
    """A share key, sealed under the group key of `epoch`. `subject`: whose bodies it opens, as 43 characters."""

    name: str
    subject: str
    epoch: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """A device of a group. `box_key`: its X25519 public key; `card`: that key sealed under the group key, b"" where
    there is none yet. Times are seconds since 1970, by the bridge's clock.
    """

    origin: str
    box_key: bytes
    card: bytes
    joined_at: float
    last_seen: float


@dataclass(frozen=True, slots=True)
class Box:
    """The group's keys up to `epoch`, sealed to the member that asks."""

    epoch: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the caller brings, and what it has. `origin`: the caller's own.

    `have`: up to which number it has each origin's events, without gaps. `gone`: subjects whose key objects are to be
    deleted, for ever. `max_bytes`: of sealed bytes in the answer; at least one segment comes where there is any, but
    for 0, which asks for none.
    """

    group: str
    origin: str
    have: Mapping[str, int]
    segments: tuple[Segment, ...] = ()
    keys: tuple[KeyObject, ...] = ()
    gone: tuple[str, ...] = ()
    max_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What the bridge has after taking what came, and the next segments that the caller lacks, in order of arrival.

    `keys`: those that the segments name and that still exist. `more`: the caller lacks more than came. `box`: what the
    newest removal told the caller of, whether it has heard of it before or not.
    """

    have: Mapping[str, int]
    segments: tuple[Segment, ...]
    keys: tuple[KeyObject, ...]
    members: tuple[Member, ...]
    more: bool
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The caller becomes the first member of a new group."""

    group: str
    origin: str
    box_key: bytes
    card: bytes


@dataclass(frozen=True, slots=True)
class Invite:
    """One more device may join, once, before `expires_at` (seconds since 1970). `token_hash`: of `hash_token`."""

    group: str
    token_hash: str
    sealed: bytes
    expires_at: float


@dataclass(frozen=True, slots=True)
class Join:
    """The caller takes up an invitation; sent again it is answered again. Without a card it keeps the one it has."""

    group: str
    token: str
    origin: str
    box_key: bytes
    card: bytes = b""


@dataclass(frozen=True, slots=True)
class Joined:
    """What the inviter sealed, and who is in the group."""

    sealed: bytes
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """`member` (an origin) may not call any more. `boxes`: the group keys up to the new `epoch`, by origin.

    `put_out`: origins that get none, and may not call any more either. Every member is in one of these, but for the
    caller: so nobody is put out whom the caller does not know of.
    """

    group: str
    member: str
    epoch: int
    boxes: Mapping[str, bytes]
    put_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leave:
    """The caller leaves; with the last member goes all that the bridge keeps of the group."""

    group: str


Request = Exchange | Found | Invite | Join | Remove | Leave


def hash_token(token: str) -> str:
    """What an inviter gives of an invitation's token. Raises InvalidRequest but for ASCII letters, digits, - and _."""
    if not NAME.fullmatch(token):
        raise malformed("token")
    return hashlib.sha256(token.encode("ascii")).hexdigest()


def malformed(path: str | None) -> InvalidRequest:
    """What is at `path`, or the whole, is not as the encoders make it."""
    where = f" at '{path}'" if path else ""
    return InvalidRequest(
        f"The message between device and bridge is malformed{where}.",
        code="malformed_sync",
        hint="Upgrade the older of device and bridge.",
        param=path,
    )
