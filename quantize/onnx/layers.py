"""Where the attention of each layer is in an exported graph. Runs in the export environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quantize.onnx.weights import Graph

_HEADS_FIRST = [0, 2, 1, 3]
_SHAPING = frozenset({"Unsqueeze", "Expand", "Reshape", "Transpose", "Mul"})
_MOST_STEPS = 100
"""Values from a query back to the product that makes it: a bias and a norm may lie between."""


class OtherGraphError(Exception):
    """Something is not as it must be; the text says what."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The name of queries, keys or values: of shape (batch, tokens, heads x size), or (batch, tokens, heads, size)."""

    name: str
    flat: bool


@dataclass(frozen=True, slots=True)
class Layer:
    """Names of values. `attended`: what all heads gather, flat. `scale`: what scores are multiplied by."""

    number: str
    query: Heads
    key: Heads
    value: Heads
    attended: str
    cosines: str
    sines: str
    scale: float
    hidden: str


class Nodes:
    """Who makes and who reads each value of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers = {name: node for node in graph.model.graph.node for name in node.output}
        self._readers: dict[str, list[Any]] = {}
        for node in graph.model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def layer(self, number: str) -> Layer:
        """The attention of a layer. Raises OtherGraphError."""
        rotated_key = self._appended(f"present.{number}.key", f"past_key_values.{number}.key")
        value = self._appended(f"present.{number}.value", f"past_key_values.{number}.value")
        key, cosines, sines = self._unrotated(rotated_key)
        scores = self._scores(f"present.{number}.key")
        scaled_query, scaled_key = (self._maker(name, "Mul") for name in scores.input)
        query, *same = self._unrotated(scaled_query.input[0])
        if same != [cosines, sines]:
            raise OtherGraphError("queries and keys with different positions")
        heads = self._heads(query)
        return Layer(
            number=number,
            query=heads,
            key=self._heads(key),
            value=self._heads(value),
            attended=self._only_reader(self._only_reader(self._weighted(scores), "Transpose"), "Reshape").output[0],
            cosines=cosines,
            sines=sines,
            scale=self._number(scaled_query.input[1]) * self._number(scaled_key.input[1]),
            hidden=self._projected(heads.name),
        )

    def embeddings(self) -> str:
        """The hidden states that the first layer reads."""
        found = [node.output[0] for node in self._readers.get("input_ids", []) if node.op_type == "Gather"]
        if len(found) != 1:
            raise OtherGraphError("embeddings that are no table")
        return str(found[0])

    def _appended(self, made: str, past: str) -> str:
        node = self._maker(made, "Concat")
        if len(node.input) != 2 or node.input[0] != past:
            raise OtherGraphError("a cache that is not appended to")
        return str(node.input[1])

    def _unrotated(self, name: str) -> tuple[str, str, str]:
        """What x, the cosines and the sines are in `x * cosines + turned(x) * sines`."""
        plain, turned = (self._maker(part, "Mul") for part in self._maker(name, "Add").input)
        halves = [self._makers[half].op_type for half in self._maker(turned.input[0], "Concat").input]
        if halves != ["Neg", "Slice"]:
            raise OtherGraphError("positions that are not rotations of two halves")
        cosines, sines = (self._maker(part.input[1], "Unsqueeze").input[0] for part in (plain, turned))
        return plain.input[0], cosines, sines

    def _scores(self, keys: str) -> Any:
        """The product of queries and keys, with nothing but changes of shape and a factor before it."""
        waiting = [keys]
        for name in waiting:
            for node in self._readers.get(name, []):
                if node.op_type == "MatMul":
                    return node
                if node.op_type in _SHAPING and node.output[0] not in waiting:
                    waiting.append(node.output[0])
        raise OtherGraphError("keys that nothing is multiplied by")

    def _weighted(self, scores: Any) -> Any:
        """The product of the softmax and the values."""
        waiting = [self._only_reader(self._only_reader(scores, "Add"), "Softmax")]
        for node in waiting:
            for reader in self._readers.get(node.output[0], []):
                if reader.op_type == "MatMul":
                    return reader
                if reader.op_type in {"Where", "Cast"}:  # exporters put zeros for rows that see nothing
                    waiting.append(reader)
        raise OtherGraphError("a softmax that weighs nothing")

    def _heads(self, name: str) -> Heads:
        """Before the heads were put first; where that is all that was done, before they were told apart."""
        node = self._maker(name, "Transpose")
        if list(node.attribute[0].ints) != _HEADS_FIRST:
            raise OtherGraphError("heads in another order")
        split = self._makers.get(node.input[0])
        if split is not None and split.op_type == "Reshape":
            return Heads(str(split.input[0]), flat=True)
        return Heads(str(node.input[0]), flat=False)

    def _projected(self, name: str) -> str:
        """The hidden states that a query is made of by its product with weights."""
        waiting = [name]
        for step in waiting:
            node = self._makers.get(step)
            if node is not None and node.op_type == "MatMul":
                return str(node.input[0])
            if node is not None and len(waiting) < _MOST_STEPS:
                waiting += node.input
        raise OtherGraphError("queries that are not made by weights")

    def _number(self, name: str) -> float:
        node = self._makers.get(name)
        if name in self._graph.initializers:
            values = self._graph.values(name)
        elif node is not None and node.op_type == "Constant":
            values = self._graph.constant(node)
        else:
            raise OtherGraphError("scores with no constant scale")
        if values.size != 1:
            raise OtherGraphError("scores with several scales")
        return float(values.item())

    def _maker(self, name: str, operator: str) -> Any:
        node = self._makers.get(name)
        if node is None or node.op_type != operator:
            raise OtherGraphError(f"no {operator} where one is expected")
        return node

    def _only_reader(self, node: Any, operator: str) -> Any:
        found = [reader for reader in self._readers.get(node.output[0], []) if reader.op_type == operator]
        if len(found) != 1:
            raise OtherGraphError(f"not one {operator} where one is expected")
        return found[0]
