"""JSON schemas that an answer is held to: every keyword is kept or refused by name, never ignored.

llguidance enforces them while the answer is written. It passes over keywords that it does not know, takes options
from the schema itself (`x-guidance`), and rounds large numbers; so a schema is checked here first, and only what
was checked is passed on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from cloud_bridge.protocol.problems import InvalidRequest

Json = Any  # a value as json.loads returns it

ENFORCED = frozenset(
    {
        *("type", "const", "enum", "anyOf", "oneOf", "allOf", "$ref"),
        *("items", "additionalItems", "prefixItems", "minItems", "maxItems"),
        *("properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"),
        *("minLength", "maxLength", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    }
)
"""Keywords that an answer is held to."""

ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment"),
        *("contentEncoding", "contentMediaType", "contentSchema", "discriminator", "$schema", "$id", "$vocabulary"),
    }
)
"""Keywords that say nothing about which values fit."""

_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_IN_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_INSIDE = frozenset({"items", "additionalItems", "additionalProperties"})
_COMBINING = frozenset({"anyOf", "oneOf", "$ref", "enum", "const"})
_LISTED = frozenset({"type", "properties", "required", "$defs", "definitions", "$anchor"})
_EXACT = 2**53  # beyond this, neighbours are one and the same 64-bit float, which is what llguidance reckons in
_MAX_STEPS = 100_000  # of `multipleOf`: the automaton that counts them grows with the number
_MAX_REPEATS = 10_000
_MAX_DIGITS = 12
_MAX_VALUES = 2_000  # of `enum`, but for strings, which are cheap
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def checked_schema(schema: Mapping[str, Json], param: str, root: str = "#") -> dict[str, Json]:
    """The schema with its keywords in the order in which they came, and without its annotations.

    Objects whose properties are listed are closed where the schema says nothing of others: what fits then fits
    the schema as it came, too, and a small model does not go on inventing properties.
    `root` is where it will stand: its references are moved along.

    Raises InvalidRequest code "unsupported_schema" with `param`; the message names the keyword and where it
    stands, by keywords and numbers only: names of properties are the user's own words.
    """
    check = _Check(param, root)
    try:
        checked = check.schema(schema, "", "#")
    except RecursionError as error:
        raise unsupported_schema(param, "is nested too deeply") from error
    check.finish()
    assert isinstance(checked, dict)  # noqa: S101 - a mapping gives one; this tells the type checker
    return checked


def unsupported_schema(param: str, complaint: str) -> InvalidRequest:
    """A schema cannot be used: it `complaint`."""
    return InvalidRequest(
        f"The JSON schema in '{param}' {complaint}.",
        code="unsupported_schema",
        hint="Simplify the schema, or ask with `model: cloud`.",
        param=param.partition("[")[0],
    )


@dataclass(slots=True)
class _Check:
    """One walk over one document."""

    param: str
    root: str
    pointers: set[str] = field(default_factory=set)
    anchors: set[str] = field(default_factory=set)
    references: list[tuple[str, str]] = field(default_factory=list)
    steps: list[Fraction] = field(default_factory=list)
    values: int = 0
    open_objects: list[dict[str, Json]] = field(default_factory=list)
    combines: bool = False

    def schema(self, value: Json, place: str, pointer: str) -> Json:
        """`place` is for people, and has no names in it; `pointer` is what a `$ref` would say."""
        self.pointers.add(pointer)
        if isinstance(value, bool):
            return value
        if not isinstance(value, Mapping):
            raise self.refused("", place, "is neither an object nor a boolean")
        kept: dict[str, Json] = {}
        for key, item in value.items():
            if key in ENFORCED or key in {"$defs", "definitions", "$anchor"}:
                kept[key] = self._keyword(key, item, place, pointer)
            elif key == "$id" and place:
                raise self.refused(key, place, "is known at the top only")
            elif key not in ANNOTATIONS and not (key.startswith("x-") and key != "x-guidance"):
                raise self.refused(key if _is_keyword(key) else "", place, "is not supported")
        self._check_counts(kept, place)
        # A closed object would forbid what the schema that it is combined with demands.
        self.combines |= "allOf" in kept or (not _COMBINING.isdisjoint(kept) and len(kept.keys() & ENFORCED) > 1)
        if kept.get("properties") and kept.keys() <= _LISTED and _required(kept) <= kept["properties"].keys():
            self.open_objects.append(kept)
        return kept

    def finish(self) -> None:
        """What can only be said of the whole."""
        for reference, place in self.references:
            if unquote(reference) not in self.pointers and reference.removeprefix("#") not in self.anchors:
                raise self.refused("$ref", place, "leads to no schema within this one")
        if self.steps and _common_multiple(self.steps) > _MAX_STEPS:
            raise self.refused("multipleOf", "", "has too many digits")
        if not self.combines:
            for kept in self.open_objects:
                kept["additionalProperties"] = False

    def refused(self, keyword: str, place: str, complaint: str) -> InvalidRequest:
        """The problem with a keyword."""
        named = f"keyword ('{keyword}')" if keyword else "part"
        where = f" at '{place}'" if place else ""
        return unsupported_schema(self.param, f"has a {named}{where} that {complaint}")

    def _keyword(self, key: str, value: Json, place: str, pointer: str) -> Json:
        here = f"{place}.{key}" if place else key
        below = f"{pointer}/{key}"
        if key in _BY_NAME:
            if not isinstance(value, Mapping):
                raise self.refused(key, place, "must be an object")
            return {
                name: self.schema(item, f"{here}[{index}]", f"{below}/{_escaped(name)}")
                for index, (name, item) in enumerate(value.items())
            }
        if key in _IN_LISTS or (key == "items" and isinstance(value, list)):
            if not isinstance(value, list) or not value:
                raise self.refused(key, place, "must be a list with something in it")
            return [self.schema(item, f"{here}[{index}]", f"{below}/{index}") for index, item in enumerate(value)]
        if key in _INSIDE:
            return self.schema(value, here, below)
        return self._plain(key, value, place)

    def _plain(self, key: str, value: Json, place: str) -> Json:
        if key == "$ref":
            if not isinstance(value, str) or not value.startswith("#"):
                raise self.refused(key, place, "leads out of the schema")
            self.references.append((value, place))
            return self.root + value[1:] if value == "#" or value.startswith("#/") else value
        if key == "$anchor":
            self.anchors.add(str(value))
        elif key == "pattern" and _repeats(str(value)) > _MAX_REPEATS:
            raise self.refused(key, place, "repeats too often")
        elif key == "enum" and isinstance(value, list):
            self.values += sum(not isinstance(item, str) for item in value)
            if self.values > _MAX_VALUES:
                raise self.refused(key, place, "has too many values")
        elif key == "multipleOf":
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _EXACT:
                raise self.refused(key, place, "must be a number above 0")
            self.steps.append(Fraction(str(value)))
        if not all(_is_exact(number) for number in _numbers(value)):
            raise self.refused(key, place, "has a number of more digits than can be kept apart")
        return value

    def _check_counts(self, schema: Mapping[str, Json], place: str) -> None:
        """A name that is in no `properties` may come twice with llguidance, and would count twice."""
        least, names = schema.get("minProperties", 0), _required(schema)
        if isinstance(least, int) and least > len(names) + 1:
            raise self.refused("minProperties", place, "demands properties that 'required' does not name")
        for pattern in schema.get("patternProperties", {}):
            if _repeats(pattern) > _MAX_REPEATS:
                raise self.refused("patternProperties", place, "repeats too often")


def _required(schema: Mapping[str, Json]) -> set[str]:
    names = schema.get("required")
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _is_keyword(key: str) -> bool:
    """Whether a name may be shown: it looks like a keyword, not like a person's words."""
    return re.fullmatch(r"[$A-Za-z][A-Za-z-]{0,40}", key) is not None


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _numbers(value: Json) -> Iterator[int | float]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _is_exact(number: float) -> bool:
    # Compared as it is: a number of 400 digits has no 64-bit float. Infinity and NaN are not below anything, either.
    return abs(number) <= _EXACT


def _common_multiple(steps: list[Fraction]) -> int:
    """The least common multiple of all, counted in units of the last decimal place."""
    scale = math.lcm(*(step.denominator for step in steps))
    return math.lcm(*(int(step * scale) for step in steps))


def _count(digits: str) -> int:
    """Python refuses to read numbers of thousands of digits; whatever is beyond all bounds may be called so."""
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def _repeats(pattern: str) -> int:
    """How often the innermost part of a pattern may come at most, as its counts say; groups multiply."""
    most, groups, last, at = 1, [1], 1, 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            last, at = 1, at + 2
            continue
        found = _REPEAT.match(pattern, at)
        if found:
            last *= max(_count(digits) for digits in found.groups() if digits)
            groups[-1] = max(groups[-1], last)
            most, at = max(most, last), found.end()
            continue
        if character == "(":
            groups.append(1)
        elif character == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] = max(groups[-1], last)
        else:
            last = 1
        at += 1
    return most
