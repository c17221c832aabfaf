"""Language models of random weights that are small enough to quantize in any type at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.gguf_file import save

WIDTH, HEADS, EPSILON = 256, 4, 1e-5
EXPERTS, USED = 4, 2
FIRST_TOKEN, FIRST_BYTE = 1, 3

Array = NDArray[np.float32]


def dense(path: Path, *, spoilt: str | None = None) -> dict[str, Array]:
    """Write a llama whose tokens are bytes; its tensors by name, outermost dimension first. `spoilt` is all NaN."""
    return _write(path, experts=0, spoilt=spoilt)


def routed(path: Path) -> dict[str, Array]:
    """The same with a mixture of experts."""
    return _write(path, experts=EXPERTS)


def tokens(text: str) -> list[int]:
    """As the model reads it: a token that begins the text, then the bytes, with "▁" for each space and before all."""
    return [FIRST_TOKEN, *(FIRST_BYTE + byte for byte in f" {text}".replace(" ", "▁").encode())]


def _write(path: Path, *, experts: int, spoilt: str | None = None) -> dict[str, Array]:
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3, *[6] * 256]
    keys = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.context_length": 1024,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": WIDTH,
        "llama.attention.head_count": HEADS,
        "llama.attention.layer_norm_rms_epsilon": EPSILON,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [0.0] * len(pieces),
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    if experts:
        keys |= {"llama.expert_count": experts, "llama.expert_used_count": USED}
    random = np.random.default_rng(1)

    def weights(*shape: int) -> Array:
        return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    tensors = {"token_embd.weight": weights(len(pieces), WIDTH), "output_norm.weight": np.ones(WIDTH, np.float32)}
    tensors["output.weight"] = weights(len(pieces), WIDTH)
    stack = (experts,) if experts else ()
    ending = "_exps" if experts else ""
    for name in ("attn_norm", "ffn_norm"):
        tensors[f"blk.0.{name}.weight"] = 1 + weights(WIDTH)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        tensors[f"blk.0.{name}.weight"] = weights(WIDTH, WIDTH)
    for name in ("ffn_gate", "ffn_up", "ffn_down"):
        tensors[f"blk.0.{name}{ending}.weight"] = weights(*stack, WIDTH, WIDTH)
    if experts:
        tensors["blk.0.ffn_gate_inp.weight"] = weights(experts, WIDTH)
    if spoilt:
        tensors[spoilt][:] = np.nan
    save(path, keys, tensors)
    return tensors
