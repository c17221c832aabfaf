"""The keyed fingerprints by which a conversation that goes on here is known, of what was said on another device."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.state import history
from edge_agent.state.history import Message
from edge_agent.state.keys import SessionKey
from edge_agent.state.log import Reader


def of_request(tx: Reader, key: SessionKey, parent: str | None, messages: Sequence[Message]) -> dict[str, str]:
    """What `request.accepted` has for `meta`: the conversation up to and with these messages, after `parent`."""
    answer = tx.row("SELECT mac FROM answers WHERE id = ?", parent)
    mac, asked = "" if answer is None else str(answer["mac"]), ""
    for message in messages:
        if message["role"] != "system":
            mac, asked = history.continued(key, mac, message), history.continued(key, "", message)
    return {"mac": mac, "asked": asked}


def of_answer(tx: Reader, key: SessionKey, request_id: str | None, message: Message) -> dict[str, str]:
    """What `answer.given` and `answer.revised` have for `meta`."""
    request = None if request_id is None else tx.event(request_id)
    return history.of_answer(key, {"mac": ""} if request is None else request.meta, message)
