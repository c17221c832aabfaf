"""The trained network as an ONNX model at 8 bits. In the export environment."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn
from transformers import PreTrainedModel

from quantize.ner.labels import LABELS

if TYPE_CHECKING:
    from torch import Tensor

INPUTS = ("input_ids", "token_type_ids")
OPSET = 17


class _Logits(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """The network with plain tensors in and out, as the exporter wants it."""

    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, types: Tensor) -> Any:
        """Logits of shape (texts, pieces, labels); the texts have one length, so that nothing is masked."""
        return self.network(input_ids=ids, token_type_ids=types).logits


def write_int8(network: PreTrainedModel, out: Path) -> None:
    """Write `out`/model.onnx, weights at 8 bits with a scale a column, activations quantized while it runs.

    The weights keep to 7 of the 8 bits: processors without VNNI would overflow where they add two products.
    """
    any_size = {0: "texts", 1: "pieces"}
    shape = torch.ones(2, 16, dtype=torch.long)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        raw = Path(scratch) / "raw.onnx"
        torch.onnx.export(
            _Logits(network),
            (shape, torch.zeros_like(shape)),
            str(raw),
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_axes=dict.fromkeys((*INPUTS, "logits"), any_size),
            opset_version=OPSET,
            dynamo=False,
        )
        quantize_dynamic(
            str(raw),
            str(out / "model.onnx"),
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            extra_options={"DefaultTensorType": 1},  # shapes of some tensors are unknown to it; all are floats
        )
    (out / "labels.json").write_text(json.dumps(LABELS), "utf-8")
