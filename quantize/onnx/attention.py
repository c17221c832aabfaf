"""Attention as one operator. Runs in the export environment.

The exporter writes attention as some seventy small operators a layer, which copy the cache of keys and values at each
token. ONNX Runtime's GroupQueryAttention does the same in one, and writes into the cache in place. Where a graph has
another shape than the one known here, it stays as it was exported: slower, and right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from quantize.onnx.layers import Layer, Nodes, OtherGraphError
from quantize.onnx.part import CannotComputeError, compute
from quantize.onnx.weights import CONTRIBUTED, Graph

MOST_POSITIONS = 2**17
"""Positions that sines and cosines are tabulated for."""

_PRESENT = re.compile(r"present\.(\d+)\.key")
_CELLS, _TOKENS = 70, 9
_LARGEST_DIFFERENCE = 1e-4
"""Of attention in one operator and in many, over numbers with a deviation of 1; in 32 bits they differ by some 1e-6."""


def fuse(graph: Graph, config: Mapping[str, Any]) -> None:
    """Replace the attention of every layer in `graph`. Raises OtherGraphError, and has then changed nothing."""
    _check(config)
    known = Nodes(graph)
    numbers = [found[1] for output in graph.model.graph.output if (found := _PRESENT.fullmatch(output.name))]
    layers = [known.layer(number) for number in numbers]
    if len({(layer.cosines, layer.sines) for layer in layers}) != 1:
        raise OtherGraphError("layers without attention, or with positions of their own")
    before, nodes = list(graph.added), list(graph.model.graph.node)
    heads = config["num_attention_heads"]
    try:
        _add_tables(graph, nodes, layers[0], config["max_position_embeddings"])
        made = {
            layer.attended: _attention(layer, heads, config.get("num_key_value_heads") or heads) for layer in layers
        }
        for layer in layers:
            given = _some_values(graph, layer, heads) | {known.embeddings(): np.zeros((1, _TOKENS, 1), np.float32)}
            wanted = [layer.attended, *(f"present.{layer.number}.{which}" for which in ("key", "value"))]
            exported = compute(graph, nodes, wanted, given)
            fused = compute(graph, [*_lengths(), *made[layer.attended]], wanted, given)
            _check_same(layer, exported, fused)
    except (OtherGraphError, CannotComputeError) as error:
        graph.added[:] = before
        raise OtherGraphError(str(error)) from error
    gone = {f"present.{layer.number}.{which}" for layer in layers for which in ("key", "value")}
    kept = (node for node in nodes if node.output[0] not in gone)
    graph.replace([*_lengths(), *(new for node in kept for new in made.get(node.output[0], [node]))])


def _check(config: Mapping[str, Any]) -> None:
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        raise OtherGraphError("a sliding window")
    if set(config.get("layer_types") or ()) - {"full_attention"}:
        raise OtherGraphError("layers of several kinds")
    if not config.get("num_attention_heads") or not 0 < (config.get("max_position_embeddings") or 0) <= MOST_POSITIONS:
        raise OtherGraphError("an unknown number of heads, or too many positions")


def _add_tables(graph: Graph, nodes: list[Any], layer: Layer, positions: int) -> None:
    """Cosines and sines of every position, of shape (positions, half of a head's size)."""
    names = [layer.cosines, layer.sines]
    tables = compute(graph, nodes, names, {"position_ids": np.arange(positions)[None]})
    for name, table in zip(("cosines", "sines"), tables, strict=True):
        half = table.shape[-1] // 2
        if table.ndim != 3 or not np.array_equal(table[..., :half], table[..., half:]):
            raise OtherGraphError("positions that are not rotations of two halves")
        graph.add(name, table[0, :, :half].astype(np.float32))
    graph.add("flat_heads", np.array([0, 0, -1]))
    graph.add("cells_axis", np.array([1]))
    graph.add("one", np.array(1))


def _attention(layer: Layer, heads: int, kept_heads: int) -> list[Any]:
    """The nodes that make `layer.attended`. Where a layer has its heads told apart already, they are joined."""
    joined, names = [], []
    for found in (layer.query, layer.key, layer.value):
        names.append(found.name)
        if not found.flat:
            joined.append(helper.make_node("Reshape", [found.name, "flat_heads"], [f"{found.name}_joined"]))
            names[-1] = joined[-1].output[0]
    past = [f"past_key_values.{layer.number}.{which}" for which in ("key", "value")]
    attention = helper.make_node(
        "GroupQueryAttention",
        [*names, *past, "last_cells", "all_cells", "cosines", "sines"],
        [layer.attended, f"present.{layer.number}.key", f"present.{layer.number}.value"],
        name=f"attention.{layer.number}",
        domain=CONTRIBUTED,
        num_heads=heads,
        kv_num_heads=kept_heads,
        do_rotary=1,
        scale=layer.scale,
    )
    return [*joined, attention]


def _lengths() -> list[Any]:
    """Of each row the last cell that is used, and how many cells there are: what the operator wants for a mask."""
    int32 = onnx.TensorProto.INT32
    return [
        helper.make_node("ReduceSum", ["attention_mask", "cells_axis"], ["used_cells"], keepdims=0),
        helper.make_node("Sub", ["used_cells", "one"], ["last_cell"]),
        helper.make_node("Cast", ["last_cell"], ["last_cells"], to=int32),
        helper.make_node("Shape", ["attention_mask"], ["mask_shape"]),
        helper.make_node("Gather", ["mask_shape", "one"], ["mask_width"], axis=0),
        helper.make_node("Cast", ["mask_width"], ["all_cells"], to=int32),
    ]


def _some_values(graph: Graph, layer: Layer, heads: int) -> dict[str, NDArray[Any]]:
    """Numbers of no meaning for all that a layer's attention is computed from."""
    random = np.random.default_rng(0)
    shapes = {given.name: given.type.tensor_type.shape.dim for given in graph.model.graph.input}
    _, kept_heads, _, size = (dim.dim_value for dim in shapes[f"past_key_values.{layer.number}.key"])

    def some(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape, np.float32)

    past = some(1, kept_heads, _CELLS, size)
    given: dict[str, NDArray[Any]] = {name: past for name in shapes if name.startswith("past_key_values.")}
    for found, count in ((layer.query, heads), (layer.key, kept_heads), (layer.value, kept_heads)):
        given[found.name] = some(1, _TOKENS, count * size) if found.flat else some(1, _TOKENS, count, size)
    return given | {
        "input_ids": np.zeros((1, _TOKENS), np.int64),
        "attention_mask": np.ones((1, _CELLS + _TOKENS), np.int64),
        "position_ids": np.arange(_CELLS, _CELLS + _TOKENS)[None],
        layer.hidden: np.zeros((1, _TOKENS, 1), np.float32),
    }


def _check_same(layer: Layer, exported: list[NDArray[Any]], fused: list[NDArray[Any]]) -> None:
    for one, other in zip(exported, fused, strict=True):
        if one.shape != other.shape or not np.abs(one - other).max() < _LARGEST_DIFFERENCE:
            raise OtherGraphError(f"layer {layer.number} has attention of another kind")
