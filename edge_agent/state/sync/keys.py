"""The keys that a group of one person's devices shares, and that no bridge ever sees.

epoch key (32 random bytes; a new epoch whenever a device is removed)
   ├── segment   seals stretches of events
   ├── object    seals the devices' share keys, each a key object at the bridge
   ├── card      authenticates which box key belongs to which device
   └── chain     authenticates a later epoch to those who have this one
subject key (one for the group's life)  names sessions to the bridge without telling which

Every purpose has a key of its own, derived by HKDF (RFC 5869); AES-256-GCM seals, HMAC-SHA256 authenticates.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import NoReturn

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from cloud_bridge.protocol.problems import Unavailable
from edge_agent.state import aead
from edge_agent.state.event import canonical
from edge_agent.state.sync.segments import damaged

KEY_BYTES = 32
_ID_BYTES = 16
_EPOCH_BYTES = 4


def derive(key: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose, from a uniformly random one. HKDF-Expand, RFC 5869."""
    return HKDFExpand(SHA256(), KEY_BYTES, b"edge-agent/sync/1/" + purpose.encode()).derive(key)


class GroupKeys:
    """All that a group's devices know together. Immutable; no key is ever in its repr, and it is not pickled."""

    __slots__ = ("_epochs", "_subject_key", "epoch", "id")

    id: str
    epoch: int
    """The newest: what is sealed from now on is sealed under it."""

    def __init__(self, group_id: str, subject_key: bytes, epochs: Mapping[int, bytes]) -> None:
        """Use `new` or `from_bytes`."""
        self.id = group_id
        self.epoch = max(epochs)
        self._subject_key = subject_key
        self._epochs = dict(epochs)

    @classmethod
    def new(cls) -> GroupKeys:
        """The keys of a new group, at epoch 0."""
        return cls(_text(secrets.token_bytes(_ID_BYTES)), secrets.token_bytes(KEY_BYTES), {0: _fresh()})

    def __repr__(self) -> str:
        """Without any key."""
        return f"GroupKeys({self.id}, epoch {self.epoch})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a group's keys are not pickled")

    def seal_segment(self, header: bytes, payload: bytes) -> tuple[int, bytes]:
        """The newest epoch and `payload` sealed under it; only with the same `header` it opens."""
        return self.epoch, _seal(self._key(self.epoch, "segment"), payload, header)

    def open_segment(self, epoch: int, header: bytes, sealed: bytes) -> bytes:
        """The inverse of `seal_segment`.

        Raises Broken `sync_damaged` where anything was altered, and Unavailable `sync_key_missing` where this device
        has not been given that epoch (yet).
        """
        return _open(self._key(epoch, "segment"), sealed, header)

    def seal_key(self, name: str, subject: str, key: bytes) -> tuple[int, bytes]:
        """The newest epoch and a share key sealed under it, for the key object of that name and subject."""
        return self.epoch, _seal(self._key(self.epoch, "object"), key, _joined(name, subject))

    def open_key(self, name: str, subject: str, epoch: int, sealed: bytes) -> bytes:
        """The inverse of `seal_key`. Raises as `open_segment`."""
        return _open(self._key(epoch, "object"), sealed, _joined(name, subject))

    def subject(self, session_id: str, forget_epoch: str) -> str:
        """What the bridge knows a session by, between two of its forgettings: 43 characters that tell nothing."""
        return _text(hmac.digest(self._subject_key, _joined(session_id, forget_epoch), "sha256"))

    def card(self, origin: str, box_key: bytes) -> bytes:
        """What shows the other devices that `box_key` is the device's own, and none of the bridge's making."""
        return make_card(self.card_key(), self.epoch, self.id, origin, box_key)

    def check_card(self, card: bytes, origin: str, box_key: bytes) -> None:
        """Raise Broken `sync_damaged` but for the `card` of the newest epoch: a device removed knows the older ones."""
        if not hmac.compare_digest(card, self.card(origin, box_key)):
            raise damaged()

    def card_key(self) -> bytes:
        """What cards of the newest epoch are made with. An invitation carries it: it goes to nobody else."""
        return self._key(self.epoch, "card")

    def chain_tag(self, epoch: int, text: bytes) -> bytes:
        """Shows those who have `epoch` that somebody who has it, too, wrote `text`. Raises as `open_segment`."""
        return hmac.digest(self._key(epoch, "chain"), text, "sha256")

    @property
    def epochs(self) -> tuple[int, ...]:
        """Those known, in order."""
        return tuple(sorted(self._epochs))

    def with_epoch(self, epoch: int, key: bytes) -> GroupKeys:
        """These keys and one more. Raises Broken `sync_damaged` where that epoch has another key already."""
        known = self._epochs.get(epoch, key)
        if len(key) != KEY_BYTES or epoch < 0 or not hmac.compare_digest(known, key):
            raise damaged()
        return GroupKeys(self.id, self._subject_key, {**self._epochs, epoch: key})

    def rotated(self) -> GroupKeys:
        """These keys and those of a new epoch, which nobody else knows."""
        return self.with_epoch(self.epoch + 1, _fresh())

    def joined_with(self, other: GroupKeys) -> GroupKeys:
        """These keys and the other's. Raises Broken `sync_damaged` where they contradict each other."""
        if self.id != other.id or not hmac.compare_digest(self._subject_key, other._subject_key):
            raise damaged()
        joined = self
        for epoch, key in other._epochs.items():
            joined = joined.with_epoch(epoch, key)
        return joined

    def to_bytes(self) -> bytes:
        """All of it in the clear, to be sealed by the caller."""
        epochs = {str(epoch): _text(self._epochs[epoch]) for epoch in self.epochs}
        return canonical({"id": self.id, "subject_key": _text(self._subject_key), "epochs": epochs}).encode()

    @classmethod
    def from_bytes(cls, document: bytes) -> GroupKeys:
        """The inverse of `to_bytes`. Raises Broken `sync_damaged`."""
        try:
            found = json.loads(document)
            epochs = {int(epoch): _key_of(key) for epoch, key in found["epochs"].items()}
            if not epochs or min(epochs) < 0 or not isinstance(found["id"], str):
                raise damaged()
            return cls(found["id"], _key_of(found["subject_key"]), epochs)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged() from error

    def _key(self, epoch: int, purpose: str) -> bytes:
        key = self._epochs.get(epoch)
        if key is None:
            raise Unavailable(
                "Another device sealed this with a key that this device has not been given yet.",
                code="sync_key_missing",
                hint="It comes with one of the next exchanges; 'edge-agent sync status' says whether they succeed.",
            )
        return derive(key, purpose)


def make_card(card_key: bytes, epoch: int, group_id: str, origin: str, box_key: bytes) -> bytes:
    """The card of a device, from the epoch's card key alone: a device about to join has no more."""
    text = _joined(group_id, origin, _text(box_key))
    return epoch.to_bytes(_EPOCH_BYTES, "big") + hmac.digest(card_key, text, "sha256")


def _fresh() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def _seal(key: bytes, payload: bytes, bound_to: bytes) -> bytes:
    return aead.seal(AESGCM(key), payload, bound_to)


def _open(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    try:
        return aead.unseal(AESGCM(key), sealed, bound_to)
    except ValueError as error:
        raise damaged() from error


def _joined(*parts: str) -> bytes:
    return "\x1f".join(parts).encode("utf-8", "surrogatepass")


def _text(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def _key_of(text: str) -> bytes:
    key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if len(key) != KEY_BYTES:
        raise damaged()
    return key
