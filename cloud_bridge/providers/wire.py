"""What a provider's wire format must say. `openai` and `anthropic` say it."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event
from cloud_bridge.protocol.sse import SseEvent


class Decoder(Protocol):
    """Reads one streamed answer; raises Unavailable for an answer that is an error or unfinished."""

    def feed(self, sse: SseEvent) -> list[Event]:
        """The events that one server-sent event carries."""

    def end(self) -> list[Event]:
        """The events that are left when the bytes end."""


class Wire(Protocol):
    """One wire format, without state."""

    def url(self, base_url: str) -> str:
        """Where requests go."""

    def credentials(self, api_key: str) -> dict[str, str]:
        """The header fields that carry the key."""

    def fields(self) -> dict[str, str]:
        """Header fields that every request needs."""

    def check(self, conversation: Conversation) -> None:
        """Raise InvalidRequest where the format cannot say what is asked."""

    def request(self, conversation: Conversation, model: str, base_url: str) -> dict[str, Any]:
        """The body of a streaming request."""

    def decoder(self, choices: int) -> Decoder:
        """For one stream, in which so many answers were asked for."""

    def whole(self, body: Any, choices: int) -> list[Event]:
        """The events of what came as one document although a stream was asked for."""


def with_path(base_url: str, path: str) -> str:
    """The URL with another path; its query (Azure's `api-version`) stays."""
    return urlunsplit(urlsplit(base_url)._replace(path=path))
