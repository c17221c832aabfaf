"""An escalation on the wire: what the device sends to the bridge and what comes back, as JSON.

The same encoding is what the outbox keeps, so a queued escalation is sent exactly as it was accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cloud_bridge.protocol.conversation import (
    Conversation,
    Message,
    Part,
    ResponseFormat,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from cloud_bridge.protocol.events import (
    ChoiceEvent,
    Event,
    Finish,
    OtherChoice,
    ReasoningDelta,
    Served,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import InvalidRequest
from cloud_bridge.protocol.residency import Residency, regions

VERSION = 1
VERSION_WITH_RESIDENCY = 2
"""Only where a residency is set: a bridge that does not know of it must refuse, and not look past it."""


@dataclass(frozen=True, slots=True)
class Escalation:
    """A masked conversation on its way to a provider.

    `idempotency_key` names the call: the bridge makes at most one provider call for it. `traceparent` is
    the W3C Trace Context header. `model` asks for one provider model by id; None leaves the choice. `residency`:
    only providers in one of these regions may be asked; None: any.
    """

    masked: Masked
    idempotency_key: str
    session_id: str
    traceparent: str
    model: str | None = None
    deadline_ms: int | None = None
    max_cost_usd: float | None = None
    residency: Residency | None = None


@dataclass(frozen=True, slots=True)
class Departure:
    """Bytes that are about to leave this device: to whom, where, and exactly what."""

    provider: str
    url: str
    body: bytes


def encode_escalation(escalation: Escalation) -> bytes:
    """Canonical JSON: equal escalations give equal bytes."""
    document: dict[str, Any] = {
        "version": VERSION if escalation.residency is None else VERSION_WITH_RESIDENCY,
        "idempotency_key": escalation.idempotency_key,
        "session_id": escalation.session_id,
        "traceparent": escalation.traceparent,
        "model": escalation.model,
        "deadline_ms": escalation.deadline_ms,
        "max_cost_usd": escalation.max_cost_usd,
        "entities": dict(sorted(escalation.masked.entities.items())),
        "conversation": conversation_to_json(escalation.masked.conversation),
    }
    if escalation.residency is not None:
        document["residency"] = list(escalation.residency)
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def decode_escalation(body: bytes) -> Escalation:
    """The inverse of `encode_escalation`. Raises InvalidRequest on anything else."""
    try:
        document = json.loads(body)
        version = document["version"]
        if version not in {VERSION, VERSION_WITH_RESIDENCY}:
            raise InvalidRequest(
                f"Envelope version {version!r} is not supported.",
                code="unsupported_version",
                hint="Upgrade the older of device and bridge.",
            )
        return Escalation(
            masked=Masked(conversation_from_json(document["conversation"]), document["entities"]),
            idempotency_key=str(document["idempotency_key"]),
            session_id=str(document["session_id"]),
            traceparent=str(document["traceparent"]),
            model=document["model"],
            deadline_ms=document["deadline_ms"],
            max_cost_usd=document["max_cost_usd"],
            residency=None if version == VERSION else _residency(document["residency"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRequest(
            "The escalation is malformed.", code="malformed_envelope", hint="Send what `encode_escalation` makes."
        ) from error


def _residency(value: Any) -> Residency:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError("residency")
    return regions(value)


def conversation_to_json(conversation: Conversation) -> dict[str, Any]:
    """A JSON value that `conversation_from_json` reads back."""
    return {
        "messages": [
            {"role": message.role, "name": message.name, "parts": [_part_to_json(part) for part in message.parts]}
            for message in conversation.messages
        ],
        "tools": [_fields(tool) for tool in conversation.tools],
        "tool_choice": _fields(conversation.tool_choice),
        "response_format": _fields(conversation.response_format),
        "sampling": _sampling_to_json(conversation.sampling),
    }


def conversation_from_json(document: Mapping[str, Any]) -> Conversation:
    """The inverse of `conversation_to_json`. Raises ValueError, KeyError or TypeError on anything else."""
    sampling = dict(document["sampling"])
    sampling["stop"] = tuple(sampling["stop"])
    return Conversation(
        messages=tuple(
            Message(
                role=message["role"],
                name=message["name"],
                parts=tuple(_part_from_json(part) for part in message["parts"]),
            )
            for message in document["messages"]
        ),
        tools=tuple(Tool(**tool) for tool in document["tools"]),
        tool_choice=ToolChoice(**document["tool_choice"]),
        response_format=ResponseFormat(**document["response_format"]),
        sampling=Sampling(**sampling),
    )


def _fields(value: Part | Tool | ToolChoice | ResponseFormat | Sampling) -> dict[str, Any]:
    """As `asdict` gives them, which would copy every schema with all that is in it."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _sampling_to_json(sampling: Sampling) -> dict[str, Any]:
    fields = _fields(sampling)
    if sampling.n == 1:
        # One answer is written as before there could be several: older bridges read it, and its hash is the same.
        del fields["n"]
    return fields


def _part_to_json(part: Part) -> dict[str, Any]:
    return {"type": _PART_NAMES[type(part)], **_fields(part)}


def _part_from_json(document: Mapping[str, Any]) -> Part:
    fields = dict(document)
    return _PARTS[fields.pop("type")](**fields)


_PARTS: dict[str, type[Text | ToolCall | ToolResult]] = {
    "text": Text,
    "tool_call": ToolCall,
    "tool_result": ToolResult,
}
_PART_NAMES: dict[type[Part], str] = {cls: name for name, cls in _PARTS.items()}


def event_to_json(event: Event) -> dict[str, Any]:
    """A JSON value that `event_from_json` reads back."""
    if isinstance(event, OtherChoice):
        return {"type": _OTHER_CHOICE, "index": event.index, "event": event_to_json(event.event)}
    fields = {"type": _EVENT_NAMES[type(event)], **asdict(event)}
    if isinstance(event, ToolCallDelta) and not event.logprobs:
        del fields["logprobs"]  # older devices do not know it
    return fields


def event_from_json(document: Mapping[str, Any]) -> Event:
    """The inverse of `event_to_json`. Raises ValueError, KeyError or TypeError on anything else."""
    fields = dict(document)
    kind = fields.pop("type")
    if kind == _OTHER_CHOICE:
        return _other_choice_from_json(fields)
    cls = _EVENTS[kind]
    if cls is TextDelta:
        return TextDelta(fields["text"], _logprobs_from_json(fields["logprobs"]))
    if cls is ToolCallDelta:
        return ToolCallDelta(**{**fields, "logprobs": _logprobs_from_json(fields.get("logprobs", ()))})
    if cls is Finish:
        return Finish(fields["reason"], Usage(**fields["usage"]))
    return cls(**fields)


def _other_choice_from_json(fields: Mapping[str, Any]) -> OtherChoice:
    index, event = fields["index"], event_from_json(fields["event"])
    if type(index) is not int or index < 1:
        raise ValueError("index")
    if isinstance(event, OtherChoice | Served):
        raise TypeError(type(event).__name__)
    return OtherChoice(index, event)


def _logprobs_from_json(items: Iterable[Mapping[str, Any]]) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(item["token"], item["logprob"], tuple((token, value) for token, value in item["top"]))
        for item in items
    )


_OTHER_CHOICE = "other_choice"
_EVENTS: dict[str, type[ChoiceEvent | Served]] = {
    "text": TextDelta,
    "reasoning": ReasoningDelta,
    "tool_call": ToolCallDelta,
    "finish": Finish,
    "served": Served,
}
_EVENT_NAMES: dict[type[ChoiceEvent | Served], str] = {cls: name for name, cls in _EVENTS.items()}
