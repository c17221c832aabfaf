"""A LoRA adapter as it was trained, whoever trained it: PEFT's folders and mlx-lm's, and each written as the other.

    PEFT    adapter_model.safetensors   base_model.model.LAYER.lora_A.weight (rank, in), .lora_B.weight (out, rank)
    mlx-lm  adapters.safetensors        LAYER.lora_a (in, rank), LAYER.lora_b (rank, out)

PEFT multiplies B·A by lora_alpha / rank, and may have a rank and an alpha of its own for some layers; mlx-lm multiplies
by one `scale`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.formats.hf_files import object_of, unreadable
from edge_agent.models.formats.safetensors_header import StoredTensor, safetensors_header
from edge_agent.models.lora import mlx as lora_mlx
from edge_agent.models.lora.facts import MAX_RANK, finite, unsupported
from edge_agent.models.manifest import plain

Matrix = np.ndarray[Any, np.dtype[Any]]

PEFT_FILE = "adapter_model.safetensors"
CONFIG_FILE = lora_mlx.CONFIG_FILE

_PEFT = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_(A|B)(?:\.default)?\.weight")
_LAYER = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.\d+\.(.+)")
_KINDS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_STORED = {"<f4": "F32", "<f2": "F16"}
_UNSUPPORTED = ("use_dora", "fan_in_fan_out", "modules_to_save", "trainable_token_indices", "alora_invocation_tokens")
"""Settings of PEFT that make more of an adapter than B·A; each is absent, false or empty for a plain one."""


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """`pairs` of A, (rank, in), and B, (out, rank), by layer; what B·A is multiplied by is `scale` for all.

    `base` is what the adapter says it was trained on.
    """

    pairs: Mapping[str, tuple[Matrix, Matrix]]
    scale: float
    base: str | None = None

    @property
    def rank(self) -> int:
        """That of every pair: smaller ones are filled up with zeros."""
        return int(next(iter(self.pairs.values()))[0].shape[0])


def read_peft(folder: Path) -> LoraWeights:
    """PEFT's folder.

    Raises Broken code "model_file_missing" | "model_truncated" | "model_unreadable", and InvalidRequest code
    "adapter_unsupported" for what is more than a plain LoRA.
    """
    config = _config(folder)
    if config.get("peft_type", "LORA") != "LORA" or config.get("bias", "none") != "none":
        raise unsupported("it is no plain LoRA")
    for name in _UNSUPPORTED:
        if config.get(name):
            raise unsupported(f"it was trained with {name}")
    halves = _halves(folder / PEFT_FILE)
    scales = {layer: _scale(folder, config, layer, a.shape[0]) for layer, (a, _) in halves.items()}
    scale = max(scales.values(), key=abs) or 1.0
    pairs = {layer: (a, _times(b, scales[layer] / scale)) for layer, (a, b) in halves.items()}
    base = config.get("base_model_name_or_path")
    return LoraWeights(_of_one_rank(pairs), scale, base if isinstance(base, str) and base else None)


def read_mlx(folder: Path) -> LoraWeights:
    """mlx-lm's folder. Raises as `read_peft` does."""
    path = folder / lora_mlx.WEIGHTS_FILE
    facts = lora_mlx.read(path)
    if any(len(shape) > 2 for shape in facts.shapes.values()):
        raise unsupported("it changes layers of experts; it can be taken as MLX only")
    data, tensors = path.read_bytes(), safetensors_header(path)

    def half(layer: str, name: str) -> Matrix:
        return _numbers(path, tensors[f"{layer}.{name}"], data).T

    pairs = {layer: (half(layer, "lora_a"), half(layer, "lora_b")) for layer in facts.shapes}
    base = object_of(folder / CONFIG_FILE).get("model")
    return LoraWeights(pairs, facts.scale, base if isinstance(base, str) and base else None)


