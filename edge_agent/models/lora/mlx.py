"""LoRA adapters as mlx-lm has them: adapters.safetensors, and beside it adapter_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.formats.hf_files import object_of, text_of, unreadable
from edge_agent.models.formats.hf_folder import safetensors_files
from edge_agent.models.formats.safetensors_header import safetensors_shapes
from edge_agent.models.lora.facts import MAX_RANK, BaseFacts, LoraFacts, Shape, finite, unsupported
from edge_agent.models.manifest import plain

WEIGHTS_FILE = "adapters.safetensors"
CONFIG_FILE = "adapter_config.json"

_A, _B = ".lora_a", ".lora_b"
_WEIGHT, _SCALES = ".weight", ".scales"
_EMBEDDINGS = frozenset({"embed_tokens", "wte", "word_embeddings", "tok_embeddings", "embedding"})
_DEFAULT_GROUP = 64


def read(path: Path) -> LoraFacts:
    """See `lora.read`; `path` is the adapters.safetensors."""
    rank, scale = _parameters(path.parent)
    halves: dict[str, dict[str, Shape]] = {_A: {}, _B: {}}
    for name, shape in safetensors_shapes(path).items():
        ending = name[-len(_A) :]
        if ending not in halves:
            raise unsupported("it holds more than LoRA's matrices")
        halves[ending][name[: -len(_A)]] = shape
    if not halves[_A] or halves[_A].keys() != halves[_B].keys():
        raise unreadable(path, "lacks one half of a pair of matrices, or all of them")
    shapes = {name: _shape(path, name, rank, a, halves[_B][name]) for name, a in halves[_A].items()}
    return LoraFacts(shapes, rank, scale)


def base(path: Path) -> BaseFacts:
    """See `lora.base`; `path` is the folder's main file of weights."""
    found = {name: shape for file in safetensors_files(path.parent) for name, shape in safetensors_shapes(file).items()}
    quantization = object_of(path.parent / "config.json").get("quantization")
    groups = quantization if isinstance(quantization, dict) else {}
    shapes = {}
    for name, shape in found.items():
        module = name.removesuffix(_WEIGHT)
        if module != name and len(shape) in {2, 3}:
            scales = found.get(module + _SCALES)
            row = scales[-1] * _group_size(groups, module) if scales else shape[-1]
            shapes[module] = (row, shape[-2], *shape[:-2])
    return BaseFacts(shapes)


def _parameters(folder: Path) -> tuple[int, float]:
    """Rank and scale, where mlx-lm can read the rest of the config, too."""
    path = folder / CONFIG_FILE
    if text_of(path) is None:
        raise Broken(
            f"The adapter has no {CONFIG_FILE}.",
            code="model_file_missing",
            hint="Make the adapter again with edge-quantize.",
        )
    config = object_of(path)
    if config.get("fine_tune_type", "lora") != "lora":
        raise unsupported("it is no plain LoRA")
    parameters = config.get("lora_parameters")
    if not isinstance(parameters, dict) or type(config.get("num_layers")) is not int:
        raise unreadable(path, "is not what mlx-lm writes for a LoRA adapter")
    rank, scale, dropout = (parameters.get(name) for name in ("rank", "scale", "dropout"))
    keys = parameters.get("keys")
    if type(rank) is not int or not 0 < rank <= MAX_RANK:
        raise unreadable(path, "has a senseless rank")
    if not (keys is None or (isinstance(keys, list) and all(isinstance(key, str) for key in keys))):
        raise unreadable(path, "names its layers in no list")
    _number(path, dropout)
    return rank, _number(path, scale)


def _number(path: Path, value: Any) -> float:
    number = finite(value)
    if number is None:
        raise unreadable(path, "has senseless parameters")
    return number


def _shape(path: Path, name: str, rank: int, a: Shape, b: Shape) -> Shape:
    """The matrix that A, (in, rank), and B, (rank, out), change; (n, rank, in) and (n, out, rank) for n of a kind.

    Of an embedding A counts the tokens, so that in and out change places.
    """
    if len(a) == len(b) == 2 and a[1] == b[0] == rank:
        is_embedding = name.rpartition(".")[2] in _EMBEDDINGS
        return (b[1], a[0]) if is_embedding else (a[0], b[1])
    if len(a) == len(b) == 3 and a[0] == b[0] and a[1] == b[2] == rank:
        return (a[2], b[1], a[0])
    raise unreadable(path, f"has two halves for {plain(name, 100)} that do not fit")


def _group_size(groups: Mapping[str, Any], module: str) -> int:
    """Weights that share a scale; a model may say it for one module."""
    own = groups.get(module)
    size = (own if isinstance(own, dict) else groups).get("group_size", _DEFAULT_GROUP)
    return size if type(size) is int and 0 < size <= 1 << 16 else _DEFAULT_GROUP
