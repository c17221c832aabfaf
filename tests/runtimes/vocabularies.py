"""Vocabularies to constrain and to prompt: a small one, and those of model files, read without their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from edge_agent.runtimes.decoders.decoder import Vocabulary

CONTROLS = ("<s>", "<|im_start|>", "<|im_end|>", "[TOOL_CALLS]", "[ARGS]", "<|tool_call|>")
_MERGED = ('{"', '"}', '": ', '", "', "}}", "\n\n", " the", "name", "argu", "<tool", "_call>\n", "\u00e9", "\u20ac")
_BYTES = 256


class SmallVocabulary:
    """All bytes, a few longer pieces and a few control tokens; the longest piece that fits is taken."""

    adds_bos = False
    bos_text = "<s>"
    eos_text = "<|im_end|>"
    chat_template: str | None = None

    def __init__(self, controls: Sequence[str] = CONTROLS) -> None:
        self._pieces = [bytes([byte]) for byte in range(_BYTES)] + [text.encode() for text in _MERGED]
        self._controls: Mapping[str, int] = {text: len(self._pieces) + at for at, text in enumerate(controls)}
        self._spellings = {token: text for text, token in self._controls.items()}
        self._by_size = sorted(enumerate(self._pieces), key=lambda item: -len(item[1]))

    @property
    def size(self) -> int:
        return len(self._pieces) + len(self._controls)

    @property
    def end_tokens(self) -> Sequence[int]:
        return [self._controls[self.eos_text]]

    def is_control(self, token: int) -> bool:
        return token in self._spellings

    def piece(self, token: int) -> bytes:
        return b"" if self.is_control(token) else self._pieces[token]

    def spelling(self, token: int) -> str:
        if not 0 <= token < self.size:
            return ""
        return self._spellings.get(token) or self._pieces[token].decode("utf-8", "replace")

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        tokens = [self._controls["<s>"]] if add_special and self.adds_bos else []
        rest = text.encode()
        while rest:
            control = next((c for c in self._controls if parse_special and rest.startswith(c.encode())), None)
            if control is not None:
                tokens.append(self._controls[control])
                rest = rest[len(control.encode()) :]
                continue
            token, piece = next(item for item in self._by_size if rest.startswith(item[1]))
            tokens.append(token)
            rest = rest[len(piece) :]
        return tokens


def spelled(vocabulary: Vocabulary, tokens: Sequence[int]) -> str:
    """Tokens as text, control tokens in guillemets."""
    return b"".join(
        f"«{vocabulary.spelling(token)}»".encode() if vocabulary.is_control(token) else vocabulary.piece(token)
        for token in tokens
    ).decode()


@cache
def vocabulary_of(path: Path) -> Vocabulary:
    """A GGUF file's vocabulary, read once in a test run and kept to its end."""
    from llama_cpp import llama_cpp as native  # noqa: PLC0415 - an engine

    from edge_agent.runtimes.decoders.llama_vocabulary import LlamaVocabulary  # noqa: PLC0415 - an engine

    params = native.llama_model_default_params()
    params.vocab_only = True
    model = native.llama_model_load_from_file(str(path).encode(), params)
    assert model
    return LlamaVocabulary(model)
