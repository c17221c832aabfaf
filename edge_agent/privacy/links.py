"""Which values of a session are certainly one, written in several ways. Pure; what that means is the mapping's."""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent.privacy import variants
from edge_agent.privacy.placeholders import FORMS, Parts

Number = tuple[str, int]
"""What all forms of a value share: `<PERSON_1>` and `<PERSON_1B>` are ("PERSON", 1)."""


class Links:
    """The values of a session by what makes two of them the same. The order in which they are added counts."""

    def __init__(self) -> None:
        self._forms: dict[Number, int] = {}
        self._by_form: dict[tuple[str, str], Number] = {}
        self._persons = _Persons()

    def expect(self, names: Iterable[variants.Name]) -> None:
        """Take note of all full names of the text at hand, in place of those of an earlier one."""
        self._persons.expect(names)

    def add(self, known: Parts, value: str) -> None:
        """Take in a value and its placeholder."""
        number = (known.type, known.number)
        self._forms[number] = max(known.form + 1, self._forms.get(number, 0))
        for key in variants.folded(known.type, value):
            if key not in self._by_form or self._forms[self._by_form[key]] >= FORMS:
                self._by_form[key] = number
        if known.type == "PERSON":
            self._persons.add(number, value)

    def next_form(self, entity: str, value: str) -> Parts | None:
        """A placeholder for a further form of what `value` certainly is; None where it is certainly nothing known."""
        number = self._number(entity, value)
        if number is None or self._forms[number] >= FORMS:
            return None
        return Parts(*number, self._forms[number])

    def _number(self, entity: str, value: str) -> Number | None:
        for key in variants.sought(entity, value):
            if key in self._by_form:
                return self._by_form[key]
        return self._persons.owner(value) if entity == "PERSON" else None


class _Persons:
    """Who is named in a session, each under the name that says most, and found by each word of it."""

    def __init__(self) -> None:
        self._names: dict[Number, variants.Name] = {}
        self._by_word: dict[str, set[Number]] = {}
        self._expected: dict[str, set[variants.Name]] = {}

    def expect(self, names: Iterable[variants.Name]) -> None:
        self._expected = {}
        for name in names:
            for word in name.words:
                self._expected.setdefault(word, set()).add(name)

    def add(self, number: Number, value: str) -> None:
        name = variants.name(value)
        if name is None or (number in self._names and self._names[number].weight >= name.weight):
            return
        self._names[number] = name
        for word in name.words:
            self._by_word.setdefault(word, set()).add(number)

    def owner(self, value: str) -> Number | None:
        """The one person whose name `value` is; None where nobody's, or where it may be somebody else's."""
        name = variants.name(value)
        if name is None:
            return None
        fitting = [number for number in self._near(name) if variants.related(name, self._names[number])]
        if len(fitting) != 1 or self._contested(self._names[fitting[0]], name):
            return None
        return fitting[0]

    def _near(self, name: variants.Name) -> set[Number]:
        return {number for word in name.words for number in self._by_word.get(word, ())}

    def _contested(self, shorter: variants.Name, name: variants.Name) -> bool:
        """Whether somebody else who is named could be the one known by the shorter name only."""
        if shorter.weight >= name.weight:
            return False
        others = {other for word in shorter.words for other in self._expected.get(word, ())}
        others |= {self._names[number] for number in self._near(shorter)} - {shorter}
        return any(variants.related(shorter, other) and not variants.related(name, other) for other in others)
