"""What every local runtime can do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event

DEFAULT_CONTEXT_LENGTH = 8192
"""Tokens of context to give a model that could have more: its memory is paid for when the model is loaded."""


@dataclass(frozen=True, slots=True)
class LlmSpec:
    """A language model to run: its main file, tokens of context to give it, and what it takes resident in MiB.

    A model that has less context than that gets what it has.
    """

    model_id: str
    path: Path
    context_length: int
    ram_mb: int


class Runtime(Protocol):
    """One language model, ready or able to become so. `context_length` is in tokens."""

    @property
    def model_id(self) -> str:
        """The catalog's id."""
        ...

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and answer may take together."""
        ...

    async def ensure_ready(self) -> None:
        """Load the model, or wait for whoever is loading it.

        Raises Broken "model_file_missing", "model_truncated" or "model_unreadable" for a bad file, and
        Unavailable "model_crashed" where it dies while loading.
        """
        ...

    def generate(self, conversation: Conversation) -> AsyncIterator[Event]:
        """Text deltas, each with the log-probabilities of its tokens, then one Finish.

        Raises InvalidRequest "context_length_exceeded", "unsupported_locally", "unsupported_schema" or
        "invalid_value" before the first event, Unavailable "queue_full" or "model_crashed", Broken
        "template_refused". Closing the iterator stops the work within one step.
        """
        ...

    async def count(self, conversation: Conversation) -> int:
        """Tokens that the conversation takes once the chat template is applied."""
        ...

    async def close(self) -> None:
        """Stop everything and give the memory back. A later `ensure_ready` loads again."""
        ...
