"""Events on their way between a person's devices: what is to be told of them, and what was heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import conversation_from_json, conversation_to_json
from cloud_bridge.protocol.masked import Masked
from edge_agent.state import bodies
from edge_agent.state.event import Event
from edge_agent.state.history import Message
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.sync.segments import SharedEvent, damaged

_EMPTY = conversation_to_json(Conversation(()))


def conversation_of(messages: Sequence[Message]) -> Conversation:
    """The messages alone. Raises ValueError, KeyError, TypeError or AttributeError where they are none."""
    return conversation_from_json({**_EMPTY, "messages": messages})


@dataclass(frozen=True, slots=True)
class Said:
    """An event to be told, with its body in the clear: to be masked before it goes anywhere.

    `escalation`: the masked envelope that the same request was queued or sent in, where it was. `size`: the body's
    bytes.
    """

    event: Event
    document: Mapping[str, Any] | None = field(repr=False)
    escalation: bytes | None = field(default=None, repr=False)
    size: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """The body of an event as the group may hear it: masked, with what some of its placeholders stand for.

    `withheld`: why there is none; the others are told that there was something.
    """

    masked: Masked | None
    mapping: Sequence[StoredMapping] = ()
    withheld: str = ""

    @property
    def size(self) -> int:
        """Bytes before anything is deflated or sealed: as many come out of it on the other device."""
        return len(bodies.to_json(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """What is sealed."""
        messages = [] if self.masked is None else conversation_to_json(self.masked.conversation)["messages"]
        mapping = [[entry.placeholder, entry.type, entry.value] for entry in self.mapping]
        return {"messages": messages, "mapping": mapping, "withheld": self.withheld}


@dataclass(frozen=True, slots=True)
class Stretch:
    """The shared events of `origin` numbered from `after` + 1 up to `through`."""

    origin: str
    after: int
    through: int
    events: Sequence[Said]


@dataclass(frozen=True, slots=True)
class Heard:
    """An event of another device: its messages, None where it has none, and what their placeholders stand for.

    `withheld`: why the other device keeps the messages to itself.
    """

    event: SharedEvent
    messages: Sequence[Message] | None = field(repr=False)
    mapping: Sequence[StoredMapping] = ()
    withheld: str = ""


def heard(event: SharedEvent) -> Heard:
    """The event with its body's parts. Raises Broken "sync_damaged" where it is not as a device makes it."""
    try:
        if event.kind.startswith("answer."):
            _check_answer(event.meta)
        elif event.kind == "session.chosen" and not isinstance(event.meta["answer_id"], str):
            raise damaged()
        if event.document is None:
            return Heard(event, None)
        messages = list(event.document["messages"])
        conversation_of(messages)
        withheld = str(event.document["withheld"])
        if not messages and not withheld:
            raise damaged()
        mapping = [StoredMapping(*(str(part) for part in entry)) for entry in event.document["mapping"]]
        return Heard(event, messages, mapping, withheld)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise damaged() from error


def _check_answer(meta: Mapping[str, Any]) -> None:
    references = (meta["revises"], meta["decision_id"])
    if not isinstance(meta["provisional"], bool) or not all(isinstance(each, str | None) for each in references):
        raise damaged()
