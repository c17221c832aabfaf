"""The key that a device signs with. It never leaves the device."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cloud_bridge.devices import encode_key
from cloud_bridge.durable_files import sync_folder
from cloud_bridge.protocol.problems import Broken


class DeviceKey:
    """An Ed25519 private key. `public_id` is its public key, 43 characters: what `devices enroll` wants."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_id = encode_key(private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        """Without the private part."""
        return f"DeviceKey({self.public_id})"

    def sign(self, base: bytes) -> bytes:
        """The signature of a signature base."""
        return self._private.sign(base)

    @classmethod
    def load_or_create(cls, path: Path) -> DeviceKey:
        """The key in the file, mode 0600; a new one where there is none.

        Raises Broken code "device_key_unreadable".
        """
        try:
            if not path.exists():
                _create(path)
            path.chmod(0o600)
            private = load_pem_private_key(path.read_bytes(), None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unreadable(path) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise _unreadable(path)
        return cls(private)


def _create(path: Path) -> None:
    """Write a new key; where another process was faster, its key stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            # A rename would replace the other's key.
            path.hardlink_to(draft)
        # What it signed outlives a power cut, too.
        sync_folder(path.parent)
    finally:
        draft.unlink()


def _unreadable(path: Path) -> Broken:
    return Broken(
        f"{path} holds no Ed25519 key that can be read.",
        code="device_key_unreadable",
        hint="Restore it from a backup, or move it away and enroll this device at the bridge anew.",
    )
