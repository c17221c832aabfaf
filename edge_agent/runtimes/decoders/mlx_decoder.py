"""MLX behind the `Decoder` protocol, over mlx-lm's models. Used only in a model's own process.

On Apple silicon MLX computes on the GPU. Its CPU backend, which Linux has, is correct and slow: it reads a prompt no
faster than it writes an answer.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Unavailable
from edge_agent.models.formats.hf_config import HfConfig
from edge_agent.models.formats.hf_files import HINT
from edge_agent.runtimes.decoders import mlx_folder
from edge_agent.runtimes.decoders.decoder import NO_WIDTHS, STEP_TOKENS, Logits, NoRoomError, Span
from edge_agent.runtimes.decoders.hf_vocabulary import HfVocabulary
from edge_agent.runtimes.decoders.mlx_adapters import MlxAdapters

_EMBEDDED_TOKENS = 2048
_STEPS_BETWEEN_CLEARING = 256


def open_mlx_decoder(path: Path, *, context_length: int, sequences: int) -> MlxDecoder:
    """Load the model whose main file of weights is `path`. Its memory is `context_length` cells, for all sequences.

    Nothing in the folder is executed. Blocks while it reads the weights; any thread may evaluate later, one at a
    time. Raises Unavailable code "extra_missing", and Broken code "model_file_missing" | "model_truncated" |
    "model_unreadable".
    """
    try:
        from mlx_lm.utils import load_model, maybe_set_recommended_wired_limit  # noqa: PLC0415  # an optional engine
    except ImportError as error:
        raise Unavailable(
            "MLX is not installed.", code="extra_missing", hint="Install the extra: pip install 'edge-agent[mlx]'"
        ) from error
    config = mlx_folder.check(path)
    length = min(context_length, config.context_length or context_length)
    if length < 1:
        raise _unreadable(f"A context of {length} tokens holds no prompt.")
    try:
        # `load_model` without mlx-lm's tokenizer, which would import most of transformers.
        model, _ = load_model(path.parent, trust_remote_code=False)
        size = _width(model)
    except Exception as error:  # whatever MLX dislikes about the files, by any name
        raise _unreadable(_why(error, config)) from error
    maybe_set_recommended_wired_limit()
    return MlxDecoder(model, HfVocabulary.open(path.parent, size), context_length=length, sequences=sequences)


@dataclass(slots=True)
class _Sequence:
    """What one sequence remembers: mlx-lm's state of each layer, and a number for each cell, in order."""

    layers: list[Any]
    cells: list[int] = field(default_factory=list)


