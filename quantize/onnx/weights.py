"""An exported graph with its matrices in blocks. Runs in the export environment.

Weights that lie in a file beside the graph stay there until their turn comes, so that little more than one matrix is
in memory beside what has been made of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor

from quantize.onnx.blocks import BLOCK, Blocks, Matrix, half_quadratic, nearest

CONTRIBUTED = "com.microsoft"
INT8_ACTIVATIONS = 4
HEAD_BITS = 8
"""Of the output head and the embeddings, often one matrix: rounding them costs more than rounding any other."""

_SMALL = 1024
"""Bytes of a tensor that stays in the graph's own file."""

Choose = Callable[[Matrix], Blocks]
Tell = Callable[[int, int], None]


@dataclass(slots=True)
class Graph:
    """A model of which `folder` holds the weights; `added` are new initializers."""

    model: Any
    folder: Path
    initializers: dict[str, Any]
    added: list[Any] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Graph:
        """The graph of a file, without the weights that lie in a second one."""
        model = onnx.load(str(path), load_external_data=False)
        for tensor in _constants(model.graph):
            _load(tensor, path.parent)
        return cls(model, path.parent, {tensor.name: tensor for tensor in model.graph.initializer})

    def values(self, name: str) -> Matrix:
        """The numbers of an initializer."""
        tensor = self.initializers[name]
        if tensor.external_data:
            kept, tensor = tensor, onnx.TensorProto()
            tensor.CopyFrom(kept)
            _load(tensor, self.folder)
        return np.asarray(numpy_helper.to_array(tensor))

    def constant(self, node: Any) -> NDArray[Any]:
        """The number that a Constant node holds."""
        return np.asarray(numpy_helper.to_array(node.attribute[0].t))

    def replace(self, nodes: Iterable[Any]) -> None:
        """Give the graph these nodes, without those that lead nowhere and the inputs that nobody reads."""
        graph = self.model.graph
        wanted = {output.name for output in graph.output}
        kept = []
        for node in reversed(list(nodes)):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(_read_by(node))
        inputs = [given for given in graph.input if given.name in wanted]
        del graph.node[:], graph.input[:]
        graph.node.extend(reversed(kept))
        graph.input.extend(inputs)

    def add(self, name: str, values: Any) -> str:
        """The name of a new initializer."""
        self.added.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def finish(self) -> Any:
        """The model, complete, with the initializers that are used."""
        graph = self.model.graph
        made = {name for node in graph.node for name in node.output}
        used = {name for node in graph.node for name in _read_by(node)} - made
        tensors = [tensor for tensor in (*graph.initializer, *self.added) if tensor.name in used]
        for tensor in tensors:
            _load(tensor, self.folder)
        del graph.initializer[:]
        graph.initializer.extend(tensors)
        if not any(opset.domain == CONTRIBUTED for opset in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(CONTRIBUTED, 1))
        return self.model


def _read_by(node: Any) -> Iterator[str]:
    """The names that a node reads, and the graphs within it, which may read whatever lies around them."""
    yield from node.input
    for graph in _inner(node):
        yield from (output.name for output in graph.output)
        for each in graph.node:
            yield from _read_by(each)


def _inner(node: Any) -> Iterator[Any]:
    """The bodies of loops and branches."""
    for attribute in node.attribute:
        yield from (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)


