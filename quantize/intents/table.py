"""The table of the word pieces' vectors in fewer bits: the largest part of the encoder. In the export environment.

The pieces that requests are made of keep 8 bits; the others have 4, with one scale for 32 features of a row, each the
one of several with the least squared error. What is asked in other words than the training texts loses little by it:
a row's error is 8% of its length, that of 8 bits 3%, and both are small beside what activations of 8 bits lose.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from quantize.onnx.weights import CONTRIBUTED, Graph

KEPT = 6784
"""Rows with 8 bits: as many as leave the encoder with its tokenizer under 25 MB."""
BLOCK = 32
_LOWEST = -8
_TRIED = 48
"""Scales that are tried for a block. The extreme value may become the lowest level, of which there is one more."""

Matrix = NDArray[np.float32]
Pieces = NDArray[np.int64]


def most_used(pieces: Iterable[int], number: int, most: int = KEPT) -> Pieces:
    """The `most` of `number` pieces that are met most in `pieces`, then those with the lowest numbers.

    Word pieces are numbered by how often they are met in general, the frequent ones first.
    """
    met = np.bincount(np.fromiter(pieces, np.int64), minlength=number)
    return np.argsort(-met, kind="stable")[:most]


def shrink(path: Path, table: Matrix, kept: Pieces) -> None:
    """Rewrite the ONNX model `path`, in which `input_ids` are looked up in a matrix of 8 bits.

    Rows of `kept` stay as they are, bit by bit; the others are made from `table` (pieces, features) anew.
    Raises ValueError where the model has no such matrix of the shape of `table`.
    """
    graph = Graph.read(path)
    nodes = list(graph.model.graph.node)
    found = next((found for node in nodes if (found := _lookup(graph, nodes, node, table.shape))), None)
    if found is None:
        raise ValueError(f"{path.name} has no table of the shape {table.shape} and 8 bits for input_ids")
    graph.replace(new for node in nodes for new in found.replaced(graph, node, table, kept))
    onnx.save(graph.finish(), str(path))


@dataclass(frozen=True, slots=True)
class _Lookup:
    """The node that looks rows up, and the one that makes numbers of them."""

    gather: Any
    dequantize: Any

    def replaced(self, graph: Graph, node: Any, table: Matrix, kept: Pieces) -> list[Any]:
        """What stands in the place of `node`; that itself where it is neither of the two."""
        if node.output[0] == self.gather.output[0]:
            return []
        if node.output[0] != self.dequantize.output[0]:
            return [node]
        rest = np.setdiff1d(np.arange(len(table)), kept)
        return [
            *_places(graph, np.concatenate([kept, rest]), len(kept)),
            *self._kept_rows(graph, kept),
            *_rest_rows(graph, table[rest]),
            helper.make_node("Where", ["rows_are_kept", "kept_rows", "rest_rows"], list(node.output)),
        ]

    def _kept_rows(self, graph: Graph, kept: Pieces) -> list[Any]:
        rows = graph.add("kept_levels", graph.values(self.gather.input[0])[kept])
        return [
            helper.make_node("Gather", [rows, "kept_places"], ["kept_rows_at_8_bits"]),
            helper.make_node("DequantizeLinear", ["kept_rows_at_8_bits", *self.dequantize.input[1:]], ["kept_rows"]),
        ]


def _lookup(graph: Graph, nodes: list[Any], gather: Any, shape: tuple[int, ...]) -> _Lookup | None:
    if gather.op_type != "Gather" or gather.input[1] != "input_ids" or gather.input[0] not in graph.initializers:
        return None
    readers = [node for node in nodes if gather.output[0] in node.input]
    if tuple(graph.initializers[gather.input[0]].dims) != shape or [r.op_type for r in readers] != ["DequantizeLinear"]:
        return None
    return _Lookup(gather, readers[0])


def _places(graph: Graph, order: Pieces, kept: int) -> list[Any]:
    """Of each piece its row among those that are kept and among the rest, and in which of the two it is."""
    places = np.empty(len(order), np.uint16)
    places[order] = np.arange(len(order))
    graph.add("places_of_pieces", places)
    graph.add("first_of_the_rest", np.array(kept))
    graph.add("last_kept", np.array(kept - 1))
    graph.add("first_place", np.array(0))
    graph.add("features_axis", np.array([-1]))
    return [
        helper.make_node("Gather", ["places_of_pieces", "input_ids"], ["short_places"]),
        helper.make_node("Cast", ["short_places"], ["places"], to=onnx.TensorProto.INT64),
        helper.make_node("Min", ["places", "last_kept"], ["kept_places"]),
        helper.make_node("Sub", ["places", "first_of_the_rest"], ["places_behind"]),
        helper.make_node("Max", ["places_behind", "first_place"], ["rest_places"]),
        helper.make_node("Less", ["places", "first_of_the_rest"], ["are_kept"]),
        helper.make_node("Unsqueeze", ["are_kept", "features_axis"], ["rows_are_kept"]),
    ]


def _rest_rows(graph: Graph, rows: Matrix) -> list[Any]:
    levels, scales = in_blocks(rows)
    looked_up = helper.make_node(
        "GatherBlockQuantized",
        [graph.add("rest_levels", levels), "rest_places", graph.add("rest_scales", scales)],
        ["rest_rows_at_16_bits"],
        domain=CONTRIBUTED,
        bits=4,
        block_size=BLOCK,
        gather_axis=0,
        quantize_axis=1,
    )
    return [looked_up, helper.make_node("Cast", ["rest_rows_at_16_bits"], ["rest_rows"], to=onnx.TensorProto.FLOAT)]


def in_blocks(rows: Matrix) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Levels of 4 bits, two in a byte, and a scale for each block of a row, as GatherBlockQuantized reads them."""
    values = rows.reshape(-1, BLOCK)
    extreme = values[np.arange(len(values)), np.abs(values).argmax(axis=1)]
    best, least = np.ones(len(values), np.float16), np.full(len(values), np.inf, np.float32)
    for divisor in np.linspace(_LOWEST * 1.1, _LOWEST * 0.8, _TRIED):
        for scales in ((extreme / divisor).astype(np.float16), (extreme / -divisor).astype(np.float16)):
            scales[scales == 0] = 1
            errors = np.square(_levels(values, scales) * scales.astype(np.float32)[:, None] - values).sum(axis=1)
            better = errors < least
            best[better], least[better] = scales[better], errors[better]
    levels = (_levels(values, best) - _LOWEST).astype(np.uint8).reshape(len(rows), -1)
    packed: NDArray[np.uint8] = levels[:, ::2] | (levels[:, 1::2] << np.uint8(4))
    return packed, best.reshape(len(rows), -1)


def _levels(values: Matrix, scales: NDArray[np.float16]) -> Matrix:
    levels: Matrix = np.clip(np.rint(values / scales.astype(np.float32)[:, None]), _LOWEST, -_LOWEST - 1)
    return levels