def write_mlx(weights: LoraWeights, folder: Path) -> None:
    """Write the two files that mlx-lm's `load_adapters` reads."""
    tensors = {}
    for layer, (a, b) in weights.pairs.items():
        tensors[f"{layer}.lora_a"], tensors[f"{layer}.lora_b"] = a.T, b.T
    _write(folder / lora_mlx.WEIGHTS_FILE, tensors, {"format": "mlx"})
    inner = [_LAYER.fullmatch(layer) for layer in weights.pairs]
    keys = sorted({found[1] if found else layer for found, layer in zip(inner, weights.pairs, strict=True)})
    parameters = {"rank": weights.rank, "scale": weights.scale, "dropout": 0.0, "keys": keys}
    # To mlx-lm, no number of layers means all of them.
    _write_json(folder / CONFIG_FILE, {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": parameters})


def write_peft(weights: LoraWeights, folder: Path) -> None:
    """Write the two files that llama.cpp's converter reads: one rank, one alpha, nothing else."""
    tensors = {}
    for layer, (a, b) in weights.pairs.items():
        tensors[f"base_model.model.{layer}.lora_A.weight"] = a
        tensors[f"base_model.model.{layer}.lora_B.weight"] = b
    _write(folder / PEFT_FILE, tensors, {"format": "pt"})
    settings = {"peft_type": "LORA", "r": weights.rank, "lora_alpha": weights.scale * weights.rank}
    _write_json(folder / CONFIG_FILE, settings)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise Broken(f"{folder.name} has no {path.name}.", code="model_file_missing", hint="Fetch the adapter again.")
    return object_of(path)


def _halves(path: Path) -> dict[str, tuple[Matrix, Matrix]]:
    tensors = safetensors_header(path)
    data = path.read_bytes()
    halves: dict[str, dict[str, Matrix]] = {"A": {}, "B": {}}
    for name, tensor in tensors.items():
        found = _PEFT.fullmatch(name)
        if found is None:
            raise unsupported("it holds more than the matrices A and B of linear layers")
        halves[found[2]][found[1]] = _numbers(path, tensor, data)
    if not halves["A"] or halves["A"].keys() != halves["B"].keys():
        raise unreadable(path, "lacks one half of a pair of matrices, or all of them")
    pairs = {layer: (a, halves["B"][layer]) for layer, a in halves["A"].items()}
    for layer, (a, b) in pairs.items():
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or not 0 < a.shape[0] <= MAX_RANK:
            raise unreadable(path, f"has two halves for {plain(layer, 100)} that do not fit")
    return pairs


def _numbers(path: Path, tensor: StoredTensor, data: bytes) -> Matrix:
    if tensor.kind not in _KINDS:
        raise unsupported(f"its numbers are {tensor.kind}; F32, F16 and BF16 are known")
    found = np.frombuffer(data[tensor.start : tensor.end], _KINDS[tensor.kind]).reshape(tensor.shape)
    if tensor.kind == "BF16":
        found = (found.astype("<u4") << 16).view("<f4")
    if not np.isfinite(found).all():
        raise unreadable(path, "holds numbers that are none")
    return found


def _scale(folder: Path, config: Mapping[str, Any], layer: str, rank: int) -> float:
    """What PEFT multiplies a layer's B·A by; `use_rslora` is Kalajdzievski's, 2023: the root of the rank."""
    path = folder / CONFIG_FILE
    alpha = finite(_of_layer(config.get("alpha_pattern"), layer, config.get("lora_alpha", 8)))
    stated = _of_layer(config.get("rank_pattern"), layer, config.get("r", rank))
    if alpha is None:
        raise unreadable(path, "has a senseless lora_alpha")
    if stated != rank:
        raise unreadable(path, f"states another rank for {plain(layer, 100)} than its weights have")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _of_layer(patterns: Any, layer: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that is the end of the layer's name counts. They may be regular expressions."""
    for pattern, value in (patterns or {}).items() if isinstance(patterns, dict) else ():
        if layer == pattern or layer.endswith(f".{pattern}"):
            return value
        if not re.fullmatch(r"[\w.]+", pattern):
            raise unsupported("it has patterns of ranks or alphas that are regular expressions")
    return default


def _times(matrix: Matrix, factor: float) -> Matrix:
    return matrix if factor == 1.0 else (matrix.astype("<f4") * np.float32(factor)).astype("<f4")


def _of_one_rank(pairs: Mapping[str, tuple[Matrix, Matrix]]) -> dict[str, tuple[Matrix, Matrix]]:
    rank = max(a.shape[0] for a, _ in pairs.values())

    def filled(matrix: Matrix, axis: int) -> Matrix:
        missing = [(0, 0), (0, 0)]
        missing[axis] = (0, rank - matrix.shape[axis])
        return np.pad(matrix, missing)

    return {layer: (filled(a, 0), filled(b, 1)) for layer, (a, b) in pairs.items()}


def _write(path: Path, tensors: Mapping[str, Matrix], metadata: Mapping[str, str]) -> None:
    """The safetensors format, which is simpler than a dependency for it: the library has no bfloat16 without torch."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    for name, tensor in sorted(tensors.items()):
        header[name] = {
            "dtype": _STORED[tensor.dtype.str],
            "shape": tensor.shape,
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in sorted(tensors.items()):
            file.write(np.ascontiguousarray(tensor).tobytes())


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
