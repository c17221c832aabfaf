"""A matrix in blocks of 32 weights, as ONNX Runtime's MatMulNBits reads it. Runs in the export environment.

A weight is `scale * (level - middle)`, with one scale for a block, and may have one offset for a block added.
The ways to choose the levels are ONNX Runtime's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import matmul_nbits_quantizer as library

# One scale for 32 weights, and for 32 activations at run time: a row's result does not depend on its batch,
# which one scale for a whole activation tensor cannot give (cosine 0.96 to the same text alone; this: 1.0).
BLOCK = 32

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix of shape (inputs, outputs).

    `levels` has shape (outputs, blocks, bytes of a block), `scales` (outputs, blocks), `offsets` (blocks, outputs)
    or None where they are all zero.
    """

    bits: int
    levels: NDArray[np.uint8]
    scales: Matrix
    offsets: Matrix | None = None


def nearest(weights: Matrix, bits: int) -> Blocks:
    """Round to nearest: the largest weight of a block sets its scale."""
    config = library.DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=True, bits=bits)
    levels, scales, _ = library.DefaultWeightOnlyQuantizer(config).qbits_block_quant(weights)
    return Blocks(bits, levels, scales)


def half_quadratic(weights: Matrix, bits: int) -> Blocks:
    """Half-quadratic quantization (Badri and Shaji 2023): a block's zero point is fitted, and need not be a level.

    It is kept exactly, as an offset. A block that was quantized before with a scale and a minimum, as in a GGUF of
    type Q4_1 or Q4_K, therefore comes out as it was.
    """
    import torch  # noqa: PLC0415  # seconds

    rows = torch.from_numpy(np.ascontiguousarray(weights.T))
    quantizer = library.HQQWeightOnlyQuantizer(library.HQQWeightOnlyQuantConfig(block_size=BLOCK, bits=bits))
    found, scales, zeros = quantizer.quantize_internal(rows, bits=bits, group_size=BLOCK)
    outputs = weights.shape[1]
    levels = found.numpy().astype(np.uint8).reshape(outputs, -1, BLOCK)
    scales, zeros = scales.numpy().reshape(outputs, -1), zeros.numpy().reshape(outputs, -1)
    offsets = scales * (2 ** (bits - 1) - zeros)
    return Blocks(bits, _packed(levels, bits), scales, np.ascontiguousarray(offsets.T))


def _packed(levels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    return levels if bits == 8 else (levels[..., ::2] | (levels[..., 1::2] << 4)).astype(np.uint8)
