"""Stand-ins for names, word by word.

Each word of a name has one stand-in in a session, in whatever name it stands: who is "Alvermere" is so in "Kaevandis
Alvermere", in "ALVERMERE" and in "Mr Alvermere", and two people of one surname share it here, too. So each word of an
answer is put back by itself, and never by guessing whose name it is. Given names are fit for either gender, since a
pronoun in the text may tell it; initials are not kept, since they would narrow down who it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_agent.privacy.finders.contacts import public_suffixes
from edge_agent.privacy.surrogates import words
from edge_agent.privacy.surrogates.draws import Draw
from edge_agent.privacy.surrogates.forms import Forms

Role = Literal["name", "code", "kept"]

TRIES = 64
"""How many coined words are looked at before a value keeps its placeholder."""

_UNIT = re.compile(r"[^\W_]+(?:['\u2019][^\W_]{2,})*")
_PLAIN_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_\-]*")


@dataclass(frozen=True, slots=True)
class Part:
    """One word of a name, and what becomes of it: a name is coined anew, a code is drawn, the rest is kept."""

    start: int
    end: int
    text: str
    role: Role


def parts(entity: str, value: str) -> list[Part]:
    """The words of `value`."""
    found = list(_UNIT.finditer(value))
    written = [match.group() for match in found]
    return [
        Part(match.start(), match.end(), match.group(), _role(entity, written, place))
        for place, match in enumerate(found)
    ]


def _role(entity: str, written: Sequence[str], place: int) -> Role:
    word = written[place]
    if any(character.isdigit() for character in word):
        return "code"
    if entity in {"EMAIL_ADDRESS", "USERNAME"}:
        return "name" if len(word) > 1 else "code"
    if len(word) == 1 and word.islower():
        return "kept"
    if _is_beside_a_name(written, place) if entity == "PERSON" else word.lower() in words.KEPT_IN_PLACES:
        return "kept"
    short = 1 if entity in {"PERSON", "ORGANIZATION"} else 3
    return "code" if len(word) <= short and word.isupper() else "name"


def _is_beside_a_name(written: Sequence[str], place: int) -> bool:
    """Whether a word of a person's name is a particle or a title: "Das" is one in "Jo das Neves", not in "Jo Das"."""
    word, before, after = written[place], written[:place], written[place + 1 :]
    if word in words.PARTICLES:
        following = next((each for each in after if each not in words.PARTICLES), "")
        return following[:1].isupper()
    if word.lower() in words.TITLES and (after or all(each.lower() in words.TITLES for each in before)):
        return True
    return word.lower() in words.SUFFIXES and bool(before)


