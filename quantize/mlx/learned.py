"""mlx-lm's learned quantization methods, over a text of ours: their commands would download one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn, optimizers
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.quant import awq, dwq, gptq
from mlx_lm.utils import quantize_model

LENGTH = 256
"""Tokens of a passage."""
FALLBACK_BITS = 6
"""Of the embeddings, which GPTQ cannot change, as mlx-lm chooses them."""
HEAD_BITS = 8
CPU_PASSAGES = {"awq": 1, "dwq": 16, "gptq": 8}
"""The most that each method that reads any reads on a CPU: with SmolLM2 that takes minutes, eight for AWQ's one."""

_AWQ_STEPS = 10
"""Of the search for scales: half of mlx-lm's own number, in half the time."""

Learned = tuple[Any, dict[str, Any]]
"""The model, and what its config says of how it is quantized."""


class UnsupportedError(Exception):
    """mlx-lm cannot do this with this model; the text says why."""


class TooShortError(Exception):
    """The calibration text has too few tokens."""

    def __init__(self, tokens: int) -> None:
        super().__init__("too few tokens")
        self.tokens = tokens


def passages_of(text: Path, tokenizer: Path, most: int) -> Any:
    """Passages from all over the text, of shape (passages, LENGTH): on a CPU `most` at most.

    Raises TooShortError where the text has not one.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415  # an engine

    ids = Tokenizer.from_file(str(tokenizer)).encode(text.read_text("utf-8")).ids
    count = len(ids) // LENGTH
    if not count:
        raise TooShortError(len(ids))
    passages = mx.array(ids[: count * LENGTH]).reshape(count, LENGTH)
    if mx.default_device() == mx.gpu or count <= most:
        return passages
    return passages[mx.arange(most) * count // most]


def by_activations(model: Any, config: dict[str, Any], tokens: Any, bits: int, group_size: int) -> Learned:
    """AWQ (Lin and others 2023): scale up the channels that matter before rounding, and clip what stands out."""
    known = awq.AWQ_MODEL_CONFIGS.get(config["model_type"])
    if known is None:
        raise UnsupportedError(f"AWQ is not known for {config['model_type']} models")
    awq.awq_quantize(
        model,
        tokens,
        known,
        group_size=group_size,
        bits=bits,
        embed_group_size=32,
        embed_bits=FALLBACK_BITS,
        n_grid=_AWQ_STEPS,
    )
    return model, awq.update_config(model, {})["quantization"]


def by_hessians(model: Any, config: dict[str, Any], tokens: Any, bits: int, group_size: int) -> Learned:
    """GPTQ (Frantar and others 2022): let the weights not rounded yet make up for the error of those that were."""
    del config
    found: Learned = gptq.gptq_quantize(model, tokens, bits, group_size, FALLBACK_BITS, group_size, batch_size=2)
    return found


def by_distillation(model: Any, config: dict[str, Any], tokens: Any, bits: int, group_size: int) -> Learned:
    """DWQ: train the scales and offsets until the answers are like those before rounding."""
    student = copy.deepcopy(model)
    student, config = quantize_model(student, config, group_size, bits)
    passages = [(row, 0) for row in tokens.tolist()]
    held = max(1, len(passages) // 8)
    dwq.dwq_quantize(
        student,
        lambda batch, _, **__: model(batch),
        optimizers.Adam(learning_rate=1e-5, bias_correction=True),
        passages[held:],
        passages[:held],
        batch_size=1,
        max_seq_length=LENGTH,
        seed=0,
        dtype=mx.float32,
    )
    return student, config["quantization"]


def by_extremes(model: Any, config: dict[str, Any], tokens: Any, bits: int, group_size: int) -> Learned:
    """Levels from a group's least to its largest weight, embeddings and output head at 8 bits; reads no text.

    MLX's own rounding moves the levels so that one of them is zero. These give back what was quantized before with a
    scale and a minimum for as many weights, as in a GGUF of type Q4_1 or Q4_K.
    """
    del tokens, config
    made: dict[str, Any] = {"bits": bits, "group_size": group_size}
    found = []
    for name, layer in tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module):
        if not hasattr(layer, "to_quantized") or layer.weight.shape[-1] % group_size:
            continue
        if type(layer) is nn.Linear and not name.endswith("lm_head"):
            found.append((name, _between_extremes(layer, bits, group_size)))
        else:
            made[name] = {"bits": HEAD_BITS, "group_size": group_size}
            found.append((name, layer.to_quantized(bits=HEAD_BITS, group_size=group_size)))
    model.update_modules(tree_unflatten(found))
    return model, made


def _between_extremes(layer: Any, bits: int, group_size: int) -> Any:
    groups = mx.unflatten(layer.weight, -1, (-1, group_size))
    least = groups.min(axis=-1)
    scales = (groups.max(axis=-1) - least) / (2**bits - 1)
    quantized = layer.to_quantized(bits=bits, group_size=group_size)
    quantized.scales, quantized.biases = mx.where(scales > 0, scales, 1), least
    quantized.weight = gptq.quantize(layer.weight, bits, quantized.scales, least)
    mx.eval(quantized)
    return quantized


METHODS: dict[str, Callable[..., Learned]] = {
    "awq": by_activations,
    "dwq": by_distillation,
    "gptq": by_hessians,
    "minmax": by_extremes,
}
