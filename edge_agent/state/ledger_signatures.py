"""The device's signature under the ledger's links, and a head that somebody else can keep.

Each link covers all before it, so one signature vouches for the whole ledger up to its entry. Ed25519 (RFC 8032), with
the key that signs what goes to a bridge: one key a device.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.state.event import canonical
from edge_agent.state.log import Log

if TYPE_CHECKING:
    from cloud_bridge.device_key import DeviceKey

_PURPOSE = b"edge-agent ledger 1\n"  # what is signed for one purpose must be good for no other


@dataclass(frozen=True, slots=True)
class Head:
    """The ledger of `device` up to entry `seq`, whose link is `hash`, with the device's signature in base64."""

    device: str
    seq: int
    hash: str
    signature: str
    public_key: str

    def to_json(self) -> dict[str, Any]:
        """An object that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Head:
        """The head in `document`, its signature checked. Raises InvalidRequest code "bad_head"."""
        try:
            head = cls(**document)
            fits = is_signed(head.device, head.seq, head.hash, base64.b64decode(head.signature), head.public_key)
        except (TypeError, ValueError, binascii.Error, InvalidRequest) as error:
            raise _bad_head("is none") from error
        if not fits:
            raise _bad_head("was altered: its signature does not fit")
        return head


def device_key(log: Log) -> DeviceKey:
    """The device's key, made where there is none. Raises Broken code "device_key_unreadable"."""
    path = log.path.parent / "keys" / "device.key"
    try:
        seen = path.stat()
    except OSError:
        return _read_key(path)
    return _kept_key(path, seen.st_ino, seen.st_mtime_ns, seen.st_size)


def _read_key(path: Path) -> DeviceKey:
    from cloud_bridge.device_key import DeviceKey  # noqa: PLC0415 nothing is signed at start

    return DeviceKey.load_or_create(path)


@lru_cache(maxsize=8)
def _kept_key(path: Path, inode: int, written_ns: int, size: int) -> DeviceKey:  # noqa: ARG001 another file, another key
    """Read once as long as the file is the same: every departure is signed."""
    return _read_key(path)


def signed(key: DeviceKey, device: str, seq: int, link: str) -> bytes:
    """The signature under the link of entry `seq`."""
    return key.sign(_statement(device, seq, link))


def is_signed(device: str, seq: int, link: str, signature: bytes, public_key: str) -> bool:
    """Whether `signature` is that key's under this link. Raises InvalidRequest where the key is none."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 as above
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    from cloud_bridge.devices import decode_key  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(decode_key(public_key)).verify(signature, _statement(device, seq, link))
    except InvalidSignature:
        return False
    return True


def head_at(log: Log, seq: int, link: str) -> Head:
    """The head at that entry, signed now."""
    key = device_key(log)
    signature = base64.b64encode(signed(key, log.device, seq, link)).decode("ascii")
    return Head(log.device, seq, link, signature, key.public_id)


def _statement(device: str, seq: int, link: str) -> bytes:
    return _PURPOSE + canonical([device, seq, link]).encode()


def _bad_head(what: str) -> InvalidRequest:
    return InvalidRequest(
        f"What was given as the ledger's head {what}.",
        code="bad_head",
        hint="Give the file as 'edge-agent ledger head --json' wrote it.",
        param="head",
    )
