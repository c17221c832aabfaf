"""MLX on a CPU, fast enough to be judged. Used only in the process that computes logits.

MLX's matrix products have no fast path on processors other than Apple's: some two thousand tokens would take minutes
for the smallest model and hours for a real one. Here numpy's BLAS multiplies by the same weights, dequantized for
the moment; that is twenty to a hundred times faster, and what is measured is the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def speed_up(model: Any) -> None:
    """Let every linear layer of a loaded MLX model multiply by BLAS, where there is no GPU. Its weights stay."""
    import mlx.core as mx  # noqa: PLC0415  # an optional engine
    from mlx import nn  # noqa: PLC0415

    if mx.default_device() != mx.cpu:
        return

    def product(layer: Any, x: Any) -> Any:
        y = mx.array(_plain(x) @ _weights(layer).T).astype(x.dtype)
        return y + layer["bias"] if "bias" in layer else y

    def _plain(x: Any) -> NDArray[np.float32]:
        return np.asarray(x.astype(mx.float32))

    def _weights(layer: Any) -> NDArray[np.float32]:
        if "scales" not in layer:
            return _plain(layer["weight"])
        kind = {"group_size": layer.group_size, "bits": layer.bits, "mode": layer.mode}
        return _plain(mx.dequantize(layer["weight"], layer["scales"], layer.get("biases"), **kind))

    class Linear(nn.Module):  # type: ignore[misc]  # mlx has no types
        """Stands for a linear layer."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self._layer = layer

        def __call__(self, x: Any) -> Any:
            """What the layer would say."""
            return product(self._layer, x)

    class Embedding(nn.Module):  # type: ignore[misc]
        """Stands for an embedding that is the output's layer, too."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self._layer = layer

        def __call__(self, ids: Any) -> Any:
            """What the layer would say."""
            return self._layer(ids)

        def as_linear(self, x: Any) -> Any:
            """The logits."""
            return product(self._layer, x)

    kinds = {
        nn.Linear: Linear,
        nn.QuantizedLinear: Linear,
        nn.Embedding: Embedding,
        nn.QuantizedEmbedding: Embedding,
    }
    # By exact type: what derives from these, as adapters do, computes in its own way.
    found = [(name, kinds[type(layer)](layer)) for name, layer in model.named_modules() if type(layer) in kinds]
    model.update_modules(_tree(found))


def _tree(leaves: list[tuple[str, Any]]) -> Any:
    from mlx.utils import tree_unflatten  # noqa: PLC0415  # an optional engine

    return tree_unflatten(leaves)
