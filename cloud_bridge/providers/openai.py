"""OpenAI's chat completions, and every server that speaks them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from cloud_bridge.protocol import openai_chat
from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event
from cloud_bridge.providers.wire import Decoder, with_path


class OpenAiWire:
    """POST {base_url}/chat/completions; a base URL that is a bare host gets `/v1`."""

    def url(self, base_url: str) -> str:
        """Where requests go."""
        path = urlsplit(base_url).path.rstrip("/") or "/v1"
        return with_path(base_url, f"{path}/chat/completions")

    def credentials(self, api_key: str) -> dict[str, str]:
        """A bearer token."""
        return {"Authorization": f"Bearer {api_key}"}

    def fields(self) -> dict[str, str]:
        """None."""
        return {}

    def check(self, conversation: Conversation) -> None:
        """It can say everything that we can."""

    def request(self, conversation: Conversation, model: str, base_url: str) -> dict[str, Any]:
        """The body; in OpenAI's own dialect only where OpenAI's own models answer."""
        host = urlsplit(base_url).hostname or ""
        own = host == "api.openai.com" or host.endswith(".openai.azure.com")
        dialect: openai_chat.Dialect = "openai" if own else "compatible"
        return openai_chat.encode_request(conversation, model, stream=True, dialect=dialect)

    def decoder(self, choices: int) -> Decoder:
        """For one stream."""
        return openai_chat.StreamDecoder(choices)

    def whole(self, body: Any, choices: int) -> list[Event]:
        """The events of a whole answer."""
        return openai_chat.decode_response(body, choices)