class Names:
    """The words of one session's names. `is_free` says whether a coined word is nobody's and in no text."""

    def __init__(self, seed: bytes, forms: Forms, is_free: Callable[[str], bool]) -> None:
        self._seed = seed
        self._forms = forms
        self._is_free = is_free
        self._coined: dict[str, str] = {}
        self._written: dict[str, str] = {}
        self._real: dict[str, str] = {}
        self._initials: dict[tuple[str, str], set[str]] = {}
        """A real surname and the initial of a real first name, to the initials of those first names' stand-ins."""

    def renamed(self, entity: str, value: str, draw: Draw) -> str | None:
        """`value` with other names and codes in it; None where no name is in it, or none is free."""
        found = parts(entity, value)
        names = [part for part in found if part.role == "name"]
        if not names:
            return None
        pieces: list[str] = []
        at = 0
        chosen: dict[str, str] = {}
        for part in found:
            given = entity == "PERSON" and part is names[0]
            made = self._known_initial(part, names) if entity == "PERSON" else None
            made = made or self._made(part, chosen, draw, family="given" if given else "surname")
            if made is None:
                return None
            pieces += (value[at : part.start], made)
            at = part.end
        return "".join([*pieces, value[at:]])

    def domain(self, host: str) -> str | None:
        """A domain under one that RFC 2606 keeps for examples."""
        before, main = _split(host)
        word = self._word(main.partition(".")[0], {}, "surname")
        under = self._word(before, {}, "given") if before else None
        if word is None or (before and under is None):
            return None
        return f"{under}.{word}.example.org".lower() if under else f"{word}.example.org".lower()

    def email(self, value: str, draw: Draw) -> str | None:
        """An address whose words agree with those of the names in the session."""
        local, _, host = value.rpartition("@")
        renamed = self.renamed("EMAIL_ADDRESS", local, draw)
        if renamed is None or not _PLAIN_LOCAL.fullmatch(renamed):
            renamed = words.coined("given", draw).lower()
            renamed = renamed if self._is_free(renamed) else None
        domain = self.domain(host)
        return f"{renamed}@{domain}" if renamed and domain else None

    def learn(self, entity: str, stand_in: str, value: str) -> None:
        """Know the words of a name again. One that was made by other rules is known as a whole only."""
        given, real = parts(entity, stand_in), parts(entity, value)
        if len(given) == len(real):
            for new, old in zip(given, real, strict=True):
                # A word that stayed by the rules of a former version goes on as itself, and stands for nothing.
                if old.role == "name" and new.text != old.text and new.text.isascii() and new.text.isalpha():
                    self._learn(new.text, old.text, plural=entity == "PERSON")
        if len(given) != len(real) or any(part.role == "code" for part in real):
            self._forms.add(stand_in, value)
        if len(given) == len(real):
            self._learn_initial(entity, given, real)
            for written, meant in _spellings(entity, (stand_in, value), given, real):
                self._forms.add_spelling(written, meant)

    def learn_email(self, stand_in: str, value: str) -> None:
        """Know an address again, its local part and its domain, too."""
        self._forms.add(stand_in, value)
        (local, _, domain), (real_local, _, real_domain) = stand_in.rpartition("@"), value.rpartition("@")
        new, old = parts("EMAIL_ADDRESS", local), parts("EMAIL_ADDRESS", real_local)
        for coined, real in zip(new, old, strict=False) if len(new) == len(old) else ():
            if real.role == "name" and coined.role == "name":
                self._learn(coined.text, real.text)
        self.learn_host(domain, real_domain)

    def learn_host(self, domain: str, host: str) -> None:
        """Know a domain by itself again, and what it is called. Hosts of one name share it: it may mean either."""
        _, main = _split(host)
        self._forms.add_spelling(domain, host.lower().removeprefix("www."))
        above = domain.partition(".")[2]
        if above.count(".") == 2:
            self._forms.add_spelling(above, main)
        label = main.partition(".")[0]
        if label.isalpha():
            self._learn(domain.removesuffix(".example.org").rpartition(".")[2], label)

    def _learn_initial(self, entity: str, given: Sequence[Part], real: Sequence[Part]) -> None:
        names = [place for place, part in enumerate(real) if part.role == "name"]
        if entity == "PERSON" and len(names) == 2:
            first, last = names
            key = (real[last].text.casefold(), real[first].text[0].upper())
            self._initials.setdefault(key, set()).add(given[first].text[0].upper())

    def _known_initial(self, part: Part, names: Sequence[Part]) -> str | None:
        """The initial of the one person of that surname whose first name begins so."""
        if part.role != "code" or len(part.text) != 1:
            return None
        found = self._initials.get((names[-1].text.casefold(), part.text), set())
        return next(iter(found)) if len(found) == 1 else None

    def _made(self, part: Part, chosen: dict[str, str], draw: Draw, *, family: words.Family) -> str | None:
        if part.role == "kept":
            return part.text
        if part.role == "code":
            return _code(part.text, draw)
        return self._word(part.text, chosen, family)

    def _word(self, real: str, chosen: dict[str, str], family: words.Family) -> str | None:
        """The stand-in of a word, in its case. `chosen` are those of the same name."""
        known = self._written.get(real)
        if known is not None:
            return known
        folded = real.casefold()
        coined = chosen.get(folded) or self._coined.get(folded)
        if coined is not None and self._real.get(_cased(coined, real), real) == real:
            return _cased(coined, real)
        other: words.Family = "surname" if family == "given" else "given"
        for attempt in range(TRIES):
            # The names of one kind may run out: rather a name of the other kind than none.
            kind = family if attempt < TRIES // 2 else other
            coined = words.coined(kind, Draw(self._seed, "word", folded, str(attempt)))
            if coined not in chosen.values() and self._is_free(coined):
                chosen[folded] = coined
                return _cased(coined, real)
        return None

    def _learn(self, written: str, real: str, *, plural: bool = False) -> None:
        if self._real.get(written, real) != real or self._written.get(real, written) != written:
            return
        self._real[written], self._written[real] = real, written
        self._coined.setdefault(real.casefold(), written.title())
        self._forms.add(written, real)
        if plural:
            self._forms.add_spelling(f"{written}s", f"{real}{'es' if real[-1] in 'sxz' else 's'}")


def _spellings(
    entity: str, whole: tuple[str, str], given: Sequence[Part], real: Sequence[Part]
) -> Iterator[tuple[str, str]]:
    """How a model may shorten a name, and what it then means: "K. Alvermere", "7 Alvermere"."""
    new, old = whole
    names = [place for place, part in enumerate(real) if part.role == "name"]
    if entity == "PERSON" and len(names) == 2:
        first, last = names
        for mark in (". ", " "):
            meant = f"{real[first].text[0]}. {old[real[last].start : real[last].end]}"
            yield f"{given[first].text[0]}{mark}{given[last].text}", meant
    if entity == "ADDRESS":
        for place in range(len(real) - 1):
            if sorted(part.role for part in real[place : place + 2]) == ["code", "name"]:
                ends = (given[place], given[place + 1]), (real[place], real[place + 1])
                yield new[ends[0][0].start : ends[0][1].end], old[ends[1][0].start : ends[1][1].end]


def _split(host: str) -> tuple[str, str]:
    """What stands before the name of a host, and its name with the rest: "mail" and "acme.co.uk"."""
    host = host.lower().strip(".").removeprefix("www.")
    found = public_suffixes()(host)
    if found.ipv4:
        return "", host.replace(".", "-")
    labels = host.split(".")
    place = max(len(labels) - 2 - (found.suffix.count(".") if found.domain else 0), 0)
    return ".".join(labels[:place]), ".".join(labels[place:])


def _code(text: str, draw: Draw) -> str:
    """Other letters and digits, of the same kinds and number."""
    return "".join(_drawn(character, draw, first=place == 0) for place, character in enumerate(text))


def _drawn(character: str, draw: Draw, *, first: bool) -> str:
    if not character.isalnum():
        return character
    if character.isdigit():
        return str(draw.between(1, 9) if first else draw.below(10))
    letter = chr(65 + draw.below(26))
    return letter if character.isupper() else letter.lower()


def _cased(coined: str, real: str) -> str:
    """`coined` in capitals or small letters where `real` is."""
    if len(real) > 1 and real.isupper():
        return coined.upper()
    return coined.lower() if real.islower() else coined
