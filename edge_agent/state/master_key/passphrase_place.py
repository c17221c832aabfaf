"""The master key wrapped (AES-256-GCM) by a key that scrypt makes from a passphrase: for a machine without a keyring.

scrypt: RFC 7914. Its cost is OWASP's first choice (Password Storage Cheat Sheet): n = 2^17, r = 8, p = 1, which
takes 128 MiB and some tenths of a second.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from cloud_bridge.protocol.problems import Broken, NotAuthenticated
from edge_agent.state.event import canonical
from edge_agent.state.keys import KEY_BYTES, KeyRing
from edge_agent.state.master_key import record as records
from edge_agent.state.master_key.passphrase import Passphrase
from edge_agent.state.master_key.place import PlaceName

_SALT_BYTES = 16
_NONCE_BYTES = 12
_MAX_COST = 2**20
"""A record that asks for more was not written here: it would take a GiB to refuse it."""


@dataclass(frozen=True, slots=True)
class PassphrasePlace:
    """See `Place`. The record is JSON: scrypt's cost and salt, the key's fingerprint, and the wrapped key."""

    passphrase: Passphrase
    cost: int = 2**17
    name: PlaceName = "passphrase"
    record_name: str = "master.passphrase"

    def keep(self, record: Path, master: bytes) -> None:
        """See `Place`. Under the passphrase of the home where it has one, else under a fresh one."""
        self._keep(record, master, self._passphrase_of(record.parent))

    def keep_under_another(self, record: Path, master: bytes) -> None:
        """`keep` for a change of the passphrase."""
        self._keep(record, master, self.passphrase.fresh(replaces=True))

    def read(self, record: Path) -> bytes:
        """See `Place`."""
        head, nonce, wrapped = _parts(record)
        key = _derive(self.passphrase.known(), head)
        try:
            return AESGCM(key).decrypt(nonce, wrapped, canonical(head).encode())
        except InvalidTag as error:
            raise NotAuthenticated(
                f"The passphrase is wrong, or {record} was altered.",
                code="wrong_passphrase",
                hint="Try again. Without the passphrase what the vault holds is lost: there is no other way in.",
            ) from error

    def fingerprint(self, record: Path) -> str | None:
        """See `Place`."""
        try:
            return str(_parts(record)[0]["fingerprint"])
        except Broken:
            return None

    def destroy(self, record: Path) -> None:
        """See `Place`."""
        records.wipe(record)

    def _passphrase_of(self, folder: Path) -> bytes:
        if (folder / self.record_name).exists():
            return self.passphrase.known()
        return self.passphrase.fresh(replaces=False)

    def _keep(self, record: Path, master: bytes, passphrase: bytes) -> None:
        head = {
            "kdf": "scrypt",
            "n": self.cost,
            "r": 8,
            "p": 1,
            "salt": os.urandom(_SALT_BYTES).hex(),
            "fingerprint": KeyRing(master).fingerprint,
        }
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = AESGCM(_derive(passphrase, head)).encrypt(nonce, master, canonical(head).encode())
        records.create(record, canonical({**head, "nonce": nonce.hex(), "wrapped": wrapped.hex()}).encode())


def _parts(record: Path) -> tuple[dict[str, Any], bytes, bytes]:
    """The head, to which the wrapped key is bound; the nonce; the wrapped key. Raises Broken."""
    head = records.read_fields(record)
    try:
        nonce, wrapped = bytes.fromhex(head.pop("nonce")), bytes.fromhex(head.pop("wrapped"))
        bytes.fromhex(head["salt"])
        is_known = head["kdf"] == "scrypt" and isinstance(head["fingerprint"], str) and len(nonce) == _NONCE_BYTES
        is_fair = _is_fair(head["n"], head["r"], head["p"])
    except (KeyError, ValueError, TypeError) as error:
        raise records.damaged(record) from error
    if not is_known or not is_fair:
        raise records.damaged(record)
    return head, nonce, wrapped


def _is_fair(*cost: Any) -> bool:
    """Whether scrypt takes these n, r and p, and for no more memory and time than may be asked for."""
    n, r, p = cost
    is_natural = all(type(part) is int and part > 0 for part in cost)
    return is_natural and n > 1 and not n & (n - 1) and n * r * p <= _MAX_COST * 8


def _derive(passphrase: bytes, head: dict[str, Any]) -> bytes:
    salt = bytes.fromhex(head["salt"])
    return Scrypt(salt=salt, length=KEY_BYTES, n=head["n"], r=head["r"], p=head["p"]).derive(passphrase)
