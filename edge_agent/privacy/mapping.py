"""Which placeholder stands for which value, in one session."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_agent.privacy import kinds
from edge_agent.privacy.names import COMMON_WORDS
from edge_agent.privacy.placeholders import Grammar, grammar, placeholder
from edge_agent.privacy.spans import Span


@dataclass(frozen=True, slots=True)
class MappingEntry:
    """`placeholder` stands for `value`, which is of `type`. Its repr shows no value."""

    placeholder: str
    type: str
    value: str = field(repr=False)


class SessionMapping:
    """One session's placeholders. Pure: loading and keeping them is the vault's.

    The same value gets the same placeholder, whatever type it was found as this time. Values count as the
    same when they differ only in white space, and persons also when they differ only in case. Different
    values never share a placeholder.
    """

    def __init__(self, entries: Iterable[MappingEntry] = ()) -> None:
        """Raises ValueError where `entries` give one placeholder to two values: nobody could say which is meant."""
        self._by_placeholder: dict[str, MappingEntry] = {}
        self._by_value: dict[tuple[str, str], MappingEntry] = {}
        self._highest: dict[str, int] = {}
        self._by_word: dict[str, list[tuple[int, MappingEntry]]] = {}
        self._new: list[MappingEntry] = []
        for entry in entries:
            self._keep(entry)

    def __len__(self) -> int:
        return len(self._by_placeholder)

    @property
    def new_entries(self) -> tuple[MappingEntry, ...]:
        """The entries made since loading."""
        return tuple(self._new)

    @property
    def grammar(self) -> Grammar:
        """The written forms of this session's placeholders."""
        return grammar(self._highest)

    def placeholder_for(self, entity: str, value: str) -> str:
        """The placeholder of `value`, made now if it has none."""
        known = next((self._by_value[key] for key in _asked(entity, value) if key in self._by_value), None)
        if known is None:
            known = MappingEntry(placeholder(entity, self._highest.get(entity, 0) + 1), entity, value)
            self._keep(known)
            self._new.append(known)
        return known.placeholder

    def value_of(self, written: str) -> str | None:
        """What a placeholder, as we write it, stands for; None where it is unknown."""
        entry = self._by_placeholder.get(written)
        return None if entry is None else entry.value

    def known(self, text: str) -> list[Span]:
        """Where values of this session stand in `text`, exactly and as whole words.

        Finds again what a model's guess missed this time. Indirect values, and those too short or too
        common to be sure of, are left to the detector.
        """
        if not self._by_word:
            return []
        return [
            Span(match.start() - offset, match.start() - offset + len(entry.value), entry.type, KNOWN)
            for match in _WORD.finditer(text)
            for offset, entry in self._by_word.get(match.group(), ())
            if match.start() >= offset
            and text.startswith(entry.value, match.start() - offset)
            and _whole(text, match.start() - offset, match.start() - offset + len(entry.value))
        ]

    def _keep(self, entry: MappingEntry) -> None:
        if self._by_placeholder.setdefault(entry.placeholder, entry).value != entry.value:
            raise ValueError("one placeholder stands for two values")
        for key in _keys(entry.type, entry.value):
            self._by_value.setdefault(key, entry)
        number = int(entry.placeholder.rpartition("_")[2].rstrip(">"))
        self._highest[entry.type] = max(number, self._highest.get(entry.type, 0))
        word = _WORD.search(entry.value)
        if word is not None and _worth_searching(entry):
            self._by_word.setdefault(word.group(), []).append((word.start(), entry))


KNOWN = 0.94
"""How certain a known value is where it stands again: a longer finding around it still wins."""

_WORD = re.compile(r"\w+")


def _keys(entity: str, value: str) -> tuple[tuple[str, str], ...]:
    """Under what a value is known: exactly, and as what counts as the same."""
    if entity == kinds.LITERAL:
        return ((kinds.LITERAL, value),)
    folded = " ".join(value.split())
    written = (("", value), ("", folded))
    return (*written, ("PERSON", folded.casefold())) if entity == "PERSON" else written


def _asked(entity: str, value: str) -> tuple[tuple[str, str], ...]:
    """Under what a value is looked for: a person's name in capitals is often taken for an organisation's."""
    return _keys(entity, value) if entity == kinds.LITERAL else _keys("PERSON", value)


def _worth_searching(entry: MappingEntry) -> bool:
    if entry.type == kinds.LITERAL or entry.type in kinds.INDIRECT:
        return False
    if entry.value.isdecimal():
        return len(entry.value) >= 5
    return len(entry.value) >= 3 and entry.value.lower() not in COMMON_WORDS


def _whole(text: str, start: int, end: int) -> bool:
    before = start > 0 and _wordy(text[start - 1]) and _wordy(text[start])
    after = end < len(text) and _wordy(text[end - 1]) and _wordy(text[end])
    return not before and not after


def _wordy(character: str) -> bool:
    return character.isalnum() or character == "_"
