"""Requests that carry a text on every surface there is, and whether a value shows in the bytes that leave. Pure."""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote, quote_plus

from cloud_bridge.protocol.conversation import Conversation, Message, Part, Role, Text, Tool, ToolCall, ToolResult


class Payload(Protocol):
    """A generated text, and the values that were planted in it, as they are written there, each with its kind."""

    @property
    def text(self) -> str:
        """The whole."""

    @property
    def values(self) -> Sequence[str]:
        """What must not leave."""

    @property
    def kinds(self) -> Sequence[str]:
        """What each value is, for counting."""


def _said(role: Role, *parts: Part) -> Conversation:
    return Conversation((Message(role, parts), Message("user", (Text("Please go on."),))))


def _called(arguments: object) -> Conversation:
    call = ToolCall("call_1", "note", json.dumps(arguments, ensure_ascii=False))
    return Conversation(
        (
            Message("user", (Text("Note that."),)),
            Message("assistant", (call,)),
            Message("tool", (ToolResult("call_1", "done"),)),
        )
    )


def _answered(content: str) -> Conversation:
    return Conversation(
        (
            Message("user", (Text("Look it up."),)),
            Message("assistant", (ToolCall("call_1", "look_up", "{}"),)),
            Message("tool", (ToolResult("call_1", content),)),
        )
    )


def _described(text: str) -> Conversation:
    tool = Tool("look_up", description=text, parameters={"type": "object", "properties": {}})
    return Conversation((Message("user", (Text("Look it up."),)),), tools=(tool,))


SURFACES: Mapping[str, Callable[[Payload], Conversation]] = {
    "text": lambda payload: _said("user", Text(payload.text)),
    "system": lambda payload: _said("system", Text(payload.text)),
    "earlier answer": lambda payload: _said("assistant", Text(payload.text)),
    "caption": lambda payload: _said("user", Text("What does it show?"), Text(f"[image: {payload.text}]")),
    "file name": lambda payload: _called({"paths": [f"scans/{value}.pdf" for value in payload.values]}),
    "argument": lambda payload: _called({"note": payload.text}),
    "JSON in an argument": lambda payload: _called({"body": json.dumps({"notes": [payload.text]})}),
    "key": lambda payload: _called(dict.fromkeys(payload.values, "seen")),
    "result": lambda payload: _answered(payload.text),
    "JSON result": lambda payload: _answered(json.dumps([{"note": payload.text}])),
    "description": lambda payload: _described(payload.text),
}
"""Where a text can stand in a request. File names and keys hold the values alone, without the text around them."""


def shows(value: str, body: bytes) -> bool:
    """Whether `value` stands in `body`: as it is, JSON-escaped once or twice, URL-encoded, in base64, full-width,
    or without the invisible characters in it.
    """
    text = body.decode("utf-8", "replace")
    return any(form in text for form in set(_forms(value))) or _plain(value) in _plain(text)


def _forms(value: str) -> Iterator[str]:
    yield value
    for once in _escaped(value):
        yield from (once, *_escaped(once))
    yield from (quote(value), quote(value, safe=""), quote_plus(value))
    raw = value.encode("utf-8", "surrogatepass")
    for before in range(3):  # wherever the value stands in what is encoded: its whole groups of three bytes
        skipped = -before % 3
        whole = raw[skipped : len(raw) - (len(raw) - skipped) % 3]
        if len(whole) >= _BASE64_BYTES:
            yield base64.b64encode(whole).decode()
            yield base64.urlsafe_b64encode(whole).decode()


def _escaped(text: str) -> Iterator[str]:
    """As it stands in a JSON string, spelled with all characters and with ASCII only."""
    yield from (json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True))


_BASE64_BYTES = 6
"""Shorter pieces would be found by chance."""


def _plain(text: str) -> str:
    """Without what nobody sees (soft hyphens, joiners), and full-width characters as the usual ones."""
    seen = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", seen).replace("\\n", "\n").replace('\\"', '"')
