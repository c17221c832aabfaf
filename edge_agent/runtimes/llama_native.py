"""llama.cpp's objects with owners and checked arguments. Used only in a model's own process.

Native code trusts what it is given, so every number is checked before it gets here or in the calls below.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as native

from cloud_bridge.protocol.problems import Broken

_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
_NO_LIMIT = -1
_ID_LOGIT_P = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


@native.llama_log_callback  # type: ignore[untyped-decorator]  # llama_cpp has no types
def _log_errors(level: int, text: bytes, _data: Any) -> None:
    if level == _ERROR_LEVEL:
        sys.stderr.write(text.decode("utf-8", "replace"))


def quiet() -> None:
    """Send llama.cpp's errors to stderr and drop the rest of what it says."""
    native.llama_log_set(_log_errors, ctypes.c_void_p(0))


class Model:
    """Weights and vocabulary. Raises Broken code "model_unreadable" where llama.cpp refuses the file."""

    def __init__(self, path: Path) -> None:
        params = native.llama_model_default_params()
        if not native.llama_supports_gpu_offload():
            # Mapped weights stay resident beside the copy that is rearranged for this CPU: 1.9 instead of 1.4 GB.
            params.load_mode = native.LLAMA_LOAD_MODE_NONE
        handle = native.llama_model_load_from_file(str(path).encode(), params)
        if not handle:
            raise Broken(
                "The model file could not be read by llama.cpp.",
                code="model_unreadable",
                hint="Check it with `edge-agent models verify`, then pull it again.",
            )
        self.handle = handle
        self._vocab = native.llama_model_get_vocab(handle)
        self.n_vocab: int = native.llama_vocab_n_tokens(self._vocab)
        self.context_length: int = native.llama_model_n_ctx_train(handle)
        self.adds_bos: bool = native.llama_vocab_get_add_bos(self._vocab)
        self._pieces: dict[int, bytes] = {}

    @property
    def vocab(self) -> Any:
        """The native vocabulary."""
        return self._vocab

    @property
    def can_share_prefixes(self) -> bool:
        """Whether the memory of a prompt's beginning can be kept and shared."""
        return not (
            native.llama_model_is_recurrent(self.handle)
            or native.llama_model_is_hybrid(self.handle)
            or native.llama_model_n_swa(self.handle) > 0
        )

    @property
    def chat_template(self) -> str | None:
        """The template that the model file carries."""
        found = native.llama_model_chat_template(self.handle, None)
        return None if found is None else found.decode("utf-8", "replace")

    def special_text(self, token: int) -> str:
        """How the vocabulary spells a token, "" for a token it does not have."""
        return self._piece(token, special=True).decode("utf-8", "replace") if 0 <= token < self.n_vocab else ""

    @property
    def bos_text(self) -> str:
        """How the beginning of a text is spelled."""
        return self.special_text(native.llama_vocab_bos(self._vocab))

    @property
    def eos_text(self) -> str:
        """How the end of an answer is spelled."""
        return self.special_text(native.llama_vocab_eos(self._vocab))

    def control_texts(self) -> list[str]:
        """Spellings that mean more than their letters where special tokens are read. Walks the vocabulary."""
        is_control = native.llama_vocab_is_control
        texts = (self.special_text(token) for token in range(self.n_vocab) if is_control(self._vocab, token))
        return [text for text in texts if text]

    def is_end(self, token: int) -> bool:
        """Whether this token ends an answer."""
        return bool(native.llama_vocab_is_eog(self._vocab, token))

    def piece(self, token: int) -> bytes:
        """A token's bytes as they stand in a text; control tokens have none."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._piece(token, special=False)
        return known

    def _piece(self, token: int, *, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            written = native.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            if written >= 0:
                return buffer.raw[:written]
            size = -written

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The text's tokens. Thread-safe."""
        data = text.encode()
        room = len(data) + 2
        tokens = (native.llama_token * room)()
        written = native.llama_tokenize(self._vocab, data, len(data), tokens, room, add_special, parse_special)
        if written < 0:
            raise Broken(
                "llama.cpp could not split the prompt into tokens.",
                code="inference_failed",
                hint="Shorten the prompt and send it again.",
            )
        return list(tokens[:written])


