"""Telephones, SIM cards and vehicles: what names a thing names its owner."""

from __future__ import annotations

from edge_agent.privacy.finders.checksums import luhn
from edge_agent.privacy.finders.identifiers.identifier import Identifier, shape

_VIN_VALUES = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", map(int, "12345678123457923456789"), strict=True))
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def vin(number: str) -> bool:
    """ISO 3779 with the North American check digit at the ninth place."""
    values = (int(character) if character.isdigit() else _VIN_VALUES[character] for character in number)
    rest = sum(value * weight for value, weight in zip(values, _VIN_WEIGHTS, strict=True)) % 11
    return "0123456789X"[rest] == number[8]


_VIN = r"(?=.*[A-Z])(?=.*\d)[A-HJ-NPR-Z0-9]{17}"
_VIN_WORDS = ("vin", "chassis", "fahrgestellnummer", "fin", "vehicle identification", "vehicle", "car")

THINGS = (
    Identifier(
        "IMEI", "15 2-6-6-1 8-6-1 6-2-6-1 6-8-1", shape(r"\d{15}"), luhn, ("imei", "imei number", "meid"),
        alone=0.2, spelled=0.96,
    ),
    Identifier("IMEI", "16 8-6-2", shape(r"\d{16}"), lambda _: True, ("imeisv",), alone=0.0, checked=False),
    Identifier(
        "IMSI", "15 3-2-10 3-3-9", shape(r"[2-7]\d{14}"), lambda _: True, ("imsi", "subscriber identity"),
        alone=0.05, spelled=0.05, checked=False,
    ),
    Identifier("ICCID", "19 20", shape(r"89\d{17,18}"), luhn, ("iccid", "sim", "sim card", "esim"), alone=0.5),
    Identifier("VIN", "17", shape(_VIN), vin, _VIN_WORDS, alone=0.7),
    Identifier("VIN", "17", shape(_VIN), lambda _: True, _VIN_WORDS, alone=0.1, checked=False),
)  # fmt: skip
