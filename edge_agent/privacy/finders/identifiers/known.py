"""All identifiers that are looked for in one pass."""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.privacy.finders.hits import Hit
from edge_agent.privacy.finders.identifiers.america import AMERICA
from edge_agent.privacy.finders.identifiers.east import EAST
from edge_agent.privacy.finders.identifiers.identifier import find, table
from edge_agent.privacy.finders.identifiers.north import NORTH
from edge_agent.privacy.finders.identifiers.south import SOUTH
from edge_agent.privacy.finders.identifiers.things import THINGS
from edge_agent.privacy.finders.identifiers.west import WEST

KNOWN = (*WEST, *NORTH, *SOUTH, *EAST, *AMERICA, *THINGS)
TYPES = frozenset(identifier.type for identifier in KNOWN)
_TABLE = table(KNOWN)


def identifiers(text: str) -> Iterator[tuple[str, Hit]]:
    """Each number of a known kind in `text`, with its type; what is improbable has a low score."""
    return find(text, _TABLE)
