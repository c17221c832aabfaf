"""One session's stand-ins: made from its seed, checked against all that is said, and found again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from edge_agent.privacy.surrogates.draws import Draw
from edge_agent.privacy.surrogates.forms import Forms
from edge_agent.privacy.surrogates.names import TRIES, Names
from edge_agent.privacy.surrogates.numbers import MAKERS
from edge_agent.privacy.surrogates.stream import Carry

NAMES = frozenset({"ADDRESS", "LOCATION", "ORGANIZATION", "PERSON", "USERNAME"})
HOSTS = frozenset({"HOSTNAME", "URL"})

TYPES = NAMES | HOSTS | frozenset(MAKERS) | {"EMAIL_ADDRESS"}
"""What has a good stand-in. The rest, secrets above all, keeps its placeholder."""

GROUPED = {"CREDIT_CARD": " -.", "IBAN_CODE": " -", "MAC_ADDRESS": ":-", "PHONE_NUMBER": " -."}
"""What models put between the groups of a number, besides nothing."""

LONGEST = 200
"""Characters of a value that gets a stand-in."""

_GROUP = re.compile(r"\+?[^\W_]+")
_WORD = re.compile(r"[^\W_]+")
_ESCAPED = re.compile(r"\\+(?:u[0-9A-Fa-f]{4}|[bfnrt])?")
_HOST = re.compile(r"(?:(?P<scheme>[A-Za-z]+://)|(?P<www>www\.))?(?P<host>[^\s/:?#]+)(?P<more>.*)", re.DOTALL)


class Surrogates:
    """Stand-ins of the chosen `types` in one session. Nothing here is kept: loading and storing are the vault's.

    The same `seed` makes the same stand-ins of the same values in the same texts. Without `types` none is made, and
    those of before are still found.
    """

    def __init__(self, seed: bytes = b"", types: frozenset[str] = frozenset()) -> None:
        self._seed = seed
        self._types = types & TYPES
        self._forms = Forms()
        self._names = Names(seed, self._forms, self._is_free)
        self._said: set[str] = set()
        self._beside: set[tuple[str, str]] = set()
        self._given: dict[str, str] = {}
        self._refused: set[tuple[str, str]] = set()

    def beware(self, texts: Iterable[str]) -> None:
        """Make no stand-in that is a part of one of these texts."""
        if self._types:
            for text in texts:
                self._heed(text)

    def made(self, entity: str, value: str) -> str | None:
        """A new stand-in for `value`; None where its type was not chosen or has none, or none is free."""
        if entity not in self._types or len(value) > LONGEST or (entity, value) in self._refused:
            return None
        same = _compact(value) if entity in MAKERS else value
        for attempt in range(TRIES):
            made = self._make(entity, value, Draw(self._seed, entity, same, str(attempt)))
            if made is None:
                break
            if self._is_fit(entity, made, value):
                return made
        self._refused.add((entity, value))
        return None

    def keep(self, entity: str, stand_in: str, value: str) -> None:
        """From now on `stand_in` stands for `value`. Raises ValueError where it stands for another."""
        if self._given.setdefault(stand_in, value) != value:
            raise ValueError("one stand-in for two values")
        self._heed(value)
        if entity in NAMES:
            self._names.learn(entity, stand_in, value)
        elif entity == "EMAIL_ADDRESS":
            self._names.learn_email(stand_in, value)
        else:
            self._forms.add(stand_in, value)
            if entity in HOSTS:
                self._names.learn_host(_host(stand_in), _host(value))
            for mark in GROUPED.get(entity, ""):
                self._forms.add_spelling(mark.join(_GROUP.findall(stand_in)), value)
            if entity in GROUPED:
                self._forms.add_spelling(_compact(stand_in), value)

    @property
    def are_made(self) -> bool:
        """Whether any type gets a surrogate here."""
        return bool(self._types)

    @property
    def empty(self) -> bool:
        """Whether there is none so far."""
        return self._forms.empty

    def cover(self, text: str) -> bool:
        """Whether `text` holds surrogates, and no letter or digit besides."""
        at = 0
        rest = ""
        for start, end in self.written(text):
            rest, at = rest + text[at:start], end
        return at > 0 and _WORD.search(rest + text[at:]) is None

    def written(self, text: str) -> Iterator[tuple[int, int]]:
        """Where `text` holds stand-ins of this session, or what would be taken for one, in order.

        Also what would be so if the text were the source of a JSON string.
        """
        found = {(form.start, form.end) for form in self._forms.all(text)}
        if "\\" in text:
            unescaped = _ESCAPED.sub(lambda match: " " * len(match.group()), text)
            found |= {(form.start, form.end) for form in self._forms.all(unescaped)}
        at = 0
        for start, end in sorted(found):
            if start >= at:
                yield start, end
                at = end

    def restored(self, text: str) -> str:
        """`text` with every stand-in replaced by what it stands for."""
        return self.carry().push(text, last=True)

    def carry(self, *, least_depth: int = 0) -> Carry:
        """The same for a text that comes in pieces; `least_depth` is 1 for a JSON document."""
        return Carry(self._forms, least_depth=least_depth)

    def _heed(self, text: str) -> None:
        said = _WORD.findall(text.lower())
        self._said.update(said)
        self._beside |= _pairs(said)

    def _make(self, entity: str, value: str, draw: Draw) -> str | None:
        if entity in NAMES:
            return self._names.renamed(entity, value, draw)
        if entity == "EMAIL_ADDRESS":
            return self._names.email(value, draw)
        if entity in HOSTS:
            return self._site(value, draw)
        return MAKERS[entity](value, draw)

    def _site(self, value: str, draw: Draw) -> str | None:
        found = _HOST.fullmatch(value)
        domain = self._names.domain(found["host"]) if found is not None else None
        if found is None or domain is None:
            return None
        path = f"/{draw.between(1000, 9999)}" if found["more"].strip("/") else ""
        return f"{found['scheme'] or found['www'] or ''}{domain}{path}"

    def _is_fit(self, entity: str, made: str, value: str) -> bool:
        """Whether `made` is not taken, stands in no text, and begins with what can be found."""
        if made in self._given or made == value or not (made[0].isalnum() or made[0] == "+"):
            return False
        if entity not in MAKERS:
            meant = self._forms.meant(made)
            # What a name stands for follows from its words.
            return meant is None or meant.lower() == value.lower() or entity in NAMES
        pairs = _pairs(_WORD.findall(made.lower()))
        if _compact(made).lower().removeprefix("+") in self._said or (pairs and pairs <= self._beside):
            return False
        # The same number, written otherwise, has the same digits.
        meant = self._forms.meant(made) or self._forms.meant(_compact(made))
        return meant is None or _compact(meant) == _compact(value)

    def _is_free(self, word: str) -> bool:
        """Whether a coined word, alone or as a plural, is in no text and stands for nothing."""
        lowered = word.lower()
        said = lowered in self._said or f"{lowered}s" in self._said
        return not said and self._forms.meant(word) is None and self._forms.meant(f"{word}s") is None


def _host(site: str) -> str:
    found = _HOST.fullmatch(site)
    return found["host"] if found is not None else site


def _pairs(said: Sequence[str]) -> set[tuple[str, str]]:
    """Neighbours of which one is no mere word, as the groups of a number are."""
    return {(first, second) for first, second in pairwise(said) if not (first.isalpha() and second.isalpha())}


def _compact(written: str) -> str:
    """The letters and digits, with a leading plus."""
    return ("+" if written.startswith("+") else "") + "".join(filter(str.isalnum, written))
