"""The check digits of numbers that organisations give out. Each takes a compact number, its check digits included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence


def luhn(number: str) -> bool:
    """ISO/IEC 7812: cards, IMEIs. A number of one repeated digit is none."""
    total = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0 and len(set(number)) > 1


def luhn_base_36(number: str) -> bool:
    """Luhn's sum over digits and letters, as on Portuguese citizen cards."""
    total = 0
    for position, character in enumerate(reversed(number)):
        value = int(character, 36) * (1 + position % 2)
        total += value - 9 if position % 2 and value > 9 else value
    return total % 10 == 0


def mod97(number: str) -> bool:
    """ISO 7064 mod 97-10 with the first four characters moved to the end: IBANs."""
    return int("".join(str(int(character, 36)) for character in number[4:] + number[:4])) % 97 == 1


def mod_11_10(number: str) -> bool:
    """ISO 7064 mod 11, 10: German tax numbers, Croatian OIBs."""
    rest = 10
    for digit in number[:-1]:
        rest = ((int(digit) + rest) % 10 or 10) * 2 % 11
    return (rest + int(number[-1])) % 10 == 1


def verhoeff(number: str) -> bool:
    """Verhoeff's check over the dihedral group of ten elements."""
    check = 0
    for position, digit in enumerate(reversed(number)):
        check = _PRODUCT[check][_PERMUTED[position % 8][int(digit)]]
    return check == 0


def ean(number: str) -> bool:
    """GS1's sum with the weights 1 and 3."""
    return sum(int(digit) * (1 + 2 * (position % 2)) for position, digit in enumerate(reversed(number))) % 10 == 0


def weighted(number: str, weights: Sequence[int]) -> int:
    """The sum of the first digits of `number`, each times its weight."""
    return sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False))


def digit_sums(number: str, weights: Sequence[int]) -> int:
    """As `weighted`, of the products' own digit sums (products below 100)."""
    products = (int(digit) * weight for digit, weight in zip(number, weights, strict=False))
    return sum(product // 10 + product % 10 for product in products)


def _dihedral(left: int, right: int) -> int:
    turned = (left + right) % 5 if left < 5 else (left - right) % 5
    return turned + 5 * ((left < 5) != (right < 5))


_PRODUCT = tuple(tuple(_dihedral(left, right) for right in range(10)) for left in range(10))
_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def _permuted() -> tuple[tuple[int, ...], ...]:
    rows = [tuple(range(10))]
    while len(rows) < 8:
        rows.append(tuple(_PERMUTATION[value] for value in rows[-1]))
    return tuple(rows)


_PERMUTED = _permuted()

DIGITS_ONLY: Mapping[str, Callable[[str], bool]] = {
    "luhn": luhn,
    "verhoeff": verhoeff,
    "mod11_10": mod_11_10,
    "ean": ean,
}
"""Checks for the user's own patterns, of a match's digits."""

CHECKSUMS = (*DIGITS_ONLY, "mod97")
"""What `checksum` may name in the settings."""


def holds(checksum: str, found: str) -> bool:
    """Whether `found`, without its separators, passes the named check. False where it is too short to have one."""
    compact = "".join(character for character in found if character.isascii() and character.isalnum())
    if checksum == "mod97":
        return len(compact) > 4 and mod97(compact)
    digits = "".join(filter(str.isdigit, compact))
    return len(digits) > 1 and DIGITS_ONLY[checksum](digits)
