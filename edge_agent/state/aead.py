"""Sealed bytes: a nonce of their own, then what AES-256-GCM makes."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


def seal(key: AESGCM, body: bytes, bound_to: bytes) -> bytes:
    """`body` encrypted; only `unseal` with the same `bound_to` reads it."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + key.encrypt(nonce, body, bound_to)


def unseal(key: AESGCM, sealed: bytes, bound_to: bytes) -> bytes:
    """The inverse of `seal`. Raises ValueError where anything was altered, or the key is another."""
    try:
        return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)
    except InvalidTag as error:
        raise ValueError("not what was sealed") from error
