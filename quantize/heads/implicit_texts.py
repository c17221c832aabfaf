"""Texts that identify somebody without a name, and texts that only look as if, generated with a fixed seed.

Each description is put into a request, and both come from pools that are split before anything is drawn: what is
held out shares no frame, event, role, place or trait with what is trained on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quantize.heads import impersonal_words as plain
from quantize.heads import implicit_words as words

SEED = 20
HELD_EVERY = 4
"""Every fourth entry of each pool is held out."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Generated texts: `identifying` ones, and `impersonal` ones of the same walks of life and the same requests."""

    identifying: list[str]
    impersonal: list[str]


def texts(count: int, *, held_out: bool, seed: int = SEED) -> Texts:
    """`count` of each kind. The same arguments give the same texts."""
    pools = _Pools(random.Random(seed + held_out), held_out=held_out)  # noqa: S311  # a draw of words, no secret
    return Texts(
        _distinct(count, pools.identifying),
        _distinct(count, pools.impersonal),
    )


def _distinct(count: int, draw: Callable[[], str]) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw()] = None
    return list(found)


def split(pool: str, *, held_out: bool) -> Sequence[str]:
    """The entries of a pool that are trained on, or those that are held out; of fewer than four, all."""
    entries = pool.split("|")
    if len(entries) < HELD_EVERY:
        return entries
    return [entry for place, entry in enumerate(entries) if (place % HELD_EVERY == HELD_EVERY - 1) == held_out]


