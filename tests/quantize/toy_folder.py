"""Language models of random weights in Hugging Face form, small enough to convert in any way in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from edge_agent.models.progress import SILENT
from edge_agent.runtimes.decoders.decoder import Decoder, Logits, Span
from quantize.sources import source
from quantize.sources.source import Source
from tests.runtimes import hf_folders

WIDTH, INNER, LAYERS, HEADS, KEPT_HEADS, CONTEXT = 64, 128, 2, 4, 2, 512


def write(
    folder: Path, kind: str = "llama", *, tied: bool = True, has_four_bits: bool = False, **config: Any
) -> Source:
    """A model of the architecture "llama", "qwen2", "qwen3" or "mistral".

    `has_four_bits`: as a GGUF of type Q4_1, each 32 weights of a layer have a scale, a minimum, and sixteen levels.
    """
    tokenizer = hf_folders.byte_level()
    hf_folders.write(folder, tokenizer)
    vocabulary = tokenizer.get_vocab_size()
    head = WIDTH // HEADS
    facts = {
        "architectures": [f"{kind.capitalize()}ForCausalLM"],
        "model_type": kind,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEPT_HEADS,
        "head_dim": head,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": CONTEXT,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "bos_token_id": 0,
        "eos_token_id": 2,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(facts))
    shapes = {"model.embed_tokens": (vocabulary, WIDTH), **({} if tied else {"lm_head": (vocabulary, WIDTH)})}
    for layer in (f"model.layers.{n}" for n in range(LAYERS)):
        shapes |= {
            f"{layer}.self_attn.q_proj": (HEADS * head, WIDTH),
            f"{layer}.self_attn.k_proj": (KEPT_HEADS * head, WIDTH),
            f"{layer}.self_attn.v_proj": (KEPT_HEADS * head, WIDTH),
            f"{layer}.self_attn.o_proj": (WIDTH, HEADS * head),
            f"{layer}.mlp.gate_proj": (INNER, WIDTH),
            f"{layer}.mlp.up_proj": (INNER, WIDTH),
            f"{layer}.mlp.down_proj": (WIDTH, INNER),
        }
    random = np.random.default_rng(0)
    weights = {f"{name}.weight": random.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    if has_four_bits:
        weights = {name: _rounded(values) if "proj" in name else values for name, values in weights.items()}
    save_file({**weights, **_vectors(kind, head, random)}, folder / "model.safetensors")
    return source.find(str(folder), SILENT)


def _vectors(kind: str, head: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    norms = {"model.norm": WIDTH}
    biases = {}
    for layer in (f"model.layers.{n}" for n in range(LAYERS)):
        norms |= {f"{layer}.input_layernorm": WIDTH, f"{layer}.post_attention_layernorm": WIDTH}
        if kind == "qwen3":
            norms |= {f"{layer}.self_attn.q_norm": head, f"{layer}.self_attn.k_norm": head}
        if kind == "qwen2":
            for name, count in (("q", HEADS), ("k", KEPT_HEADS), ("v", KEPT_HEADS)):
                biases[f"{layer}.self_attn.{name}_proj.bias"] = count * head
    made = {f"{name}.weight": 1 + random.normal(0, 0.1, size) for name, size in norms.items()}
    made |= {name: random.normal(0, 0.5, size) for name, size in biases.items()}
    return {name: values.astype(np.float32) for name, values in made.items()}


def _rounded(values: np.ndarray) -> np.ndarray:
    blocks = values.reshape(-1, 32)
    least = blocks.min(axis=1, keepdims=True)
    scale = (blocks.max(axis=1, keepdims=True) - least) / 15
    return (np.round((blocks - least) / scale) * scale + least).reshape(values.shape).astype(np.float32)


def logits(decoder: Decoder, tokens: list[int], first: int = 20) -> Logits:
    """Of each token after the first `first`, which are read together; the others one by one."""
    read = decoder.evaluate([Span(0, 0, tokens[:first], 1)])
    one_by_one = [decoder.evaluate([Span(0, n, [tokens[n]], 1)])[0] for n in range(first, len(tokens))]
    decoder.close()
    return np.concatenate([*read, *one_by_one])


def divergence(reference: Logits, other: Logits) -> float:
    """The mean KL divergence of the tokens' probabilities, in nats."""
    left, right = (_log_probabilities(each) for each in (reference, other))
    return float((np.exp(left) * (left - right)).sum(axis=-1).mean())


def _log_probabilities(values: Logits) -> Logits:
    moved = values - values.max(axis=-1, keepdims=True)
    found: Logits = moved - np.log(np.exp(moved).sum(axis=-1, keepdims=True))
    return found
