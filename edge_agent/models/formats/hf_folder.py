"""The large files of a model in Hugging Face form: how many bytes they have, by their names and headers alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_agent.models.formats.hf_files import missing
from edge_agent.models.formats.safetensors_header import safetensors_header

TOKENIZER_FILE = "tokenizer.json"

_SAFETENSORS = "model*.safetensors"
_GRAPH_BYTES = 4 * 2**20
_FLOAT_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
_NOT_WEIGHTS = frozenset({".json", ".jinja", ".md", ".txt", ".model", ".py", ".onnx", ".gguf", ".safetensors", ".part"})


@dataclass(frozen=True, slots=True)
class Weights:
    """`size` in bytes; `float_bytes`: of the widest number that is not packed."""

    size: int
    float_bytes: int


def tokenizer_bytes(folder: Path) -> int:
    """The size of the tokenizer's file, 0 where there is none."""
    path = folder / TOKENIZER_FILE
    return path.stat().st_size if path.is_file() else 0


def has_fused_attention(path: Path) -> bool:
    """Whether an ONNX decoder's attention is one operator with a cache that grows in place.

    In a graph's file the nodes come before the weights.
    """
    with path.open("rb") as opened:
        return b"GroupQueryAttention" in opened.read(_GRAPH_BYTES)


def onnx_bytes(path: Path) -> int:
    """Of the .onnx file and of what lies beside it as external data. Raises Broken code "model_file_missing"."""
    if not path.is_file():
        raise missing(path)
    others = (file for file in path.parent.iterdir() if file.suffix not in _NOT_WEIGHTS and file.name[0] != ".")
    return path.stat().st_size + sum(file.stat().st_size for file in others if file.is_file())


def safetensors_files(folder: Path) -> list[Path]:
    """All weights of the folder: mlx-lm reads every such file, whatever an index says."""
    return sorted(folder.glob(_SAFETENSORS))


def safetensors(path: Path) -> Weights:
    """Of all weights beside `path`. Raises what `safetensors_header` raises."""
    if not path.is_file():
        raise missing(path)
    return Weights(sum(file.stat().st_size for file in safetensors_files(path.parent)), _float_bytes(path))


def _float_bytes(path: Path) -> int:
    kinds = {tensor.kind for tensor in safetensors_header(path).values()}
    return max((_FLOAT_BYTES.get(kind, 0) for kind in kinds), default=0) or 2
