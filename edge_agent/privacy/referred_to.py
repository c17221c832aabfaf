"""What others refer to, so that it cannot be masked: names of tools, ids of calls, names of participants."""

from __future__ import annotations

import re
from dataclasses import replace

from cloud_bridge.protocol.conversation import Conversation, Message, Part, ToolCall, ToolResult
from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.privacy.finders import contacts, network, payment, secrets
from edge_agent.privacy.finders.identifiers import america
from edge_agent.privacy.spans import CERTAIN

# Names are referred to, so they cannot be masked. Only what a format proves counts here: a guess would refuse tools.
_IN_NAMES = (
    ("API_KEY", secrets.api_key, CERTAIN),
    ("CREDIT_CARD", payment.card_number, CERTAIN),
    ("EMAIL_ADDRESS", contacts.email, 0.0),
    ("IBAN_CODE", payment.iban, CERTAIN),
    ("IP_ADDRESS", network.ip_address, CERTAIN),
    ("PHONE_NUMBER", contacts.phone_number, CERTAIN),
    ("US_SSN", america.us_ssn, CERTAIN),
)


def refuse_values_in_names(conversation: Conversation) -> None:
    """Raise InvalidRequest code "value_in_name" where a name of a tool or in a schema holds a value."""
    names = " ; ".join(sorted(set(conversation.names())))
    found = [kind for kind, find, least in _IN_NAMES if any(score >= least for _, _, score in find(names))]
    if found:
        raise InvalidRequest(
            f"A name in the request's tools or schemas holds what must not leave unmasked: {', '.join(found)}.",
            code="value_in_name",
            hint="Names cannot be masked: give it a plain name, and put the value into a description or a message.",
            param="tools",
        )


def without_ids(conversation: Conversation) -> Conversation:
    """Calls and their results numbered afresh: a client's ids may hold anything, and only say what belongs together."""
    numbers: dict[str, str] = {}

    def numbered(part: Part) -> Part:
        if isinstance(part, ToolCall):
            return replace(part, id=numbers.setdefault(part.id, f"call_{len(numbers) + 1}"))
        if isinstance(part, ToolResult):
            return replace(part, call_id=numbers.setdefault(part.call_id, f"call_{len(numbers) + 1}"))
        return part

    messages = (replace(message, parts=tuple(map(numbered, message.parts))) for message in conversation.messages)
    return replace(conversation, messages=tuple(messages))


def plain_name(message: Message) -> Message:
    """Providers refuse brackets in a participant's name, and never send one back."""
    if message.name is None or "<" not in message.name:
        return message
    return replace(message, name=re.sub(r"\W+", "_", message.name).strip("_"))
