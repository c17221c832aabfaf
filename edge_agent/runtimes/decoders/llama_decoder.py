"""llama.cpp behind the `Decoder` protocol, over its low-level API. Used only in a model's own process.

Native code trusts what it is given, so every number is checked before it gets here or in the calls below.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native

from cloud_bridge.protocol.problems import Broken, InvalidRequest
from edge_agent.models.damage import CHECK_HINT
from edge_agent.models.formats import gguf_header
from edge_agent.runtimes.decoders.decoder import DRAFTED_TOKENS, NO_WIDTHS, STEP_TOKENS, Logits, NoRoomError, Span
from edge_agent.runtimes.decoders.llama_adapters import LlamaAdapters
from edge_agent.runtimes.decoders.llama_vocabulary import LlamaVocabulary

_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
_NO_LIMIT = -1
_NO_ROOM = 1
_EMBEDDED_TOKENS = 2048
_SLOW_WIDTHS = range(8, 12)
"""On a CPU llama.cpp multiplies eight rows and more in tiles, which pays for prompts: eight answers at once take 228 ms
for a step where seven take 172."""

_FEWEST_CELLS = 32


@native.llama_log_callback  # type: ignore[untyped-decorator]  # llama_cpp has no types
def _log_errors(level: int, text: bytes, _data: Any) -> None:
    if level == _ERROR_LEVEL:
        sys.stderr.write(text.decode("utf-8", "replace"))


def open_llama_decoder(path: Path, *, context_length: int, sequences: int, threads: int) -> LlamaDecoder:
    """Load a GGUF file. Its memory is `context_length` cells, shared by all sequences.

    Raises Broken code "model_file_missing" | "model_truncated" | "model_unreadable".
    """
    gguf_header.check(path)
    native.llama_log_set(_log_errors, ctypes.c_void_p(0))
    params = native.llama_model_default_params()
    if not native.llama_supports_gpu_offload():
        # Mapped weights stay resident beside the copy that is rearranged for this CPU: 1.9 instead of 1.4 GB.
        params.load_mode = native.LLAMA_LOAD_MODE_NONE
    model = native.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise Broken(
            "The model file could not be read by llama.cpp.",
            code="model_unreadable",
            hint=CHECK_HINT,
        )
    length = min(context_length, native.llama_model_n_ctx_train(model))
    if length < 1:
        raise Broken(
            f"A context of {length} tokens holds no prompt.",
            code="model_unreadable",
            hint="Check the context length in the model's manifest and in its file.",
        )
    return LlamaDecoder(model, path, context_length=length, sequences=sequences, threads=threads)


class LlamaDecoder:
    """See `Decoder`. Owns the native model and its context."""

    def __init__(self, model: Any, path: Path, *, context_length: int, sequences: int, threads: int) -> None:
        self._model = model
        self._threads = threads
        self.vocabulary = LlamaVocabulary(model)
        self.context_length = context_length
        self.sequences = sequences
        self.slow_widths = NO_WIDTHS if native.llama_supports_gpu_offload() else _SLOW_WIDTHS
        self.can_share_prefixes = not (
            native.llama_model_is_recurrent(model)
            or native.llama_model_is_hybrid(model)
            or native.llama_model_n_swa(model) > 0
        )
        params = native.llama_context_default_params()
        params.n_ctx = context_length
        params.n_batch = params.n_ubatch = STEP_TOKENS
        params.n_seq_max = sequences
        params.n_outputs_max = sequences + DRAFTED_TOKENS
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        self._context = _context(model, params)
        self._memory = native.llama_get_memory(self._context)
        self.cells: int = native.llama_n_ctx(self._context)
        self._batch = native.llama_batch_init(STEP_TOKENS, 0, 1)
        self._adapters = LlamaAdapters(model, path)

    def load_adapter(self, name: str, path: Path) -> None:
        """See `Decoder`."""
        self._adapters.load(name, path)

    def evaluate(self, spans: Sequence[Span], adapter: str | None = None) -> list[Logits]:
        """See `Decoder`. At most `STEP_TOKENS` tokens in all."""
        firsts = self._fill(spans)
        self._adapters.use(self._context, adapter)
        outcome = native.llama_decode(self._context, self._batch)
        if outcome == _NO_ROOM:
            raise NoRoomError
        if outcome != 0:
            raise RuntimeError(f"llama_decode returned {outcome}")
        return [self._rows(first, span.wanted) for first, span in zip(firsts, spans, strict=True)]

    def forget(self, sequence: int, start: int = 0) -> bool:
        """See `Decoder`."""
        return bool(native.llama_memory_seq_rm(self._memory, sequence, start, _NO_LIMIT))

    def share(self, source: int, target: int, length: int) -> None:
        """See `Decoder`. Nothing is copied: the cells belong to both."""
        native.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def embed(self, tokens: Sequence[int], adapter: str | None = None) -> Logits:
        """See `Decoder`. The model's own way of pooling, or the mean; reads its first 2,048 tokens."""
        if not native.llama_model_has_decoder(self._model) and native.llama_model_has_encoder(self._model):
            raise InvalidRequest(
                "This model's architecture gives no embeddings here.",
                code="unsupported_locally",
                hint="Ask another model for embeddings, or leave `model` out.",
                param="model",
            )
        kept = list(tokens[: min(_EMBEDDED_TOKENS, self.context_length)])
        for pooling in (native.LLAMA_POOLING_TYPE_UNSPECIFIED, native.LLAMA_POOLING_TYPE_MEAN):
            found = self._pooled(kept, pooling, adapter)
            if found is not None:
                return found
        raise RuntimeError("llama.cpp pools nothing")

    def close(self) -> None:
        """See `Decoder`."""
        native.llama_batch_free(self._batch)
        native.llama_free(self._context)
        native.llama_model_free(self._model)

    def _fill(self, spans: Sequence[Span]) -> list[int]:
        """Put the spans into the batch; for each the index of its first token whose logits are wanted."""
        tokens, wanted = sum(len(span.tokens) for span in spans), sum(span.wanted for span in spans)
        if tokens > STEP_TOKENS or wanted > self.sequences + DRAFTED_TOKENS:
            # llama.cpp would abort the process.
            raise ValueError("more tokens than one step takes, or more logits")
        batch, index, firsts = self._batch, 0, []
        for span in spans:
            firsts.append(index + len(span.tokens) - span.wanted)
            for position, token in enumerate(span.tokens, span.start):
                batch.token[index] = token
                batch.pos[index] = position
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = span.sequence
                batch.logits[index] = index >= firsts[-1]
                index += 1
        batch.n_tokens = index
        return firsts

    def _rows(self, first: int, wanted: int) -> Logits:
        """A view of the logits of `wanted` tokens of the batch; they lie one after the other."""
        if not wanted:
            return np.empty((0, self.vocabulary.size), np.float32)
        pointer = native.llama_get_logits_ith(self._context, first)
        if not pointer:
            raise RuntimeError(f"token {first} of the batch has no logits")
        return np.ctypeslib.as_array(pointer, shape=(wanted, self.vocabulary.size))

    def _pooled(self, tokens: Sequence[int], pooling: int, adapter: str | None) -> Logits | None:
        """The text's vector, None where the model has no pooling of its own and none was named."""
        params = native.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = max(len(tokens), _FEWEST_CELLS)
        params.n_threads = params.n_threads_batch = self._threads
        params.embeddings = True
        params.pooling_type = pooling
        # A context for this alone: its buffers would otherwise stay for requests that rarely come.
        context = _context(self._model, params)
        try:
            if native.llama_pooling_type(context) == native.LLAMA_POOLING_TYPE_NONE:
                return None
            self._adapters.use(context, adapter)
            array = (native.llama_token * len(tokens))(*tokens)
            if native.llama_decode(context, native.llama_batch_get_one(array, len(tokens))) != 0:
                raise RuntimeError("llama_decode failed for an embedding")
            pointer = native.llama_get_embeddings_seq(context, 0)
            if not pointer:
                raise RuntimeError("llama.cpp gave no embedding")
            size = native.llama_model_n_embd(self._model)
            return np.ctypeslib.as_array(pointer, shape=(size,)).copy()
        finally:
            native.llama_free(context)


def _context(model: Any, params: Any) -> Any:
    handle = native.llama_init_from_model(model, params)
    if not handle:
        raise Broken(
            f"llama.cpp could not make room for a context of {params.n_ctx} tokens.",
            code="model_unreadable",
            hint="Use a smaller model, a smaller `models.context_length`, or free memory.",
        )
    return handle
