"""ULIDs: 128 bits as 26 characters of Crockford's base 32 that sort as the numbers do.

Ours carry a hybrid-logical-clock stamp where a plain ULID has the time and its first random bits:

    48 bits milliseconds | 16 bits counter | 64 bits random

So they stay valid ULIDs, and sorting events by id is sorting them by the clock, on every device alike.
"""

from __future__ import annotations

import re

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.state.hlc import Stamp

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 26
RANDOM_BITS = 64
_PAIRS = [one + other for one in ALPHABET for other in ALPHABET]
_WRITTEN = re.compile(f"[{ALPHABET}]{{{LENGTH}}}")
_AS_PYTHON = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")  # how `int` writes base 32


def encode(stamp: Stamp, random: int) -> str:
    """The ULID of `stamp` with the low 64 bits of `random`."""
    number = stamp.packed << RANDOM_BITS | random & (1 << RANDOM_BITS) - 1
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * (LENGTH - 2), -1, -10)])


def stamp_of(ulid: str) -> Stamp:
    """The stamp inside `ulid`. Raises InvalidRequest where it is not one of ours."""
    number = int(ulid.translate(_AS_PYTHON), 32) if _WRITTEN.fullmatch(ulid) else -1
    if number < 0 or number >> 128:
        raise InvalidRequest("That is not an event id.", code="bad_id", hint="Ids are 26 characters, as listed.")
    return Stamp.unpack(number >> RANDOM_BITS)