class _Pools:
    """Draws from one side of the split."""

    def __init__(self, random_: random.Random, *, held_out: bool) -> None:
        self._random = random_
        self._held_out = held_out

    def of(self, pool: str) -> str:
        return self._random.choice(split(pool, held_out=self._held_out))

    def either(self, *ways: Callable[[], str]) -> str:
        return self._random.choice(ways)()

    def identifying(self) -> str:
        person, group = self.person, self.group
        return self.either(
            lambda: _sentence(self.of(words.FRAMES).format(self.either(person, person, person, group))),
            lambda: _sentence(self.of(words.FRAMES).format(self.either(person, person, person, group))),
            lambda: _sentence(f"{self.either(person, group)} {self.of(plain.OUTCOMES)}."),
            self.oneself,
            lambda: _sentence(self.of(words.FRAMES).format(self.project())),
        )

    def project(self) -> str:
        """Something that is known inside one organisation only."""
        product, firm, name = self.of(words.PRODUCTS), self.of(words.FIRMS), self.of(words.CODENAMES)
        return self._random.choice(
            (
                f"{firm}'s unannounced {product}",
                f"the {product} that {firm} has codenamed {name}",
                f"our undisclosed {product} {name}",
                f"the unreleased {product} of {firm}",
                f"{name}, the in-house {product} at {firm},",
                f"{firm}'s secret {product} {name}",
                f"the internal {product} project {name} at {firm}",
            )
        )

    def person(self) -> str:
        """A noun phrase that fits one person only."""
        walk = self._random.choice(words.WALKS)
        role, place, event = self.of(walk.roles), self.of(walk.places), self.of(walk.events)
        the = self._random.choice(("the", "the", "the", "our", "that", "my"))
        trait, kin, fact = self.of(words.TRAITS), self.of(words.KIN), self.of(words.KIN_FACTS)
        who = self._random.choice(("who", "who", "that"))
        return self._random.choice(
            (
                f"{the} {role} {who} {event}",
                f"{the} {role} {who} {event}",
                f"{the} {role} from {place} {who} {event}",
                f"{the} {trait} {role} {who} {event}",
                f"{the} {role}, the one who {event},",
                f"{the} {role} whose {kin} {fact}",
                f"{the} {role} whose {kin} {fact}",
                f"{the} {role} in {place} whose {kin} {fact}",
                f"the only {trait} {role} in {place}",
                f"the only {trait} {role} at {place}",
                f"the only {role} with {self.of(words.MARKS)}",
                f"the {self.of(words.SUPERLATIVES)} {role} in {place}",
                f"the first {trait} {role} of {place}",
                f"{the} {role} with {self.of(words.MARKS)}",
                f"{the} {role} {self.of(words.DEEDS)}",
                f"{the} {self._random.choice(('former', 'new', 'acting', 'previous'))} {role} of {place} {who} {event}",
                f"{the} {role} hired {self.of(words.TIMES)} for {place}",
            )
        )

    def group(self) -> str:
        """A noun phrase that fits one team, firm or household only."""
        walk = self._random.choice(words.WALKS)
        group, befell, place = self.of(walk.groups), self.of(walk.befell), self.of(walk.places)
        the = self._random.choice(("the", "the", "our", "that"))
        return self._random.choice(
            (
                f"{the} {group} that {befell}",
                f"{the} {group} which {befell} {self.of(words.TIMES)}",
                f"{the} {group} behind {place} that {befell}",
                f"the only {group} in {place}",
                f"the {group} whose {self.of(walk.roles)} {self.of(walk.events)}",
                f"{the} smallest {group} near {place}",
                f"the {group} run by the {self.of(words.TRAITS)} {self.of(walk.roles)}",
            )
        )

    def oneself(self) -> str:
        """The writer, described."""
        walk = self._random.choice(words.WALKS)
        role, place, event = self.of(walk.roles), self.of(walk.places), self.of(walk.events)
        return self._random.choice(
            (
                f"I am the only {self.of(words.TRAITS)} {role} in {place}. {self.of(plain.OWN_WISHES)}",
                f"As the only {role} in {place}, I would like advice. {self.of(plain.OWN_WISHES)}",
                f"{self.of(plain.OWN_WISHES)} I'm the {role} who {event}.",
                f"My {self.of(words.KIN)} is the {role} who {event}. {self.of(plain.OWN_WISHES)}",
            )
        )

    def impersonal(self) -> str:
        return self.either(
            lambda: _sentence(self.of(words.FRAMES).format(self.nobody())),
            lambda: _sentence(self.of(words.FRAMES).format(self.nobody())),
            lambda: _sentence(self.of(plain.TRADE_FRAMES).format(self.anybody())),
            lambda: _sentence(f"{self.either(self.nobody, self.anybody)} {self.of(plain.OUTCOMES)}."),
            self.rule,
            self.known,
            self.known,
            self.tale,
            lambda: _sentence(self.of(plain.CODE)),
        )

    def nobody(self) -> str:
        """A noun phrase that fits a thing, a named person, or somebody bare of description."""
        walk = self._random.choice(words.WALKS)
        return self._random.choice(
            (
                self.of(plain.THINGS),
                self.of(plain.THINGS),
                f"{self.of(plain.GIVEN)} {self.of(plain.FAMILY)}",
                f"{self.of(plain.GIVEN)} {self.of(plain.FAMILY)}, who {self.of(plain.PRESENT)},",
                f"{self._random.choice(('the', 'my', 'our'))} {self.of(walk.roles)}",
                f"{self._random.choice(('the', 'our'))} {self.of(walk.groups)}",
                f"{self._random.choice(('the', 'our'))} {self.of(walk.roles)}s",
                self.anybody(),
            )
        )

    def anybody(self) -> str:
        """A noun phrase that fits whoever is meant by it, and so nobody in particular."""
        walk = self._random.choice(words.WALKS)
        role = self.of(walk.roles)
        return self._random.choice(
            (
                f"a {role}",
                f"a {role} who {self.of(plain.PRESENT)}",
                f"any {role} who {self.of(plain.PRESENT)}",
                f"{role}s whose {self.of(words.KIN)} is ill",
                f"people who {self.of(plain.PLURAL)}",
                f"the {role} who {self.of(plain.PRESENT)}",
                f"every {self.of(walk.groups)} that {self.of(plain.PRESENT)}",
                f"a {self.of(words.TRAITS)} {role}",
            )
        )

    def rule(self) -> str:
        """What holds for whoever does something."""
        walk = self._random.choice(words.WALKS)
        role, present = self.of(walk.roles), self.of(plain.PRESENT)
        return self.of(plain.RULES).format(role=role, present=present, group=self.of(walk.groups))

    def known(self) -> str:
        """What stands in an encyclopaedia."""
        return self.of(plain.KNOWN).format(
            first=self.of(plain.FIRSTS), deed=self.of(plain.PUBLIC_DEEDS), who=self.of(plain.PUBLIC_ROLES)
        )

    def tale(self) -> str:
        """What never happened."""
        walk = self._random.choice(words.WALKS)
        return self.of(plain.TALES).format(role=self.of(walk.roles), event=self.of(walk.events))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
