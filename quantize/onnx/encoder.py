"""Encoders and token classifiers at 8 and 4 bits, with ONNX Runtime's own quantizers. In the export environment.

The committed encoder was made by these very steps, and comes out again.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from quantize.onnx.blocks import BLOCK
from quantize.onnx.weights import INT8_ACTIVATIONS

TYPES = {"int8": 8, "int4": 4}
# Protocol buffers end at 2 GiB; beyond that the weights go into a file of their own.
ONE_FILE_BYTES = 1_900_000_000


def quantize(raw: Path, made: Path, type_name: str) -> None:
    """Write the model `raw` as `made`: matrices in blocks, embeddings with one 8-bit scale a column."""
    model = onnx.load(str(raw))
    blocks = MatMulNBitsQuantizer(
        model, bits=TYPES[type_name], block_size=BLOCK, is_symmetric=True, accuracy_level=INT8_ACTIVATIONS
    )
    blocks.process()
    external = blocks.model.model.ByteSize() > ONE_FILE_BYTES
    half_made = raw.with_name("blocks.onnx")
    blocks.model.save_model_to_file(str(half_made), external)
    quantize_dynamic(
        str(half_made),
        str(made),
        op_types_to_quantize=["Gather"],
        weight_type=QuantType.QInt8,
        per_channel=True,
        use_external_data_format=external,
    )