class MlxDecoder:
    """See `Decoder`.

    `share` copies nothing at first: both sequences look at the same arrays. Once either grows, MLX gives it arrays of
    its own, so shared cells may lie in memory more than once. So that this has a bound, NoRoomError is raised, too,
    where all sequences' cells would be more than twice `cells`, each counted for every sequence that has it.
    """

    def __init__(self, model: Any, vocabulary: HfVocabulary, *, context_length: int, sequences: int) -> None:
        import mlx.core as mx  # noqa: PLC0415  # an optional engine
        from mlx_lm.models import cache  # noqa: PLC0415

        self._mx, self._cache = mx, cache
        self._model = model
        self.vocabulary = vocabulary
        self.context_length = self.cells = context_length
        self.sequences = sequences
        layers = cache.make_prompt_cache(model)
        # Windows that rotate and recurrent states can be neither cut back nor begun in the middle.
        self.slow_widths = NO_WIDTHS
        self.can_share_prefixes = all(type(layer) is cache.KVCache for layer in layers)
        self._sequences = [self._new_sequence() for _ in range(sequences)]
        self._owners: Counter[int] = Counter()
        self._names = count()
        self._steps = 0
        self._adapters = MlxAdapters(model)

    def load_adapter(self, name: str, path: Path) -> None:
        """See `Decoder`."""
        self._adapters.load(name, path)

    def evaluate(self, spans: Sequence[Span], adapter: str | None = None) -> list[Logits]:
        """See `Decoder`. Raises ValueError where a span is not one that continues its sequence."""
        for span in spans:
            self._check(span)
        if len({span.sequence for span in spans}) != len(spans):
            raise ValueError("two spans are of one sequence")
        self._check_room(sum(len(span.tokens) for span in spans))
        self._adapters.use(adapter)
        try:
            wanted = [self._extend(span) for span in spans]
            states = [layer.state for span in spans for layer in self._sequences[span.sequence].layers]
            self._mx.eval(wanted, states)
            found = [np.array(logits) for logits in wanted]
        except Exception as error:  # MLX raises by several names; the states may be halfway
            raise RuntimeError(f"MLX failed with {type(error).__name__}") from error
        self._tidy()
        return found

    def forget(self, sequence: int, start: int = 0) -> bool:
        """See `Decoder`."""
        kept = self._sequences[sequence]
        if start >= len(kept.cells):
            return True
        if start > 0 and not self.can_share_prefixes:
            return False
        gone = kept.cells[start:]
        if start == 0:
            self._sequences[sequence] = self._new_sequence()
        else:
            for layer in kept.layers:
                layer.trim(len(gone))
            del kept.cells[start:]
        self._owners.subtract(gone)
        for cell in gone:
            if not self._owners[cell]:
                del self._owners[cell]
        return True

    def share(self, source: int, target: int, length: int) -> None:
        """See `Decoder`."""
        given, taken = self._sequences[source], self._sequences[target]
        if not self.can_share_prefixes or taken.cells or not 0 <= length <= len(given.cells):
            raise ValueError("these sequences cannot share that")
        if not length:
            return
        for theirs, ours in zip(given.layers, taken.layers, strict=True):
            # Slices of their own: a write to one of two names for the same array would change both.
            ours.state = (theirs.keys[..., :length, :], theirs.values[..., :length, :], length)
        self._mx.eval([layer.state for layer in taken.layers])
        taken.cells = given.cells[:length]
        self._owners.update(taken.cells)

    def embed(self, tokens: Sequence[int], adapter: str | None = None) -> Logits:
        """See `Decoder`. The mean of the last hidden states; reads the first 2,048 tokens."""
        kept = list(tokens[: min(_EMBEDDED_TOKENS, self.context_length)])
        self._check_tokens(kept)
        self._adapters.use(adapter)
        # Where a model reads pictures, too, its language model is a part of it.
        inner = getattr(getattr(self._model, "language_model", self._model), "model", None)
        if not callable(inner):
            raise _gives_none()
        layers = self._cache.make_prompt_cache(self._model)
        total: Any = 0
        for start in range(0, len(kept), STEP_TOKENS):
            part = kept[start : start + STEP_TOKENS]
            hidden = inner(self._mx.array([part]), cache=layers)
            if hidden.ndim != 3 or hidden.shape[:2] != (1, len(part)) or hidden.shape[2] == self.vocabulary.size:
                raise _gives_none()
            total = total + hidden[0].astype(self._mx.float32).sum(axis=0)
            self._mx.eval(total, [layer.state for layer in layers])
        self._mx.clear_cache()
        mean: Logits = np.array(total / len(kept))
        return mean

    def close(self) -> None:
        """See `Decoder`."""
        self._sequences.clear()
        self._adapters.close()
        self._model = None
        gc.collect()
        self._mx.clear_cache()

    def _new_sequence(self) -> _Sequence:
        return _Sequence(self._cache.make_prompt_cache(self._model))

    def _check(self, span: Span) -> None:
        if not 0 <= span.sequence < self.sequences or span.start != len(self._sequences[span.sequence].cells):
            raise ValueError("a span must continue its sequence")
        if not 0 <= span.wanted <= len(span.tokens) or span.start + len(span.tokens) > self.context_length:
            raise ValueError("a span has too many tokens, or fewer than it wants logits for")
        self._check_tokens(span.tokens)

    def _check_tokens(self, tokens: Sequence[int]) -> None:
        # MLX would read beside its arrays.
        if not tokens or min(tokens) < 0 or max(tokens) >= self.vocabulary.size:
            raise ValueError("no tokens, or some that the model does not have")

    def _check_room(self, wanted: int) -> None:
        if len(self._owners) + wanted > self.cells or self._owners.total() + wanted > 2 * self.cells:
            raise NoRoomError

    def _extend(self, span: Span) -> Any:
        """The logits that are wanted, not computed yet. What comes before them is: its logits never are."""
        kept = self._sequences[span.sequence]
        before, last = span.tokens[: len(span.tokens) - span.wanted], span.tokens[len(span.tokens) - span.wanted :]
        for start in range(0, len(before), STEP_TOKENS):
            self._model(self._mx.array([list(before[start : start + STEP_TOKENS])]), cache=kept.layers)
            self._mx.eval([layer.state for layer in kept.layers])
            self._mx.clear_cache()
        names = [next(self._names) for _ in span.tokens]
        kept.cells += names
        self._owners.update(names)
        if not last:
            return self._mx.zeros((0, self.vocabulary.size), dtype=self._mx.float32)
        logits = self._model(self._mx.array([list(last)]), cache=kept.layers)
        return logits[0].astype(self._mx.float32)

    def _tidy(self) -> None:
        """Give back, now and then, the buffers that MLX keeps for reuse."""
        self._steps += 1
        if self._steps % _STEPS_BETWEEN_CLEARING == 0:
            self._mx.clear_cache()


def _width(model: Any) -> int:
    """How many logits a token has. Nothing is computed: MLX knows the shape without."""
    import mlx.core as mx  # noqa: PLC0415  # an optional engine

    width: int = model(mx.array([[0]])).shape[-1]
    return width


def _why(error: Exception, config: HfConfig) -> str:
    if isinstance(error, ValueError) and "not supported" in str(error):
        return f"mlx-lm does not know the architecture {mlx_folder.architecture(config)}."
    return "The model's files could not be read by MLX."


def _unreadable(message: str) -> Broken:
    return Broken(message, code="model_unreadable", hint=HINT)


def _gives_none() -> InvalidRequest:
    return InvalidRequest(
        "This model's architecture gives no embeddings here.",
        code="unsupported_locally",
        hint="Ask another model for embeddings, or leave `model` out.",
        param="model",
    )
