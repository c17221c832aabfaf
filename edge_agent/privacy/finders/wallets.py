"""Finders of cryptocurrency addresses, and of the keys that spend from them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from edge_agent.privacy.finders.hits import Hit
from edge_agent.privacy.finders.keccak import keccak_256

_BITCOIN = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_RIPPLE = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
_SEGWIT = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32, _BECH32M = 1, 0x2BC830A3  # BIP 173, BIP 350


def wallet_address(text: str) -> Iterator[Hit]:
    """Addresses with a checksum (base58check, bech32, bech32m, EIP-55), and Ethereum's and Monero's by shape."""
    for match in _BASE58.finditer(text):
        found = match.group()
        alphabet = _RIPPLE if found[0] == "r" else _BITCOIN
        if (found[0] in _ADDRESS_STARTS or found.startswith("xpub")) and _base58check(found, alphabet):
            yield match.start(), match.end(), 1.0
    if "1" in text:
        for match in _BECH32_ADDRESS.finditer(text):
            if _bech32(match.group()):
                yield match.start(), match.end(), 1.0
    if "0x" in text:
        for match in _ETHEREUM.finditer(text):
            yield match.start(), match.end(), _ethereum_score(match["address"])
    for match in _MONERO.finditer(text):
        yield match.start(), match.end(), 0.96


def wallet_key(text: str) -> Iterator[Hit]:
    """Private keys in the wallet import format, and extended private keys, whose checksum is right."""
    for match in _BASE58.finditer(text):
        found = match.group()
        if (found.startswith(("xprv", "tprv")) or found[0] in "5KLc9") and len(found) >= 51 and _base58check(found):
            yield match.start(), match.end(), 1.0


_ADDRESS_STARTS = frozenset("13LMDXtTrA79mn2")  # Bitcoin, Litecoin, Dogecoin, Dash, Zcash, Tron, Ripple; test networks
_BASE58 = re.compile(
    r"(?<![A-Za-z0-9])(?=[13LMDXtTrA79mn2x5Kc][A-Za-z0-9]{24})[1-9A-HJ-NP-Za-km-z]{25,111}(?![A-Za-z0-9])"
)
_BECH32_ADDRESS = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:bc|tb|bcrt|ltc|tltc|vtc|btg|addr|addr_test|stake|cosmos|osmo|inj)1[02-9ac-hj-np-z]{11,103}"
    r"|(?:BC|TB|LTC)1[02-9AC-HJ-NP-Z]{11,103})(?![A-Za-z0-9])"
)
_ETHEREUM = re.compile(r"(?<![A-Za-z0-9])0x(?P<address>[0-9A-Fa-f]{40})(?![A-Za-z0-9])")
_MONERO = re.compile(r"(?<![A-Za-z0-9])[48][0-9AB][1-9A-HJ-NP-Za-km-z]{93}(?![A-Za-z0-9])")


def _base58check(found: str, alphabet: str = _BITCOIN) -> bool:
    """Whether the last four bytes are those of the double SHA-256 of the others."""
    value = 0
    for character in found:
        value = value * 58 + alphabet.index(character)
    zeros = len(found) - len(found.lstrip(alphabet[0]))
    decoded = bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")
    payload, check = decoded[:-4], decoded[-4:]
    return len(payload) >= 20 and hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4] == check


def _bech32(found: str) -> bool:
    human, _, data = found.lower().rpartition("1")
    values = [ord(character) >> 5 for character in human] + [0] + [ord(character) & 31 for character in human]
    check = 1
    for value in (*values, *map(_SEGWIT.index, data)):
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if (top >> place) & 1 else 0
    return check in {_BECH32, _BECH32M}


def _ethereum_score(address: str) -> float:
    """EIP-55: where both cases are used, capitals are those letters whose place in the hash is 8 or more."""
    if address in {address.lower(), address.upper()}:
        return 0.96 if len(set(address.lower())) > 4 else 0.3
    digest = keccak_256(address.lower().encode()).hex()
    right = all(c.isdigit() or c.isupper() == (int(h, 16) >= 8) for c, h in zip(address, digest, strict=False))
    return 1.0 if right else 0.6
