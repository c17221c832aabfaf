"""What an engine needs of a language model, whichever library computes it. Used only in a model's own process.

llama.cpp (`llama_decoder.py`), ONNX Runtime (`onnx_decoder.py`) and MLX (`mlx_decoder.py`) each give a `Decoder`;
scheduling, sampling, grammars, tools and stop strings are written once, over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

STEP_TOKENS = 512
NO_WIDTHS = range(0)
"""The most tokens of one `evaluate`, all spans together."""

DRAFTED_TOKENS = 7
"""Rows of logits that one `evaluate` may want beyond one a sequence."""

Logits = np.ndarray[Any, np.dtype[np.float32]]


class NoRoomError(RuntimeError):
    """The memory has no free cells for what was to be evaluated. Nothing has changed; forget something first."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens that continue one sequence: the first one goes to position `start`, where its cells end now.

    Logits are wanted for the last `wanted` of the tokens, 0 for none.
    """

    sequence: int
    start: int
    tokens: Sequence[int]
    wanted: int


class Vocabulary(Protocol):
    """A model's tokens. Every method is thread-safe."""

    @property
    def size(self) -> int:
        """How many tokens there are; ids run from 0."""
        ...

    @property
    def adds_bos(self) -> bool:
        """Whether `tokenize(add_special=True)` puts the beginning-of-text token first."""
        ...

    @property
    def bos_text(self) -> str:
        """How the beginning of a text is spelled, "" where the model has no such token."""
        ...

    @property
    def eos_text(self) -> str:
        """How the end of an answer is spelled."""
        ...

    @property
    def end_tokens(self) -> Sequence[int]:
        """Every token that ends an answer; the first is the one to force."""
        ...

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that came with the model."""
        ...

    def is_control(self, token: int) -> bool:
        """Whether the token has a meaning and no text, as the mark that ends a turn."""
        ...

    def piece(self, token: int) -> bytes:
        """The token's bytes as they stand in a text; b"" for control tokens."""
        ...

    def spelling(self, token: int) -> str:
        """How the vocabulary spells any token, control tokens included; "" for an id that it does not have."""
        ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The tokens of `text`. Where `parse_special` is False, the spelling of a control token is plain text."""
        ...


class Decoder(Protocol):
    """A loaded model and its working memory. One thread owns it; only `vocabulary` may be used from others.

    The memory has `cells` cells, one a token, shared by `sequences` sequences; cells that two sequences share
    count once.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""
        ...

    @property
    def context_length(self) -> int:
        """The most tokens that one sequence may hold."""
        ...

    @property
    def cells(self) -> int:
        """The most tokens that all sequences may hold together."""
        ...

    @property
    def sequences(self) -> int:
        """How many sequences there may be at once, numbered from 0."""
        ...

    @property
    def can_share_prefixes(self) -> bool:
        """Whether `share` works, and `forget` from a position within a sequence."""
        ...

    @property
    def slow_widths(self) -> range:
        """So many sequences with a token each take longer a token than one fewer than the range's first."""
        ...

    def load_adapter(self, name: str, path: Path) -> None:
        """Make the LoRA adapter whose main file is `path` known as `name`; one that is known stays as it is.

        Raises InvalidRequest code "adapter_unsupported" | "adapter_mismatch", Broken code "model_file_missing" |
        "model_truncated" | "model_unreadable"; nothing has changed then.
        """
        ...

    def evaluate(self, spans: Sequence[Span], adapter: str | None = None) -> list[Logits]:
        """Append each span's tokens to its sequence: one array a span, of shape (wanted, vocabulary size).

        No two spans are of one sequence; `STEP_TOKENS` and `DRAFTED_TOKENS` bound them all. The arrays are valid until
        the next call, and may be written to. `adapter` was loaded, and all that the sequences hold was made with it.
        Raises NoRoomError, and RuntimeError where the memory cannot be trusted any more.
        """
        ...

    def forget(self, sequence: int, start: int = 0) -> bool:
        """Drop a sequence's cells from position `start` on. False: only the whole can be dropped, and nothing was."""
        ...

    def share(self, source: int, target: int, length: int) -> None:
        """Let `target`, which is empty, begin with the first `length` cells of `source`."""
        ...

    def embed(self, tokens: Sequence[int], adapter: str | None = None) -> Logits:
        """One vector for a text, not normalised, shape (dimensions,); the sequences stay as they are.

        Raises InvalidRequest code "unsupported_locally" where the model gives none.
        """
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...
