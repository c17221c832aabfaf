"""Reading a client's JSON object field by field, so that every complaint names the path of what is wrong.

`null` means absent, as in OpenAI's published shapes. Unknown fields are ignored. No message quotes a value.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from cloud_bridge.protocol.problems import InvalidRequest

Json = Any  # a value as json.loads returns it

MAX_DEPTH = 64
"""Levels of a document that is taken as it is; whoever walks it later may do so recursively."""


class Fields:
    """A JSON object and the path that leads to it. Every reader raises InvalidRequest with `param` = the path."""

    __slots__ = ("_fields", "path")

    def __init__(self, value: Json, path: str = "") -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        self._fields: dict[str, Json] = value
        self.path = path

    def at(self, key: str) -> str:
        """The path of a field of this object, as `messages[0].content`."""
        return f"{self.path}.{key}" if self.path else key

    def raw(self, key: str) -> Json:
        """The value as it came; None where it is absent."""
        return self._fields.get(key)

    def require(self, key: str) -> Json:
        """The value as it came; a problem where it is absent."""
        value = self._fields.get(key)
        if value is None:
            raise missing(self.at(key))
        return value

    def text(self, key: str) -> str | None:
        """A string, or None where it is absent."""
        value = self._fields.get(key)
        return None if value is None else as_text(value, self.at(key))

    def required_text(self, key: str) -> str:
        """A string that must be there; it may be empty."""
        return as_text(self.require(key), self.at(key))

    def choice(self, key: str, allowed: Collection[str]) -> str | None:
        """One of the allowed strings, or None where it is absent."""
        value = self.text(key)
        if value is not None and value not in allowed:
            raise unsupported(self.at(key), allowed)
        return value

    def required_choice(self, key: str, allowed: Collection[str]) -> str:
        """One of the allowed strings."""
        self.require(key)
        value = self.choice(key, allowed)
        assert value is not None  # noqa: S101 - `require` has seen to it; this tells the type checker
        return value

    def flag(self, key: str) -> bool | None:
        """A boolean, or None where it is absent."""
        value = self._fields.get(key)
        if value is not None and not isinstance(value, bool):
            raise wrong_type(self.at(key), "a boolean", value)
        return value

    def number(self, key: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`, both included, or None where it is absent."""
        value = self._fields.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(self.at(key), "a number", value)
        if not low <= value <= high:  # NaN fails this, too
            raise invalid(self.at(key), f"must be from {low:g} to {high:g}")
        return float(value)

    def integer(self, key: str, low: int, high: int | None = None) -> int | None:
        """An integer of at least `low` and at most `high`, or None where it is absent."""
        value = self._fields.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(self.at(key), "an integer", value)
        if value < low or (high is not None and value > high):
            limit = f"must be at least {low}" if high is None else f"must be from {low} to {high}"
            raise invalid(self.at(key), limit)
        return value

    def nested(self, key: str) -> Fields | None:
        """An object to be read in turn, or None where it is absent."""
        value = self._fields.get(key)
        return None if value is None else Fields(value, self.at(key))

    def required_nested(self, key: str) -> Fields:
        """An object to be read in turn."""
        return Fields(self.require(key), self.at(key))

    def document(self, key: str) -> dict[str, Json] | None:
        """An object that is taken as it is, such as a JSON schema, or None where it is absent."""
        value = self._fields.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise wrong_type(self.at(key), "an object", value)
        _check_depth(value, self.at(key), MAX_DEPTH)
        _check_encodable(json.dumps(value, ensure_ascii=False), self.at(key))
        return value

    def array(self, key: str) -> list[Json]:
        """An array as it came; empty where it is absent."""
        value = self._fields.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise wrong_type(self.at(key), "an array", value)
        return value

    def objects(self, key: str) -> Iterator[Fields]:
        """The objects of an array, each to be read in turn; none where the array is absent."""
        for index, value in enumerate(self.array(key)):
            yield Fields(value, f"{self.at(key)}[{index}]")

    def texts(self, key: str, *, most: int) -> tuple[str, ...]:
        """Up to `most` strings; none where the array is absent."""
        values = self.array(key)
        if len(values) > most:
            raise invalid(self.at(key), f"holds {len(values)} items; at most {most} are allowed")
        return tuple(as_text(value, f"{self.at(key)}[{index}]") for index, value in enumerate(values))


def as_text(value: Json, path: str) -> str:
    """`value`, which must be a string that can be written as UTF-8."""
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    _check_encodable(value, path)
    return value


def _check_depth(value: Json, path: str, left: int) -> None:
    if left == 0:
        raise invalid(path, f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, path, left - 1)


def _check_encodable(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise invalid(path, "holds half a surrogate pair, which is no character") from error


def missing(path: str) -> InvalidRequest:
    """The field at `path` must be there."""
    return InvalidRequest(
        f"'{path}' is missing.",
        code="missing_required_parameter",
        hint=f"Send '{path}' in the request.",
        param=path,
    )


def invalid(path: str, complaint: str) -> InvalidRequest:
    """The value at `path` has the right type and is not acceptable: it `complaint`."""
    return InvalidRequest(
        f"'{path}' {complaint}.", code="invalid_value", hint=f"Correct '{path}' and send again.", param=path
    )


def unsupported(path: str, allowed: Collection[str]) -> InvalidRequest:
    """The value at `path` is none of those that are understood."""
    return InvalidRequest(
        f"'{path}' has a value that is not supported.",
        code="unsupported_value",
        hint=f"Supported: {', '.join(repr(value) for value in sorted(allowed))}.",
        param=path,
    )


_TYPE_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}


def wrong_type(path: str, expected: str, value: Json) -> InvalidRequest:
    """The value at `path` has another type than `expected`."""
    got = "null" if value is None else _TYPE_NAMES.get(type(value), "a number")
    name = f"'{path}'" if path else "The body"
    return InvalidRequest(
        f"{name} must be {expected}, not {got}.",
        code="invalid_type",
        hint=f"Send {expected}.",
        param=path or None,
    )
