"""An answer as the state keeps it, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from cloud_bridge.protocol.events import Event, Served
from cloud_bridge.protocol.gathered import gather


def answer_json(events: Iterable[Event]) -> dict[str, Any]:
    """The text and the tool calls of an answer: of the first, where several were wanted. The others are not kept.

    A turn of a session has one answer. Where a client goes on from another, its history begins a new line there.
    """
    answer = gather(events)
    return {"text": answer.text, "tool_calls": [asdict(call) for call in answer.calls]}


def cost_usd(events: Iterable[Event]) -> float:
    """What a provider asks for an answer, all its choices, in US dollars; 0 where none was asked."""
    known = list(events)
    served = next((event for event in known if isinstance(event, Served)), None)
    return served.cost_usd(gather(known).finish.usage) if served is not None and not served.replayed else 0.0
