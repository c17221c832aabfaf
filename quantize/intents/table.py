"""The table of the word pieces' vectors in fewer bits: the largest part of the encoder. In the export environment.

Word pieces are numbered by how often they are met, the frequent ones first. These keep 8 bits, the others have 4, with
one scale for a block of a row, each the one of several with the least squared error. A row is looked up by ONNX
Runtime's GatherBlockQuantized in both, and the right one is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from quantize.onnx.weights import CONTRIBUTED, Graph

FREQUENT = 6144
"""Rows with 8 bits: as many as leave the encoder and its tokenizer under 25 MB."""
WIDE_BLOCK, NARROW_BLOCK = 128, 32
_TRIED = 48
"""Scales that are tried for a block. The extreme value may become the lowest level, of which there is one more."""

Matrix = NDArray[np.float32]


def shrink(path: Path, table: Matrix) -> None:
    """Rewrite the ONNX model `path`, which looks `input_ids` up in a matrix, with `table` (pieces, features) for it.

    Raises ValueError where the model has no such node, or one with a matrix of another shape.
    """
    graph = Graph.read(path)
    nodes = list(graph.model.graph.node)
    at = next((at for at, node in enumerate(nodes) if _looks_up(graph, node, table.shape)), None)
    if at is None:
        raise ValueError(f"{path.name} has no table of the shape {table.shape} for input_ids")
    output = next(
        node.output[0] for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] == nodes[at].output[0]
    )
    graph.replace(_looked_up(graph, table, output) + [node for node in nodes if output not in node.output])
    onnx.save(graph.finish(), str(path))


def _looks_up(graph: Graph, node: Any, shape: tuple[int, ...]) -> bool:
    if node.op_type != "Gather" or node.input[1] != "input_ids":
        return False
    return tuple(graph.initializers[node.input[0]].dims) == shape


def _looked_up(graph: Graph, table: Matrix, output: str) -> list[Any]:
    """The nodes that make the rows of `input_ids`, as `output`."""
    graph.add("frequent_pieces", np.array(FREQUENT))
    graph.add("last_frequent_piece", np.array(FREQUENT - 1))
    graph.add("no_piece", np.array(0))
    graph.add("axis_of_features", np.array([-1]))
    return [
        helper.make_node("Less", ["input_ids", "frequent_pieces"], ["is_frequent"]),
        helper.make_node("Unsqueeze", ["is_frequent", "axis_of_features"], ["rows_are_frequent"]),
        helper.make_node("Min", ["input_ids", "last_frequent_piece"], ["among_frequent"]),
        helper.make_node("Sub", ["input_ids", "frequent_pieces"], ["behind_frequent"]),
        helper.make_node("Max", ["behind_frequent", "no_piece"], ["among_rare"]),
        _gathered(graph, "among_frequent", table[:FREQUENT], "frequent_rows", 8, WIDE_BLOCK),
        _gathered(graph, "among_rare", table[FREQUENT:], "rare_rows", 4, NARROW_BLOCK),
        helper.make_node("Where", ["rows_are_frequent", "frequent_rows", "rare_rows"], ["rows_at_16_bits"]),
        helper.make_node("Cast", ["rows_at_16_bits"], [output], to=onnx.TensorProto.FLOAT),
    ]


def _gathered(graph: Graph, pieces: str, rows: Matrix, name: str, bits: int, block: int) -> Any:
    levels, scales = in_blocks(rows, bits, block)
    return helper.make_node(
        "GatherBlockQuantized",
        [graph.add(f"{name}_levels", levels), pieces, graph.add(f"{name}_scales", scales)],
        [name],
        domain=CONTRIBUTED,
        bits=bits,
        block_size=block,
        gather_axis=0,
        quantize_axis=1,
    )


def in_blocks(rows: Matrix, bits: int, block: int) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Levels, packed in bytes, and a scale for each `block` features of a row, as GatherBlockQuantized reads them."""
    lowest = -(2 ** (bits - 1))
    values = rows.reshape(-1, block)
    extreme = values[np.arange(len(values)), np.abs(values).argmax(axis=1)]
    best, least = np.ones(len(values), np.float16), np.full(len(values), np.inf, np.float32)
    for divisor in np.linspace(lowest * 1.1, lowest * 0.8, _TRIED):
        for scales in ((extreme / divisor).astype(np.float16), (extreme / -divisor).astype(np.float16)):
            scales[scales == 0] = 1
            errors = np.square(_levels(values, scales, lowest) * scales.astype(np.float32)[:, None] - values).sum(
                axis=1
            )
            better = errors < least
            best[better], least[better] = scales[better], errors[better]
    levels = (_levels(values, best, lowest) - lowest).astype(np.uint8).reshape(len(rows), -1)
    packed = levels if bits == 8 else levels[:, ::2] | (levels[:, 1::2] << 4)
    return packed, best.reshape(len(rows), -1)


def _levels(values: Matrix, scales: NDArray[np.float16], lowest: int) -> Matrix:
    levels: Matrix = np.clip(np.rint(values / scales.astype(np.float32)[:, None]), lowest, -lowest - 1)
    return levels
