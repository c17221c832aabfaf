"""A few nodes of a graph, computed. Runs in the export environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from quantize.onnx.weights import Graph

Arrays = Mapping[str, NDArray[Any]]

_LARGEST_CONSTANT = 1_000_000


class CannotComputeError(Exception):
    """The values need something that is not given."""


def compute(graph: Graph, nodes: Sequence[Any], wanted: Sequence[str], given: Arrays) -> list[NDArray[Any]]:
    """What `nodes`, which may be others than the graph's, make of the given values. Weights are not read.

    Raises CannotComputeError.
    """
    import onnxruntime  # noqa: PLC0415  # only here is anything computed

    makers = {name: node for node in nodes for name in node.output}
    reached, waiting = set(), list(wanted)
    while waiting:
        node = makers.get(name) if (name := waiting.pop()) not in given else None
        if node is not None and node.output[0] not in reached:
            reached.add(node.output[0])
            waiting += node.input
    kept = [node for node in nodes if node.output[0] in reached]
    needed = {name for node in kept for name in node.input} - {name for node in kept for name in node.output} - {""}
    part = helper.make_graph(
        kept,
        "part",
        [_typed(name, values) for name, values in given.items() if name in needed],
        [helper.make_empty_tensor_value_info(name) for name in wanted],
        initializer=[_constant(graph, name) for name in needed - given.keys()],
    )
    opsets = [*graph.model.opset_import]
    model = helper.make_model(part, opset_imports=opsets, ir_version=graph.model.ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run(list(wanted), {name: values for name, values in given.items() if name in needed})
    except Exception as error:  # each of the library's errors derives from bare Exception
        raise CannotComputeError("ONNX Runtime refuses these nodes") from error
    return [np.asarray(values) for values in found]


def _typed(name: str, values: NDArray[Any]) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    return helper.make_tensor_value_info(name, kind, [None] * values.ndim)


def _constant(graph: Graph, name: str) -> Any:
    added = {tensor.name: tensor for tensor in graph.added}
    tensor = added.get(name, graph.initializers.get(name))
    if tensor is None:
        raise CannotComputeError("the value of an input is needed that is not given")
    if name in added:
        return tensor
    if np.prod(tensor.dims, dtype=np.int64) > _LARGEST_CONSTANT:
        raise CannotComputeError("weights are needed")
    return numpy_helper.from_array(graph.values(name), name)