class Batch:
    """Room for the tokens of one step."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.native = native.llama_batch_init(capacity, 0, 1)
        self.clear()

    def clear(self) -> None:
        """Forget the last step."""
        self.native.n_tokens = 0

    @property
    def room(self) -> int:
        """How many more tokens fit."""
        return self._capacity - int(self.native.n_tokens)

    def add(self, token: int, position: int, sequence: int, *, wants_logits: bool) -> int:
        """Add one token; the index is what its logits are asked by."""
        index: int = self.native.n_tokens
        if index >= self._capacity:
            raise IndexError("the batch is full")
        batch = self.native
        batch.token[index] = token
        batch.pos[index] = position
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = sequence
        batch.logits[index] = wants_logits
        batch.n_tokens = index + 1
        return index


class Context:
    """A model's working memory: `n_ctx` cells, shared by up to `n_seq_max` sequences."""

    def __init__(self, model: Model, *, n_ctx: int, n_batch: int, n_seq_max: int, n_threads: int) -> None:
        params = native.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = n_batch
        params.n_seq_max = params.n_outputs_max = n_seq_max
        params.n_threads = params.n_threads_batch = n_threads
        params.kv_unified = True
        handle = native.llama_init_from_model(model.handle, params)
        if not handle:
            raise Broken(
                f"llama.cpp could not make room for a context of {n_ctx} tokens.",
                code="model_unreadable",
                hint="Use a smaller model, or free memory.",
            )
        self._handle = handle
        self._memory = native.llama_get_memory(handle)
        self._n_vocab = model.n_vocab
        self.n_ctx: int = native.llama_n_ctx(handle)

    def decode(self, batch: Batch) -> int:
        """Run one step. 0: done. 1: no free cells, nothing changed. Anything else: the memory cannot be trusted."""
        return int(native.llama_decode(self._handle, batch.native))

    def logits(self, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """A view of the logits of the batch's token `index`; valid until the next step."""
        pointer = native.llama_get_logits_ith(self._handle, index)
        if not pointer:
            raise IndexError(f"token {index} of the batch has no logits")
        return np.ctypeslib.as_array(pointer, shape=(self._n_vocab,))

    def forget(self, sequence: int, start: int = 0) -> bool:
        """Drop a sequence's cells from position `start` on. False where the memory can only drop it whole."""
        return bool(native.llama_memory_seq_rm(self._memory, sequence, start, _NO_LIMIT))

    def share(self, source: int, target: int, length: int) -> None:
        """Let `target` use the first `length` cells of `source`, too. Nothing is copied."""
        native.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def clear(self) -> None:
        """Drop all sequences."""
        native.llama_memory_clear(self._memory, False)  # noqa: FBT003 - the native signature


class Candidates:
    """The vocabulary with its logits, in the form that samplers work on. One is reused for all steps."""

    def __init__(self, n_vocab: int) -> None:
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._items = np.zeros(n_vocab, dtype=_ID_LOGIT_P)
        self._array = native.llama_token_data_array()
        self._pointer = self._items.ctypes.data_as(native.llama_token_data_p)

    def fill(self, logits: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        """Start a choice over."""
        self._items["id"] = self._ids
        self._items["logit"] = logits
        self._reset(len(self._ids))

    def fill_one(self, token: int) -> None:
        """Start a choice that only `token` stands for."""
        self._items[0] = (token, 1.0, 0.0)
        self._reset(1)

    def _reset(self, size: int) -> None:
        self._array.data = self._pointer
        self._array.size = size
        self._array.selected = -1
        self._array.sorted = False

    def apply(self, sampler: Any) -> None:
        """Let a sampler change, narrow or choose."""
        native.llama_sampler_apply(sampler, ctypes.byref(self._array))

    @property
    def chosen(self) -> int:
        """The token that the last sampler chose. Raises IndexError where none did."""
        index = int(self._array.selected)
        if not 0 <= index < int(self._array.size):
            raise IndexError("no token was chosen")
        return int(self._array.data[index].id)

    @property
    def first_is_allowed(self) -> bool:
        """After `fill_one` and a grammar: whether the token may come next."""
        return int(self._array.size) > 0 and self._array.data[0].logit > float("-inf")
