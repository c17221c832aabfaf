"""The master key in the keyring of the system (Keychain, Credential Locker, Secret Service), by the `keyring` package.

The record names the entry; a home has entries of its own, so that homes never touch each other.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem, Unavailable
from edge_agent.state.keys import KEY_BYTES, KeyRing
from edge_agent.state.master_key import record as records
from edge_agent.state.master_key.place import PlaceName

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE = "edge-agent"
_NO_STORE = ("keyring.backends.fail", "keyring.backends.null")
_MAY_ASK = ("keyring.backends.kwallet",)
_MAY_BE_LOCKED = "keyring.backends.SecretService"
_RECOMMENDED = 1
"""keyring's own line between backends that are fit to be chosen unasked, and those that keep keys in plain files."""


class KeyringPlace:
    """See `Place`. The record is JSON: the entry's account and the key's fingerprint."""

    name: PlaceName = "keyring"
    record_name = "master.keyring"

    def serves_unasked(self) -> bool:
        """Whether a new key may go here without anyone having said so: a real keyring, which asks nobody."""
        if find_spec("keyring") is None:
            return False
        try:
            first = _first(_backend())
            return float(first.priority) >= _RECOMMENDED and not _would_ask(first)
        except Exception:  # noqa: BLE001 - backends raise what their libraries raise; the file is there instead
            return False

    def keep(self, record: Path, master: bytes) -> None:
        """See `Place`."""
        backend = _backend()
        account = f"master-{secrets.token_hex(8)}"
        fields = {"account": account, "fingerprint": KeyRing(master).fingerprint}
        # The record first: an entry that no record names would stay for ever.
        records.create(record, json.dumps(fields).encode())
        try:
            with _clear_errors():
                backend.set_password(SERVICE, account, master.hex())
                if backend.get_password(SERVICE, account) != master.hex():
                    raise _no_store()
        except Problem:
            with suppress(Problem), _clear_errors():
                backend.delete_password(SERVICE, account)
            records.wipe(record)
            raise

    def read(self, record: Path) -> bytes:
        """See `Place`."""
        backend = _backend()
        with _clear_errors():
            kept = backend.get_password(SERVICE, _account(record))
        if kept is None:
            raise Broken(
                "The keyring of this system does not have this home's master key.",
                code="master_key_missing",
                hint="Log in as the user who made the home, or put the keyring back from a backup.",
            )
        try:
            master = bytes.fromhex(kept)
        except ValueError:
            master = b""
        if len(master) != KEY_BYTES:
            raise records.damaged(record)
        return master

    def fingerprint(self, record: Path) -> str | None:
        """See `Place`."""
        with suppress(Broken):
            return str(records.read_fields(record).get("fingerprint"))
        return None

    def destroy(self, record: Path) -> None:
        """See `Place`."""
        try:
            account = _account(record)
        except Broken:  # no entry can be found by what is left of it
            records.wipe(record)
            return
        backend = _backend()
        with _clear_errors():
            if backend.get_password(SERVICE, account) is not None:
                backend.delete_password(SERVICE, account)
        records.wipe(record)


def _account(record: Path) -> str:
    account = records.read_fields(record).get("account")
    if not isinstance(account, str) or not account:
        raise records.damaged(record)
    return account


def _backend() -> KeyringBackend:
    """The keyring that the system has. Raises InvalidRequest without the package, Unavailable without a keyring."""
    try:
        import keyring  # noqa: PLC0415 optional, and slow
    except ImportError as error:
        raise InvalidRequest(
            "The keyring package is not installed.",
            code="keyring_missing",
            hint="Run: pip install 'edge-agent[keyring]'. Or keep the key elsewhere: [vault] key = \"file\".",
        ) from error
    with _clear_errors():
        backend = keyring.get_keyring()
        first = _first(backend)
    if type(first).__module__ in _NO_STORE:
        raise _no_store()
    return backend


def _first(backend: KeyringBackend) -> KeyringBackend:
    """Of a chain, the one that keys are written to."""
    chained = getattr(backend, "backends", None)
    return chained[0] if chained else backend


def _would_ask(backend: KeyringBackend) -> bool:
    """Whether it would open a window: nobody may be there to answer."""
    module = type(backend).__module__
    if module.startswith(_MAY_ASK):
        return True
    if module != _MAY_BE_LOCKED:
        return False
    import secretstorage  # noqa: PLC0415 a part of that backend

    connection = secretstorage.dbus_init()
    try:
        return bool(secretstorage.get_default_collection(connection).is_locked())
    finally:
        connection.close()


def _no_store() -> Unavailable:
    return Unavailable(
        "This system has no keyring that keeps keys.",
        code="keyring_unavailable",
        hint='Keep the key elsewhere: [vault] key = "file" or "passphrase".',
    )


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Raise as a Problem what backends raise: their libraries' errors, of any kind."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001 - as said; its own text may be anything, the entry included
        raise Unavailable(
            f"The keyring of this system cannot be used ({type(error).__name__}).",
            code="keyring_locked",
            hint="Unlock it: log in, or answer its window; then try again.",
        ) from None
