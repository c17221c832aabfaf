"""Sealing something to one device alone: only the holder of an X25519 private key opens it.

Ephemeral-static X25519, HKDF-SHA256 with both public keys in its info, AES-256-GCM: the construction of HPKE's base
mode (RFC 9180, section 5.1.1). It says nothing of who sealed: callers authenticate what is inside.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloud_bridge.protocol.problems import Broken

PUBLIC_BYTES = 32
_KEY_BYTES = 32
# The key is new for every box: one nonce is enough.
_NONCE = bytes(12)


def seal_to(public: bytes, payload: bytes, context: bytes) -> bytes:
    """`payload` for the owner of `public` alone, who opens it with the same `context` only.

    Raises Broken `sync_box_damaged` where `public` is no X25519 public key.
    """
    ephemeral = X25519PrivateKey.generate()
    sender = ephemeral.public_key().public_bytes_raw()
    key = _shared(ephemeral, public, sender + public)
    return sender + AESGCM(key).encrypt(_NONCE, payload, context)


def open_with(private: X25519PrivateKey, sealed: bytes, context: bytes) -> bytes:
    """The inverse of `seal_to`. Raises Broken `sync_box_damaged` where anything differs."""
    sender = sealed[:PUBLIC_BYTES]
    key = _shared(private, sender, sender + private.public_key().public_bytes_raw())
    try:
        return AESGCM(key).decrypt(_NONCE, sealed[PUBLIC_BYTES:], context)
    except (InvalidTag, ValueError) as error:
        raise _damaged() from error


def _shared(private: X25519PrivateKey, public: bytes, both: bytes) -> bytes:
    try:
        secret = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:  # of another length, or a point of low order
        raise _damaged() from error
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"edge-agent/sync/1/box" + both).derive(secret)


def _damaged() -> Broken:
    return Broken(
        "What was sealed for this device through the bridge was altered, or was meant for another.",
        code="sync_box_damaged",
        hint="Nothing of it was used. Have another device of the group run 'edge-agent sync invite', and join again.",
    )
