"""Keccak-256 as Ethereum uses it: SHA-3's permutation with the padding from before the standard."""

from __future__ import annotations

_MASK = (1 << 64) - 1
_RATE = 136  # bytes


def _round_constants() -> tuple[int, ...]:
    """FIPS 202, 3.2.5, from its linear feedback shift register."""
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for place in range(7):
            if register & 1:
                constant |= 1 << ((1 << place) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return tuple(constants)


_ROUNDS = _round_constants()


def keccak_256(message: bytes) -> bytes:
    """The 32-byte digest of `message`."""
    padded = bytearray(message) + b"\x01" + bytes(-(len(message) + 1) % _RATE)
    padded[-1] |= 0x80
    state = [0] * 25
    for start in range(0, len(padded), _RATE):
        for lane in range(_RATE // 8):
            state[lane] ^= int.from_bytes(padded[start + 8 * lane : start + 8 * lane + 8], "little")
        for constant in _ROUNDS:
            state = _permuted(state)
            state[0] ^= constant
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])


def _permuted(state: list[int]) -> list[int]:
    """Theta, rho, pi and chi of one round; lane (x, y) is at x + 5y."""
    parity = [state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20] for x in range(5)]
    mixed = [parity[(x - 1) % 5] ^ _turned(parity[(x + 1) % 5], 1) for x in range(5)]
    state = [lane ^ mixed[place % 5] for place, lane in enumerate(state)]
    moved = [0] * 25
    moved[0] = state[0]
    x, y = 1, 0
    for step in range(24):
        target = (y, (2 * x + 3 * y) % 5)
        moved[target[0] + 5 * target[1]] = _turned(state[x + 5 * y], (step + 1) * (step + 2) // 2 % 64)
        x, y = target
    return [
        moved[place] ^ (~moved[place - place % 5 + (place + 1) % 5] & moved[place - place % 5 + (place + 2) % 5])
        for place in range(25)
    ]


def _turned(lane: int, by: int) -> int:
    return ((lane << by) | (lane >> (64 - by))) & _MASK
