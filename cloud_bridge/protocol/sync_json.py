"""The messages of reconciliation as JSON.

Each decoder raises InvalidRequest: code "unsupported_version" for another version than this one, "malformed_sync"
with the path in `param` for anything else that its encoder does not make. Unknown fields are ignored.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from cloud_bridge.protocol.fields import Fields, as_text, invalid
from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.sync import (
    BOX_KEY_BYTES,
    MAX_GONE,
    MAX_KEYS,
    MAX_MEMBERS,
    MAX_NOTE_BYTES,
    MAX_NUMBER,
    MAX_ORIGINS,
    MAX_SEALED_BYTES,
    MAX_SEGMENTS,
    NAME,
    ORIGIN,
    SUBJECT,
    TOKEN_HASH,
    Box,
    Exchange,
    Exchanged,
    Found,
    Invite,
    Join,
    Joined,
    KeyObject,
    Leave,
    Member,
    Remove,
    Request,
    Segment,
    malformed,
)

VERSION = 1
_LAST_SECOND = 1e11

T = TypeVar("T")


def encode_request(request: Request) -> bytes:
    """Canonical JSON: equal requests give equal bytes."""
    fields = {name: _plain(getattr(request, name)) for name in request.__slots__}
    return _dumps({"do": type(request).__name__.lower(), "version": VERSION, **fields})


def decode_request(body: bytes) -> Request:
    """The inverse of `encode_request`."""
    with _strict():
        fields = _versioned(body)
        return _REQUESTS[fields.required_choice("do", _REQUESTS)](fields)


def encode_exchanged(answer: Exchanged) -> bytes:
    """The answer to an Exchange."""
    fields = {name: _plain(getattr(answer, name)) for name in answer.__slots__}
    return _dumps({"version": VERSION, **fields})


def decode_exchanged(body: bytes) -> Exchanged:
    """The inverse of `encode_exchanged`."""
    with _strict():
        fields = _versioned(body)
        box = fields.nested("box")
        return Exchanged(
            have=_have(fields),
            segments=tuple(_segment(item) for item in fields.objects("segments")),
            keys=tuple(_key_object(item) for item in fields.objects("keys")),
            members=_members(fields),
            more=_required(fields.flag("more"), fields, "more"),
            box=None if box is None else Box(_integer(box, "epoch"), _sealed(box, "sealed", MAX_NOTE_BYTES)),
        )


def encode_joined(answer: Joined) -> bytes:
    """The answer to a Join."""
    return _dumps({"version": VERSION, "sealed": _plain(answer.sealed), "members": _plain(answer.members)})


def decode_joined(body: bytes) -> Joined:
    """The inverse of `encode_joined`."""
    with _strict():
        fields = _versioned(body)
        return Joined(_sealed(fields, "sealed", MAX_NOTE_BYTES), _members(fields))


def encode_members(members: tuple[Member, ...]) -> bytes:
    """The answer to all other requests."""
    return _dumps({"version": VERSION, "members": _plain(members)})


def decode_members(body: bytes) -> tuple[Member, ...]:
    """The inverse of `encode_members`."""
    with _strict():
        return _members(_versioned(body))


def _plain(value: Any) -> Any:
    """`value` as JSON has it: bytes as base64, dataclasses as objects."""
    match value:
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case tuple():
            return [_plain(item) for item in value]
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
        case Segment() | KeyObject() | Member() | Box():
            return {name: _plain(getattr(value, name)) for name in value.__slots__}
        case _:
            return value


def _dumps(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


@contextmanager
def _strict() -> Iterator[None]:
    try:
        yield
    except InvalidRequest as error:
        if error.code in {"malformed_sync", "unsupported_version"}:
            raise
        raise malformed(error.param) from error
    except (ValueError, RecursionError) as error:
        raise malformed(None) from error


def _versioned(body: bytes) -> Fields:
    fields = Fields(json.loads(body))
    if (version := fields.require("version")) != VERSION or isinstance(version, bool):
        raise InvalidRequest(
            "That version of reconciliation is not supported.",
            code="unsupported_version",
            hint="Upgrade the older of device and bridge.",
        )
    return fields


def _exchange(fields: Fields) -> Exchange:
    return Exchange(
        group=_matching(fields, "group", NAME),
        origin=_matching(fields, "origin", ORIGIN),
        have=_have(fields),
        segments=_some(fields, "segments", _segment, MAX_SEGMENTS),
        keys=_some(fields, "keys", _key_object, MAX_KEYS),
        gone=_matching_all(fields, "gone", SUBJECT, MAX_GONE),
        max_bytes=_integer(fields, "max_bytes"),
    )


def _found(fields: Fields) -> Found:
    return Found(
        _matching(fields, "group", NAME),
        _matching(fields, "origin", ORIGIN),
        _box_key(fields),
        _sealed(fields, "card", MAX_NOTE_BYTES),
    )


def _invite(fields: Fields) -> Invite:
    return Invite(
        _matching(fields, "group", NAME),
        _matching(fields, "token_hash", TOKEN_HASH),
        _sealed(fields, "sealed", MAX_NOTE_BYTES),
        _seconds(fields, "expires_at"),
    )


def _join(fields: Fields) -> Join:
    return Join(
        _matching(fields, "group", NAME),
        _matching(fields, "token", NAME),
        _matching(fields, "origin", ORIGIN),
        _box_key(fields),
        _sealed(fields, "card", MAX_NOTE_BYTES, empty=True),
    )


def _remove(fields: Fields) -> Remove:
    boxes = fields.required_nested("boxes")
    return Remove(
        _matching(fields, "group", NAME),
        _matching(fields, "member", ORIGIN),
        _integer(fields, "epoch", 1),
        {origin: _sealed(boxes, origin, MAX_NOTE_BYTES) for origin in _origins(fields, "boxes", MAX_MEMBERS)},
        _matching_all(fields, "put_out", ORIGIN, MAX_MEMBERS),
    )


_REQUESTS: Mapping[str, Callable[[Fields], Request]] = {
    "exchange": _exchange,
    "found": _found,
    "invite": _invite,
    "join": _join,
    "remove": _remove,
    "leave": lambda fields: Leave(_matching(fields, "group", NAME)),
}


def _segment(fields: Fields) -> Segment:
    after = _integer(fields, "after")
    return Segment(
        origin=_matching(fields, "origin", ORIGIN),
        after=after,
        through=_integer(fields, "through", after + 1),
        epoch=_integer(fields, "epoch"),
        keys=_matching_all(fields, "keys", NAME, MAX_KEYS),
        sealed=_sealed(fields, "sealed", MAX_SEALED_BYTES),
    )


def _key_object(fields: Fields) -> KeyObject:
    return KeyObject(
        _matching(fields, "name", NAME),
        _matching(fields, "subject", SUBJECT),
        _integer(fields, "epoch"),
        _sealed(fields, "sealed", MAX_NOTE_BYTES),
    )


def _member(fields: Fields) -> Member:
    return Member(
        _matching(fields, "origin", ORIGIN),
        _box_key(fields),
        _sealed(fields, "card", MAX_NOTE_BYTES, empty=True),
        _seconds(fields, "joined_at"),
        _seconds(fields, "last_seen"),
    )


def _members(fields: Fields) -> tuple[Member, ...]:
    fields.require("members")
    return _some(fields, "members", _member, MAX_MEMBERS)


def _have(fields: Fields) -> dict[str, int]:
    have = fields.required_nested("have")
    return {origin: _integer(have, origin) for origin in _origins(fields, "have", MAX_ORIGINS)}


def _origins(fields: Fields, key: str, most: int) -> list[str]:
    """The keys of an object of origins."""
    origins = list(fields.require(key))
    if len(origins) > most or not all(ORIGIN.fullmatch(origin) for origin in origins):
        raise malformed(fields.at(key))
    return origins


def _some(fields: Fields, key: str, read: Callable[[Fields], T], most: int) -> tuple[T, ...]:
    if len(fields.array(key)) > most:
        raise invalid(fields.at(key), f"holds more than {most}")
    return tuple(read(item) for item in fields.objects(key))


def _matching_all(fields: Fields, key: str, pattern: re.Pattern[str], most: int) -> tuple[str, ...]:
    texts = fields.texts(key, most=most)
    if not all(pattern.fullmatch(text) for text in texts):
        raise malformed(fields.at(key))
    return texts


def _matching(fields: Fields, key: str, pattern: re.Pattern[str]) -> str:
    text = fields.required_text(key)
    if not pattern.fullmatch(text):
        raise malformed(fields.at(key))
    return text


def _integer(fields: Fields, key: str, low: int = 0) -> int:
    return _required(fields.integer(key, low, MAX_NUMBER), fields, key)


def _seconds(fields: Fields, key: str) -> float:
    return _required(fields.number(key, 0, _LAST_SECOND), fields, key)


def _required(value: T | None, fields: Fields, key: str) -> T:
    if value is None:
        raise malformed(fields.at(key))
    return value


def _box_key(fields: Fields) -> bytes:
    key = _sealed(fields, "box_key", BOX_KEY_BYTES)
    if len(key) != BOX_KEY_BYTES:
        raise malformed(fields.at("box_key"))
    return key


def _sealed(fields: Fields, key: str, most: int, *, empty: bool = False) -> bytes:
    """Up to `most` bytes. `empty`: there may be none."""
    text = as_text(fields.raw(key) or "", fields.at(key)) if empty else fields.required_text(key)
    if not (text or empty) or len(text) > (most + 2) // 3 * 4:
        raise malformed(fields.at(key))
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise malformed(fields.at(key)) from error
