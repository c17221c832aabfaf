"""The master key in a file of its own, and the sessions' keys that it wraps.

    master key ──wraps──▶ session key (one row in the database) ──seals──▶ the bodies of that session's events

Destroying a session's wrapped key forgets the session: nothing else can open its bodies.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from cloud_bridge.protocol.problems import Broken

KEY_BYTES = 32
_NONCE_BYTES = 12


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDFExpand(SHA256(), KEY_BYTES, b"edge-agent/state/1/" + purpose).derive(key)


class SessionKey:
    """Seals and opens one session's bodies with AES-256-GCM, and fingerprints its texts."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(_derive(key, b"body"))
        self._mac_key = _derive(key, b"mac")

    def seal(self, body: bytes, bound_to: bytes) -> bytes:
        """`body` encrypted; only `open` with the same `bound_to` reads it."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, body, bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """The inverse of `seal`. Raises Broken where either argument was altered."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError) as error:
            raise Broken(
                "An entry of the state database was altered.",
                code="state_damaged",
                hint="Restore state.db from a backup; 'edge-agent ledger verify' and 'edge-agent doctor' say more.",
            ) from error

    def mac(self, text: bytes) -> bytes:
        """A keyed fingerprint: says whether texts are equal, and nothing to those without the key."""
        return hmac.digest(self._mac_key, text, "sha256")


class KeyRing:
    """The master key. Never in a repr, never in the database."""

    def __init__(self, master: bytes) -> None:
        self._wrap = AESGCM(_derive(master, b"wrap"))
        self._ledger_key = _derive(master, b"ledger")
        self.fingerprint = hashlib.sha256(_derive(master, b"fingerprint")).hexdigest()

    @classmethod
    def open(cls, home: Path) -> KeyRing:
        """Read `home/keys/master.key`, or make it in a home that has no state yet.

        Raises Broken where the file is damaged, or is missing beside a database that needs it.
        """
        path = home / "keys" / "master.key"
        database = home / "state.db"
        if not path.exists():
            if database.exists() and database.stat().st_size > 0:
                raise Broken(
                    f"{path} is missing, and {database} cannot be read without it.",
                    code="master_key_missing",
                    hint=f"Put the key back from a backup, or move {database} away to start afresh.",
                )
            _create(path)
        path.chmod(0o600)
        master = path.read_bytes()
        if len(master) != KEY_BYTES:
            raise Broken(
                f"{path} is damaged.",
                code="master_key_damaged",
                hint=f"Put the key back from a backup, or move it and {database} away to start afresh.",
            )
        return cls(master)

    def new_session_key(self, key_id: str, session_id: str) -> tuple[SessionKey, bytes]:
        """A fresh key and its wrapped form, which only this key id and session can unwrap."""
        key = secrets.token_bytes(KEY_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        return SessionKey(key), nonce + self._wrap.encrypt(nonce, key, _owner(key_id, session_id))

    def unwrap(self, wrapped: bytes, key_id: str, session_id: str) -> SessionKey:
        """The session key inside `wrapped`. Raises Broken where it was altered or belongs elsewhere."""
        try:
            return SessionKey(
                self._wrap.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _owner(key_id, session_id))
            )
        except (InvalidTag, ValueError) as error:
            raise Broken(
                "A session's key cannot be unwrapped.",
                code="state_damaged",
                hint="Restore state.db and keys/master.key from the same backup.",
            ) from error

    def ledger_mac(self, text: bytes) -> bytes:
        """Authenticates the head of the ledger, so that cutting off its newest entries shows."""
        return hmac.digest(self._ledger_key, text, "sha256")


def _owner(key_id: str, session_id: str) -> bytes:
    return f"{key_id}\x1f{session_id}".encode("utf-8", "surrogatepass")


def _create(path: Path) -> None:
    # One by one: `mode` holds for the last folder only.
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link, unlike a rename, never replaces the key that another process made meanwhile.
            os.link(draft, path)
        except FileExistsError:
            return
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make new names in `folder` durable, where the platform can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
