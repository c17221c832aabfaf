"""What every local runtime can do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event
from edge_agent.models.libraries import LlmFormat

DEFAULT_CONTEXT_LENGTH = 8192
"""Tokens of context to give a model that could have more: its memory is paid for when the model is loaded."""

DEFAULT_PARALLEL = 8
"""Sequences answered at once: beyond this, small processors gain no more from batching."""

DEFAULT_MAX_WAITING = 64
"""Requests that may wait for a free sequence; one more is refused."""


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """A LoRA adapter to run a model with. `path` is its main file, `ram_mb` what it takes beside the model, in MiB.

    `in_use` as in `ModelSpec`.
    """

    adapter_id: str
    path: Path
    ram_mb: int
    in_use: Path | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A language model to run, and how: plain values, decided before its process starts.

    `path` is the main file: the .gguf, the .onnx, or for mlx the folder's model.safetensors; what else belongs to
    the model lies beside it. `context_length` is what all sequences share, in tokens; a model that has less gets
    what it has. `parallel` sequences are answered at once, `max_waiting` more requests wait; `threads` 0: decided
    from the machine. `ram_mb` is what it takes resident at most, in MiB. `in_use` is the lock that the process shares
    while it lives, so that nobody removes the files under it (`edge_agent.models.locks.in_use`).
    With an `adapter` it is still the model's one process that answers, beside those who ask for the plain model.
    """

    model_id: str
    path: Path
    format: LlmFormat
    context_length: int
    parallel: int
    threads: int
    ram_mb: int
    max_waiting: int = DEFAULT_MAX_WAITING
    in_use: Path | None = None
    adapter: AdapterSpec | None = None

    @property
    def plain(self) -> ModelSpec:
        """The model without an adapter: what its process is started with."""
        return replace(self, adapter=None)

    @property
    def asked_id(self) -> str:
        """What a request calls it: the model's id, or `BASE+ADAPTER`."""
        return self.model_id if self.adapter is None else f"{self.model_id}+{self.adapter.adapter_id}"

    @property
    def whole_mb(self) -> int:
        """MiB of model and adapter together."""
        return self.ram_mb + (self.adapter.ram_mb if self.adapter else 0)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a runtime can do with its model; `batches`: several requests in one evaluation; `adapters`: LoRA."""

    embeddings: bool
    structured_output: bool
    tools: bool
    batches: bool
    adapters: bool = False


CAPABILITIES: Mapping[LlmFormat, Capabilities] = {
    "gguf": Capabilities(embeddings=True, structured_output=True, tools=True, batches=True, adapters=True),
    "onnx": Capabilities(embeddings=False, structured_output=True, tools=True, batches=True),
    "mlx": Capabilities(embeddings=True, structured_output=True, tools=True, batches=False, adapters=True),
}


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

        Raises Broken "model_file_missing", "model_truncated" or "model_unreadable" for a bad file, NotFound
        "model_not_installed" where it was removed meanwhile, and Unavailable "model_crashed" where it dies while
        loading.
        """
        ...

    def generate(self, conversation: Conversation, adapter: AdapterSpec | None = None) -> AsyncIterator[Event]:
        """Text deltas, each with the log-probabilities of its tokens, then one Finish.

        Raises InvalidRequest "context_length_exceeded", "unsupported_locally", "unsupported_schema", "invalid_value",
        "adapter_mismatch" or "adapter_unsupported" before the first event, Unavailable "queue_full" or
        "model_crashed", Broken "template_refused".

        Closing the iterator (`aclose`) is how a request is cancelled: its work stops within one step.
        """
        ...

    async def count(self, conversation: Conversation) -> int:
        """Tokens that the conversation takes once the chat template is applied."""
        ...

    async def tokenize(self, text: str) -> list[int]:
        """The tokens of a plain text: no template, no special tokens added, none recognised."""
        ...

    async def embed(self, texts: Sequence[str], adapter: AdapterSpec | None = None) -> list[list[float]]:
        """One vector a text, not normalised. Raises InvalidRequest "unsupported_locally" where the model gives none,
        "context_length_exceeded" for a text that is too long.
        """
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    async def close(self) -> None:
        """Unload: stop everything and give the memory back to the system; when this returns, its process is gone.

        Requests in flight get Unavailable "model_stopped". A later `ensure_ready` loads again.
        """
        ...
