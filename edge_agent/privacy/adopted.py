"""Taking over what stands for what in a session that goes on from another device."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from edge_agent.privacy import kinds
from edge_agent.privacy.mapping import MappingEntry
from edge_agent.privacy.placeholders import parts
from edge_agent.privacy.vault import Kept


def adoptable(known: Sequence[Kept], offered: Iterable[Kept]) -> list[MappingEntry]:
    """Those offered that can stand beside what is known, so that history is masked here as it was there.

    Two devices that were apart may have numbered two people alike. What is given away here stays given: an offered
    placeholder whose number belongs to another value here is left out, and so is a value that has one here; the value
    gets a number of its own when it is next masked.
    """
    taken: dict[Hashable, dict[str, str]] = {}
    values = {_value(entry) for entry in known}
    for entry in known:
        taken.setdefault(_number(entry), {})[entry.placeholder] = entry.value
    found: list[MappingEntry] = []
    for number, entries in _by_number(offered).items():
        here = taken.get(number, {})
        same = any(here.get(placeholder) == entry.value for placeholder, entry in entries.items())
        other = any(here.get(placeholder, entry.value) != entry.value for placeholder, entry in entries.items())
        if other or (here and not same):
            continue
        for placeholder, entry in entries.items():
            if placeholder not in here and _value(entry) not in values:
                values.add(_value(entry))
                found.append(MappingEntry(placeholder, entry.type, entry.value))
    return found


def _by_number(entries: Iterable[Kept]) -> Mapping[Hashable, dict[str, Kept]]:
    found: dict[Hashable, dict[str, Kept]] = {}
    for entry in entries:
        found.setdefault(_number(entry), {}).setdefault(entry.placeholder, entry)
    return found


def _number(entry: Kept) -> Hashable:
    """What the forms of one value share; a surrogate stands alone."""
    found = parts(entry.placeholder)
    return entry.placeholder if found is None else (found.type, found.number)


def _value(entry: Kept) -> tuple[bool, str]:
    return entry.type == kinds.LITERAL, entry.value
