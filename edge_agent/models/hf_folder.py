"""The dimensions of a model in Hugging Face form, from its small files: config.json and the headers of its weights.

They come from anywhere, so each number is bounded by what a model could have. Weights are never read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken

_MAX_CONFIG_BYTES = 16 * 2**20
_MAX_HEADER_BYTES = 100 * 2**20
"""The safetensors format's own limit."""

_FLOAT_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
_NOT_WEIGHTS = frozenset({".json", ".jinja", ".md", ".txt", ".model", ".py", ".onnx", ".gguf", ".safetensors", ".part"})


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's dimensions. `kv_values`: numbers that are kept for one token; `tokenizer`: its file's size in bytes."""

    width: int
    inner: int
    kv_values: int
    vocabulary: int
    context_length: int
    tokenizer: int


@dataclass(frozen=True, slots=True)
class Weights:
    """`size` in bytes; `float_bytes`: of the widest number that is not packed."""

    size: int
    float_bytes: int


def shape(path: Path) -> Shape:
    """The dimensions that config.json beside the main file `path` states.

    Raises Broken code "model_file_missing" or "model_unreadable".
    """
    if not path.is_file():
        raise _missing(path)
    config = _config(path.parent)
    width = _number(config, ("hidden_size", "n_embd", "d_model"), most=1 << 20)
    heads = _number(config, ("num_attention_heads", "n_head", "num_heads"), most=1 << 14)
    layers = _number(config, ("num_hidden_layers", "n_layer", "num_layers"), most=1 << 12)
    kv_heads = _number(config, ("num_key_value_heads",), most=1 << 14, default=heads)
    head_size = _number(config, ("head_dim", "head_size"), most=1 << 16, default=max(1, width // heads))
    tokenizer = path.with_name("tokenizer.json")
    return Shape(
        width=max(width, heads * head_size),
        inner=_number(config, ("intermediate_size", "n_inner", "ffn_dim"), most=1 << 22, default=4 * width),
        kv_values=2 * layers * kv_heads * head_size,
        vocabulary=_number(config, ("vocab_size",), most=1 << 24),
        context_length=_number(
            config, ("max_position_embeddings", "n_positions", "context_length"), most=1 << 30, default=1 << 20
        ),
        tokenizer=tokenizer.stat().st_size if tokenizer.is_file() else 0,
    )


def onnx_weights(path: Path) -> int:
    """Bytes of the .onnx file and of what lies beside it as external data."""
    others = (file for file in path.parent.iterdir() if file.suffix not in _NOT_WEIGHTS and file.name[0] != ".")
    return path.stat().st_size + sum(file.stat().st_size for file in others if file.is_file())


def safetensors(path: Path) -> Weights:
    """All weights beside `path`, which MLX reads together. Raises Broken code "model_unreadable"."""
    files = sorted(path.parent.glob("model*.safetensors"))
    return Weights(sum(file.stat().st_size for file in files), _float_bytes(path))


def _float_bytes(path: Path) -> int:
    try:
        with path.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > min(_MAX_HEADER_BYTES, path.stat().st_size):
                raise _unreadable(path)
            header = json.loads(opened.read(length))
        kinds = {tensor["dtype"] for name, tensor in header.items() if name != "__metadata__"}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error) as error:
        raise _unreadable(path) from error
    return max((_FLOAT_BYTES.get(str(kind), 0) for kind in kinds), default=0) or 2


def _config(folder: Path) -> Mapping[str, Any]:
    """config.json, with the language model's own part over it where others stand beside.

    Without one the genai_config.json that onnxruntime-genai's builder writes, which says the same deeper inside.
    """
    path = folder / "config.json"
    if path.is_file():
        config = _object(path)
        return {**config, **_part(config, "text_config")}
    path = folder / "genai_config.json"
    if not path.is_file():
        raise _missing(folder / "config.json")
    model = _part(_object(path), "model")
    return {**model, **_part(model, "decoder")}


def _object(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as opened:
            source = opened.read(_MAX_CONFIG_BYTES + 1)
        config = json.loads(source) if len(source) <= _MAX_CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path) from error
    if not isinstance(config, dict):
        raise _unreadable(path)
    return config


def _part(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _number(config: Mapping[str, Any], names: tuple[str, ...], *, most: int, default: int | None = None) -> int:
    for name in names:
        found = config.get(name)
        if found is None:
            continue
        if not isinstance(found, int) or isinstance(found, bool) or not 0 < found <= most:
            raise _broken(f"has a senseless {name}")
        return found
    if default is None:
        raise _broken(f"does not say its {names[0]}")
    return default


def _missing(path: Path) -> Broken:
    return Broken(
        f"The model's file {path.name} is missing.",
        code="model_file_missing",
        hint="Pull or convert the model again.",
    )


def _unreadable(path: Path) -> Broken:
    return Broken(
        f"The model's file {path.name} cannot be read.",
        code="model_unreadable",
        hint="Pull or convert the model again.",
    )


def _broken(what: str) -> Broken:
    return Broken(f"The model's config.json {what}.", code="model_unreadable", hint="Pull or convert the model again.")
