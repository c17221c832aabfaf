"""The master key at work, and the sessions' keys that it wraps. Where it lives: `master_key/`.

    master key ──wraps──▶ session key (one row in the database) ──seals──▶ the bodies of that session's events

Destroying a session's wrapped key forgets the session: nothing else can open its bodies.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from cloud_bridge.protocol.problems import Broken
from edge_agent.state.aead import seal, unseal

KEY_BYTES = 32


def _derive(key: bytes, purpose: bytes) -> bytes:
    return HKDFExpand(SHA256(), KEY_BYTES, b"edge-agent/state/1/" + purpose).derive(key)


class SessionKey:
    """Seals and opens one session's bodies with AES-256-GCM, and fingerprints its texts."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(_derive(key, b"body"))
        self._mac_key = _derive(key, b"mac")
        self._key = key

    @property
    def share_key(self) -> bytes:
        """What this session's bodies are sealed with for the person's other devices. Gone with this key."""
        return _derive(self._key, b"share")

    def seal(self, body: bytes, bound_to: bytes) -> bytes:
        """`body` encrypted; only `open` with the same `bound_to` reads it."""
        return seal(self._aead, body, bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """The inverse of `seal`. Raises Broken where either argument was altered."""
        try:
            return unseal(self._aead, sealed, bound_to)
        except ValueError as error:
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
        self._seed_key = _derive(master, b"surrogates")
        self.own = SessionKey(_derive(master, b"device"))
        """For what belongs to the device and to no session."""
        self.fingerprint = hashlib.sha256(_derive(master, b"fingerprint")).hexdigest()

    def new_session_key(self, key_id: str, session_id: str) -> tuple[SessionKey, bytes]:
        """A fresh key and its wrapped form, which only this key id and session can unwrap."""
        key = secrets.token_bytes(KEY_BYTES)
        return SessionKey(key), self._wrapped(key, key_id, session_id)

    def unwrap(self, wrapped: bytes, key_id: str, session_id: str) -> SessionKey:
        """The session key inside `wrapped`. Raises Broken where it was altered or belongs elsewhere."""
        return SessionKey(self._unwrapped(wrapped, key_id, session_id))

    def rewrap(self, wrapped: bytes, key_id: str, session_id: str, new: KeyRing) -> bytes:
        """The session key inside `wrapped`, wrapped by `new` instead. Raises Broken as `unwrap`."""
        return new._wrapped(self._unwrapped(wrapped, key_id, session_id), key_id, session_id)

    def _wrapped(self, key: bytes, key_id: str, session_id: str) -> bytes:
        return seal(self._wrap, key, _owner(key_id, session_id))

    def _unwrapped(self, wrapped: bytes, key_id: str, session_id: str) -> bytes:
        try:
            return unseal(self._wrap, wrapped, _owner(key_id, session_id))
        except ValueError as error:
            raise Broken(
                "A session's key cannot be unwrapped.",
                code="state_damaged",
                hint="Restore state.db and the keys folder from the same backup.",
            ) from error

    def ledger_mac(self, text: bytes) -> bytes:
        """Authenticates the head of the ledger, so that cutting off its newest entries shows."""
        return hmac.digest(self._ledger_key, text, "sha256")

    def seed(self, session_id: str) -> bytes:
        """What a session's surrogates are chosen by: before it has a key of its own, and after a restart, too."""
        return hmac.digest(self._seed_key, session_id.encode("utf-8", "surrogatepass"), "sha256")


def _owner(key_id: str, session_id: str) -> bytes:
    return f"{key_id}\x1f{session_id}".encode("utf-8", "surrogatepass")
