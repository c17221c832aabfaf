"""An invitation: one string that a person carries from a device of the group to a new one. It is a secret.

    1 version | 16 group | 32 X25519 private key | 4 epoch | 32 card key | 4 expiry | 4 bridge | 4 checksum     bytes

The bridge gets the hash of a token derived from the private key, and the group's keys sealed to its public half, which
it never sees. With the card key the new device shows that its own box key is no bridge's, and sees that the keys it
gets are those that the invitation speaks of.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
from dataclasses import dataclass, field
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.sync import hash_token
from edge_agent.state.sync.box import open_with, seal_to
from edge_agent.state.sync.keys import GroupKeys, derive, make_card
from edge_agent.state.sync.segments import damaged
from edge_agent.state.sync.welcome import Welcome

PREFIX = "edge-sync-"
_VERSION = 1
_FORM = struct.Struct(">B16s32sI32sI4s")
_SUM_BYTES = 4
_MAX_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the string says. `expires_at`: seconds since 1970, to the minute; `bridge`: a hash of the inviter's url."""

    group: str
    epoch: int
    expires_at: int
    bridge: bytes
    _private: bytes = field(repr=False)
    _card_key: bytes = field(repr=False)

    @classmethod
    def make(cls, keys: GroupKeys, url: str, expires_at: float) -> Invitation:
        """A new one, into the group of `keys`, at the bridge that the inviter reaches at `url`."""
        minute = int(expires_at // 60)
        private = secrets.token_bytes(32)
        return cls(keys.id, keys.epoch, minute * 60, _hash_of(url), private, keys.card_key())

    def __reduce__(self) -> NoReturn:
        raise TypeError("an invitation is not pickled")

    def to_text(self) -> str:
        """The string, in characters that survive mail and a shell."""
        group = base64.urlsafe_b64decode(self.group + "==")
        parts = (_VERSION, group, self._private, self.epoch, self._card_key, self.expires_at // 60, self.bridge)
        packed = _FORM.pack(*parts)
        return PREFIX + _encoded(packed + _sum_of(packed))

    @classmethod
    def from_text(cls, text: str) -> Invitation:
        """The inverse of `to_text`; space and line breaks in it do not matter.

        Raises InvalidRequest `bad_invitation` where it is garbled, cut, or a newer version's.
        """
        packed = _unpacked("".join(text[:_MAX_TEXT].split()))
        _, group, private, epoch, card_key, minute, bridge = _FORM.unpack(packed)
        return cls(_encoded(group), epoch, minute * 60, bridge, private, card_key)

    def is_for(self, url: str) -> bool:
        """Whether the inviter reached the bridge at `url`, too. One bridge may have several."""
        return self.bridge == _hash_of(url)

    @property
    def token(self) -> str:
        """What the bridge lets in."""
        return _encoded(derive(self._private, "invitation"))

    @property
    def token_hash(self) -> str:
        """What the bridge knows it by."""
        return hash_token(self.token)

    def seal(self, welcome: Welcome) -> bytes:
        """The group's keys for whoever has this invitation."""
        public = self._key().public_key().public_bytes_raw()
        return seal_to(public, welcome.to_bytes(), self._context())

    def open(self, sealed: bytes) -> Welcome:
        """The inverse of `seal`. Raises Broken `sync_box_damaged` or `sync_damaged` where it is not what was meant."""
        welcome = Welcome.from_bytes(open_with(self._key(), sealed, self._context()))
        keys = welcome.keys
        is_promised = keys.id == self.group and keys.epoch == self.epoch
        if not is_promised or not hmac.compare_digest(keys.card_key(), self._card_key):
            raise damaged("This device has joined nothing. Ask for a new invitation, and look after the bridge.")
        return welcome

    def card(self, origin: str, box_key: bytes) -> bytes:
        """The card of a device that joins with this invitation."""
        return make_card(self._card_key, self.epoch, self.group, origin, box_key)

    def _key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._private)

    def _context(self) -> bytes:
        return f"edge-agent/sync/1/invitation\x1f{self.group}\x1f{self.epoch}".encode()


def _unpacked(text: str) -> bytes:
    body = text.removeprefix(PREFIX)
    try:
        decoded = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _garbled() from error
    packed, checksum = decoded[:-_SUM_BYTES], decoded[-_SUM_BYTES:]
    # Written anew, too: the last letter has bits that decoding does not look at.
    if body == text or body != _encoded(decoded) or not packed or checksum != _sum_of(packed):
        raise _garbled()
    if packed[0] != _VERSION or len(packed) != _FORM.size:
        raise InvalidRequest(
            "This invitation is of a newer version.", code="bad_invitation", hint="Upgrade edge-agent on this device."
        )
    return packed


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _sum_of(packed: bytes) -> bytes:
    return hashlib.sha256(b"edge-agent/sync/1/checksum" + packed).digest()[:_SUM_BYTES]


def _hash_of(url: str) -> bytes:
    return hashlib.sha256(url.rstrip("/").encode()).digest()[:4]


def _garbled() -> InvalidRequest:
    return InvalidRequest(
        "That is no invitation, or a part of it is missing or was changed.",
        code="bad_invitation",
        hint=f"Copy the whole line, which begins with {PREFIX}; 'edge-agent sync invite' makes a new one.",
        param="invitation",
    )
