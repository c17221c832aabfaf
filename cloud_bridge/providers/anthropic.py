"""Anthropic's messages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from cloud_bridge.protocol import anthropic
from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event
from cloud_bridge.providers.wire import Decoder, with_path

API_VERSION = "2023-06-01"


class AnthropicWire:
    """POST {base_url}/v1/messages, whether or not the base URL ends in `/v1`."""

    def url(self, base_url: str) -> str:
        """Where requests go."""
        path = urlsplit(base_url).path.rstrip("/").removesuffix("/v1")
        return with_path(base_url, f"{path}/v1/messages")

    def credentials(self, api_key: str) -> dict[str, str]:
        """Anthropic's own header."""
        return {"x-api-key": api_key}

    def fields(self) -> dict[str, str]:
        """The version of the format."""
        return {"anthropic-version": API_VERSION}

    def check(self, conversation: Conversation) -> None:
        """It has no word for several answers to one request."""
        anthropic.check_request(conversation)

    def request(self, conversation: Conversation, model: str, base_url: str) -> dict[str, Any]:  # noqa: ARG002 one dialect
        """The body."""
        return anthropic.encode_request(conversation, model, stream=True)

    def decoder(self, choices: int) -> Decoder:  # noqa: ARG002 always one
        """For one stream."""
        return anthropic.StreamDecoder()

    def whole(self, body: Any, choices: int) -> list[Event]:  # noqa: ARG002 always one
        """The events of a whole answer."""
        return anthropic.decode_response(body)
