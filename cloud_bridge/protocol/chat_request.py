"""A client's request once its wire format is read, the same for all surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloud_bridge.protocol.conversation import Conversation

AUTO_MODEL = "auto"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What was asked and how the answer is wanted. `edge` is the contract's object, as it came."""

    conversation: Conversation
    model: str = AUTO_MODEL
    stream: bool = False
    include_usage: bool = False
    edge: Mapping[str, Any] = field(default_factory=dict)
