"""A language model's ONNX graph, opened with care: its names, its shapes, and how it keeps what it has read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.models.formats.hf_config import HfConfig
from edge_agent.models.formats.hf_files import unreadable
from edge_agent.runtimes.decoders.onnx_file import read_onnx_file

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)")
_REQUIRED = {"input_ids", "attention_mask"}
_OPTIONAL = {"position_ids"}
_TYPES: Mapping[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
}
_NO_DECODER = "is an ONNX model, but not a language model with a cache of keys and values that is known here"


@dataclass(frozen=True, slots=True)
class CacheShape:
    """Keys or values of a layer: an input of shape (batch, heads, cells, head_size) and the output that extends it."""

    past: str
    present: str
    heads: int
    head_size: int


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """A session and what its inputs and outputs mean.

    `extends_in_place`: every cache is read and written by GroupQueryAttention alone, which may be given one buffer
    as both, and takes a batch's rows to begin at their first cell. Otherwise a run makes new, longer caches.
    """

    session: InferenceSession
    caches: tuple[CacheShape, ...]
    cache_type: np.dtype[Any]
    vocabulary_size: int
    context_length: int | None
    takes_positions: bool
    extends_in_place: bool
    weight_bytes: int

    @property
    def cell_bytes(self) -> int:
        """What the caches take for one token."""
        return sum(cache.heads * cache.head_size for cache in self.caches) * self.cache_type.itemsize


def open_graph(path: Path, *, threads: int) -> OnnxGraph:
    """Load a decoder as `edge-quantize --to onnx` makes it, or onnxruntime-genai's builder.

    Raises Broken code "model_file_missing" or "model_unreadable", also where it is an ONNX model of another kind.
    """
    file = read_onnx_file(path)
    config = HfConfig.read(path.parent)
    session = _open_session(path, threads)
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    past = [name for name in inputs if _PAST.fullmatch(name)]
    if not past or not _REQUIRED <= set(inputs) <= _REQUIRED | _OPTIONAL | set(past) or "logits" not in outputs:
        raise unreadable(path, _NO_DECODER)
    caches = tuple(_cache(path, inputs[name].shape, name, outputs, config) for name in past)
    cache_type = _TYPES.get(inputs[past[0]].type)
    logits = outputs["logits"]
    if (
        cache_type is None
        or len({inputs[name].type for name in past} | {outputs[cache.present].type for cache in caches}) != 1
        or logits.type not in _TYPES
        or len(logits.shape) != 3
        or not isinstance(logits.shape[2], int)
        or any(inputs[name].type != "tensor(int64)" for name in set(inputs) - set(past))
    ):
        raise unreadable(path, _NO_DECODER)
    return OnnxGraph(
        session=session,
        caches=caches,
        cache_type=cache_type,
        vocabulary_size=logits.shape[2],
        context_length=config.context_length,
        takes_positions="position_ids" in inputs,
        extends_in_place=2 * file.operators.get("GroupQueryAttention", 0) == len(caches),
        weight_bytes=file.weight_bytes,
    )


def _cache(path: Path, shape: list[Any], past: str, outputs: Mapping[str, Any], config: HfConfig) -> CacheShape:
    present = past.replace("past_key_values", "present")
    if len(shape) != 4 or present not in outputs:
        raise unreadable(path, _NO_DECODER)
    heads = shape[1] if isinstance(shape[1], int) else config.kv_heads
    head_size = shape[3] if isinstance(shape[3], int) else config.head_size
    if heads < 1 or head_size < 1:
        raise unreadable(path, _NO_DECODER)
    return CacheShape(past, present, heads, head_size)


def _open_session(path: Path, threads: int) -> InferenceSession:
    import onnxruntime  # noqa: PLC0415  # an engine: the daemon starts without it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Every run has other shapes than the one before, so a plan of its memory is never used twice.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Otherwise a name that ends in .ort would be read as another format, which was not looked through.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each of the library's errors derives from bare Exception
        raise unreadable(path, "was refused by ONNX Runtime") from error