def _constants(graph: Any) -> Iterator[Any]:
    """Tensors that are parts of nodes: of large models, exporters put these into the second file, too."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in _inner(node):
            yield from _constants(inner)


def _load(tensor: Any, folder: Path) -> None:
    if tensor.external_data:
        load_external_data_for_tensor(tensor, str(folder))
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT


@dataclass(frozen=True, slots=True)
class _Product:
    """A MatMul by the initializer `weights`, or by its transpose."""

    weights: str
    transposed: bool


def in_blocks(graph: Graph, choose: Choose, tell: Tell) -> Any:
    """The language model with each matrix as `choose` makes it of its numbers.

    The output head and the embeddings have 8 bits, and share their bytes where they are one matrix.
    `tell` hears how many of how many matrices are done.
    """
    products = products_of(graph)
    nodes: list[Any] = []
    head: tuple[str, _Placed] | None = None
    done = 0
    for node in graph.model.graph.node:
        product = products.get(node.output[0])
        if product is None:
            nodes.append(node)
            continue
        weights = graph.values(product.weights)
        weights = np.ascontiguousarray(weights.T) if product.transposed else weights
        is_head = "logits" in node.output
        placed = _place(graph, product.weights, nearest(weights, HEAD_BITS) if is_head else choose(weights))
        nodes += placed.applied_to(node, weights.shape)
        if is_head:
            head = product.weights, placed
        done += 1
        tell(done, len(products))
    graph.replace(replaced for node in nodes for replaced in _embedded(graph, node, head))
    return graph.finish()


def products_of(graph: Graph) -> dict[str, _Product]:
    """By their outputs, the products with matrices that are weights."""
    transposes = {node.output[0]: node.input[0] for node in graph.model.graph.node if node.op_type == "Transpose"}
    found = {}
    for node in graph.model.graph.node:
        if node.op_type != "MatMul":
            continue
        for name, transposed in ((node.input[1], False), (transposes.get(node.input[1]), True)):
            if name in graph.initializers and len(graph.initializers[name].dims) == 2:
                found[node.output[0]] = _Product(name, transposed)
    return found


@dataclass(frozen=True, slots=True)
class _Placed:
    """Blocks as initializers, by their names."""

    bits: int
    levels: str
    scales: str
    offsets: _Placed | None

    def applied_to(self, product: Any, shape: tuple[int, ...]) -> list[Any]:
        """Nodes that make what `product` made. The offsets of blocks are multiplied by the sums of their inputs."""
        given, made = product.input[0], product.output[0]
        if self.offsets is None:
            return [self.node(given, made, shape)]
        sums, rounded, offset = f"{made}_sums", f"{made}_rounded", f"{made}_offset"
        folded = helper.make_node("Reshape", [given, "in_blocks"], [f"{made}_in_blocks"])
        return [
            folded,
            helper.make_node("ReduceSum", [folded.output[0], "last_axis"], [sums], keepdims=0),
            self.node(given, rounded, shape),
            self.offsets.node(sums, offset, (shape[0] // BLOCK, shape[1])),
            helper.make_node("Add", [rounded, offset], [made]),
        ]

    def node(self, given: str, made: str, shape: tuple[int, ...]) -> Any:
        """The product with the blocks alone, for a matrix of this shape."""
        return helper.make_node(
            "MatMulNBits",
            [given, self.levels, self.scales],
            [made],
            name=f"{made}_{self.bits}bit",
            domain=CONTRIBUTED,
            K=shape[0],
            N=shape[1],
            bits=self.bits,
            block_size=BLOCK,
            accuracy_level=INT8_ACTIVATIONS,
        )


def _place(graph: Graph, name: str, blocks: Blocks) -> _Placed:
    offsets = None
    if blocks.offsets is not None:
        offsets = _place(graph, f"{name}_offsets", nearest(blocks.offsets, 8))
        if "in_blocks" not in {tensor.name for tensor in graph.added}:
            graph.add("in_blocks", np.array([0, 0, -1, BLOCK]))
            graph.add("last_axis", np.array([-1]))
    levels = graph.add(f"{name}_levels", blocks.levels)
    return _Placed(blocks.bits, levels, graph.add(f"{name}_scales", blocks.scales), offsets)


def _embedded(graph: Graph, node: Any, head: tuple[str, _Placed] | None) -> list[Any]:
    """The node; or, where it looks up the tokens' embeddings, nodes that do so in blocks."""
    if node.op_type != "Gather" or node.input[1] != "input_ids" or node.input[0] not in graph.initializers:
        return [node]
    table = graph.values(node.input[0])
    if table.shape[1] % BLOCK:
        return [node]
    if head is not None and _is_same(graph, node.input[0], table, head[0]):
        placed = head[1]
    else:
        placed = _place(graph, node.input[0], nearest(np.ascontiguousarray(table.T), HEAD_BITS))
    graph.add("embeddings_shape", np.array(table.shape))
    flat = helper.make_node("Reshape", [placed.levels, "embeddings_shape"], ["embeddings"])
    looked_up = helper.make_node(
        "GatherBlockQuantized",
        ["embeddings", node.input[1], placed.scales],
        list(node.output),
        domain=CONTRIBUTED,
        bits=HEAD_BITS,
        block_size=BLOCK,
        gather_axis=0,
        quantize_axis=1,
    )
    return [flat, looked_up]


def _is_same(graph: Graph, name: str, table: Matrix, head: str) -> bool:
    """Whether the output head is the table of embeddings, which exporters also write twice."""
    if name == head:
        return True
    dims = tuple(graph.initializers[head].dims)
    return dims == table.shape[::-1] and bool(np.array_equal(graph.values(head).T, table))


def at_16_bits(graph: Graph) -> Any:
    """The model with its matrices stored at 16 bits; ONNX Runtime makes 32 of them again when it loads it.

    A matrix with a number that 16 bits cannot hold stays as it is.
    """
    casts = []
    for name, tensor in graph.initializers.items():
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = graph.values(name)
        if np.abs(values).max(initial=0) < np.finfo(np.float16).max:
            short = graph.add(f"{name}_16", values.astype(np.float16))
            casts.append(helper.make_node("Cast", [short], [name], to=onnx.TensorProto.FLOAT))
    graph.replace([*casts, *graph.model.graph.node])
    return graph.finish()


def write(graph: Graph, path: Path, type_name: str, tell: Tell) -> None:
    """Write the language model as `type_name`, with its weights in a second file beside it.

    ONNX Runtime maps that file into memory, where it would read weights from one file twice while it loads them.
    """
    match type_name:
        case "int8":
            model = in_blocks(graph, lambda weights: nearest(weights, 8), tell)
        case "int4":
            model = in_blocks(graph, lambda weights: nearest(weights, 4), tell)
        case "int4-hqq":
            model = in_blocks(graph, lambda weights: half_quadratic(weights, 4), tell)
        case "fp16":
            model = at_16_bits(graph)
        case _:
            model = graph.finish()
    data = path.with_name(f"{path.name}_data")
    onnx.save(model, str(path), save_as_external_data=True, location=data.name, size_threshold=_SMALL)
    data.chmod(path.stat().st_mode)  # as it comes, nobody but the owner may read it
