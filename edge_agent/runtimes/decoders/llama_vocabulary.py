"""A GGUF model's tokens, by llama.cpp."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import Any

from llama_cpp import llama_cpp as native

from cloud_bridge.protocol.problems import Broken


class LlamaVocabulary:
    """See `Vocabulary`. `model` is a native model, which must outlive this."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._vocab = native.llama_model_get_vocab(model)
        self.size: int = native.llama_vocab_n_tokens(self._vocab)
        self.adds_bos: bool = native.llama_vocab_get_add_bos(self._vocab)
        self._pieces: dict[int, bytes] = {}

    @cached_property
    def bos_text(self) -> str:
        """See `Vocabulary`."""
        return self.spelling(native.llama_vocab_bos(self._vocab))

    @cached_property
    def eos_text(self) -> str:
        """See `Vocabulary`."""
        return self.spelling(native.llama_vocab_eos(self._vocab))

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """See `Vocabulary`. Walks the vocabulary once."""
        is_end, first = native.llama_vocab_is_eog, native.llama_vocab_eos(self._vocab)
        ends = [token for token in range(self.size) if is_end(self._vocab, token)]
        return tuple(sorted(ends, key=lambda token: token != first))

    @cached_property
    def chat_template(self) -> str | None:
        """See `Vocabulary`."""
        found = native.llama_model_chat_template(self._model, None)
        return None if found is None else found.decode("utf-8", "replace")

    def is_control(self, token: int) -> bool:
        """See `Vocabulary`."""
        return bool(native.llama_vocab_is_control(self._vocab, token))

    def piece(self, token: int) -> bytes:
        """See `Vocabulary`."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._piece(token, special=False)
        return known

    def spelling(self, token: int) -> str:
        """See `Vocabulary`."""
        return self._piece(token, special=True).decode("utf-8", "replace") if 0 <= token < self.size else ""

    def _piece(self, token: int, *, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            written = native.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            if written >= 0:
                return buffer.raw[:written]
            size = -written

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """See `Vocabulary`."""
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
