"""Which devices may call: enrolled by their Ed25519 public keys, revoked at once."""

from __future__ import annotations

import base64
import binascii
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cloud_bridge.ages import GAP_S
from cloud_bridge.database import BridgeDatabase
from cloud_bridge.protocol.problems import Conflict, InvalidRequest, NotAllowed, NotAuthenticated, NotFound
from cloud_bridge.protocol.signatures import MAX_AGE_S, Signature

MAX_NAME = 64
MAX_NONCE = 128


@dataclass(frozen=True, slots=True)
class Device:
    """An enrolled device. Its public key is its id; times are seconds since 1970."""

    name: str
    public_key: str
    enrolled_at: float
    revoked_at: float | None

    def to_json(self) -> dict[str, Any]:
        """As a command prints it."""
        return {
            "name": self.name,
            "public_key": self.public_key,
            "enrolled_at": self.enrolled_at,
            "revoked_at": self.revoked_at,
        }


class DeviceRegistry:
    """The devices of one bridge. Blocking; read anew each time, so that a revocation holds at once."""

    def __init__(self, database: BridgeDatabase, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def enroll(self, name: str, public_key: str) -> Device:
        """Let a device call. Raises InvalidRequest for a bad name or key, Conflict where either is taken."""
        if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
            raise InvalidRequest(
                f"A device's name must have 1 to {MAX_NAME} printable characters.",
                code="bad_device_name",
                hint="Choose another name.",
            )
        key = encode_key(decode_key(public_key))
        device = Device(name, key, self._now(), None)
        try:
            with self._database.transaction() as db:
                db.execute("INSERT INTO devices VALUES (?, ?, ?, NULL)", (name, key, device.enrolled_at))
        except sqlite3.IntegrityError as error:
            raise Conflict(
                f"A device of the name {name!r}, or with this key, is known already.",
                code="device_exists",
                hint="See `cloud-bridge devices list`; a revoked device needs a new key and a new name.",
            ) from error
        return device

    def list(self) -> list[Device]:
        """All devices, revoked ones too, by name."""
        return [Device(**row) for row in self._database.rows("SELECT * FROM devices ORDER BY name")]

    def revoke(self, name: str) -> Device:
        """Never let the device call again. Raises NotFound. A second time changes nothing."""
        with self._database.transaction() as db:
            db.execute("UPDATE devices SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (self._now(), name))
        row = self._database.row("SELECT * FROM devices WHERE name = ?", name)
        if row is None:
            raise NotFound(
                f"There is no device {name!r}.", code="unknown_device", hint="See `cloud-bridge devices list`."
            )
        return Device(**row)

    def check_signature(self, key_id: str, signature: bytes, base: bytes) -> None:
        """Raise NotAuthenticated for an unknown key or a wrong signature, NotAllowed for a revoked device."""
        device = self._database.row("SELECT * FROM devices WHERE public_key = ?", key_id)
        if device is None:
            raise NotAuthenticated(
                "This device is not enrolled at this bridge.",
                code="unknown_device",
                hint="At the bridge, run `cloud-bridge devices enroll NAME --public-key K` with this device's key.",
            )
        try:
            Ed25519PublicKey.from_public_bytes(decode_key(key_id)).verify(signature, base)
        except InvalidSignature as error:
            raise NotAuthenticated(
                "The signature does not fit the request.",
                code="signature_wrong",
                hint="Something between the device and the bridge changes requests; look at proxies on the way.",
            ) from error
        if device["revoked_at"] is not None:
            raise NotAllowed(
                "This device was revoked.",
                code="device_revoked",
                hint="Ask whoever runs the bridge; a revoked device is enrolled anew with a new key.",
            )

    def accept_once(self, signature: Signature) -> str:
        """The name of the device that signed. Raises NotAuthenticated where the request was seen before."""
        if not 0 < len(signature.nonce) <= MAX_NONCE:
            raise NotAuthenticated("The signature's nonce is unusable.", code="signature_malformed")
        try:
            with self._database.transaction() as db:
                now = self._now()
                self._database.ages.settle(db, now)
                # Twice the age that is borne, since a signature may also be that much from the future; and as much as
                # the clock may have jumped unnoticed: set back, it would bear the signature again. Old by both times:
                # `created` is ahead of a clock that was set back and gets there again, and behind one that was set
                # ahead and will be set right, where `received` goes with the clock.
                old = now - 2 * MAX_AGE_S - 2 * GAP_S
                db.execute("DELETE FROM nonces WHERE created < ? AND received < ?", (old, old))
                db.execute(
                    "INSERT INTO nonces VALUES (?, ?, ?, ?)",
                    (signature.key_id, signature.nonce, signature.created, now),
                )
                (name,) = db.execute("SELECT name FROM devices WHERE public_key = ?", (signature.key_id,)).fetchone()
                return str(name)
        except sqlite3.IntegrityError as error:
            raise NotAuthenticated(
                "This very request was received before.",
                code="request_replayed",
                hint="Sign each request anew, with a new nonce.",
            ) from error


def decode_key(text: str) -> bytes:
    """The 32 bytes of a public key. Raises InvalidRequest."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != 32:
        raise InvalidRequest(
            "That is no Ed25519 public key.",
            code="bad_public_key",
            hint="Give the 43 characters that the device shows as its bridge key.",
            param="public_key",
        )
    return raw


def encode_key(raw: bytes) -> str:
    """A public key as 43 characters of URL-safe base64."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
