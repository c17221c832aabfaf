"""The file of an importance matrix, in the GGUF form that llama.cpp's own `llama-imatrix` writes and reads.

For each matrix of weights it holds `NAME.in_sum2`, the sums over tokens of the squares of what it is multiplied with
(one row of numbers for each expert, one where there are none), and `NAME.counts`, over how many tokens.
Read and written by the library, so only in a worker's process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quantize.gguf.ggml import F32, Ggml, at

_SUMS, _COUNTS = ".in_sum2", ".counts"
_DATASETS, _CHUNKS, _CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
_PADDING = 64

Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """`squares` (experts, inputs) summed over the tokens that each expert saw; `tokens` (experts)."""

    squares: Numbers
    tokens: Numbers

    def means(self) -> Numbers:
        """The mean squares (experts x inputs); all ones for an expert that no token reached."""
        seen = self.tokens[:, None] > 0
        return np.where(seen, self.squares / np.where(seen, self.tokens[:, None], 1), 1).astype(np.float32).ravel()


@dataclass(frozen=True, slots=True, eq=False)
class ImportanceMatrix:
    """The sums by the name of the tensor of weights; `datasets` says from which texts, `chunks` from how much."""

    sums: Mapping[str, Sums]
    datasets: Sequence[str]
    chunks: int


class NoMatrixError(Exception):
    """The file holds no importance matrix."""


def write(ggml: Ggml, path: Path, matrix: ImportanceMatrix, chunk_size: int) -> None:
    """Write the file; the same matrix gives the same bytes. Raises OSError."""
    size = sum(
        array.nbytes + _PADDING + ggml.ggml_tensor_overhead()
        for sums in matrix.sums.values()
        for array in (sums.squares, sums.tokens)
    )
    keys = ggml.gguf_init_empty()
    try:
        ggml.gguf_set_val_str(keys, b"general.type", b"imatrix")
        ggml.set_strings(keys, _DATASETS, matrix.datasets)
        ggml.gguf_set_val_u32(keys, _CHUNKS.encode(), matrix.chunks)
        ggml.gguf_set_val_u32(keys, _CHUNK_SIZE.encode(), chunk_size)
        with ggml.context(size) as context:
            for name, sums in sorted(matrix.sums.items()):
                ggml.gguf_add_tensor(keys, ggml.filled(context, name + _SUMS, sums.squares))
                ggml.gguf_add_tensor(keys, ggml.filled(context, name + _COUNTS, sums.tokens[:, None]))
            if not ggml.gguf_write_to_file(keys, os.fsencode(path), False):  # noqa: FBT003  # C knows no keywords
                raise OSError("the importance matrix could not be written")
    finally:
        ggml.gguf_free(keys)


def read(ggml: Ggml, path: Path) -> ImportanceMatrix:
    """The matrix in the file. Raises NoMatrixError."""
    with ggml.gguf(os.fsencode(path)) as opened:
        if opened is None:
            raise NoMatrixError("it cannot be read")
        keys, context = opened
        found = {}
        address = ggml.ggml_get_first_tensor(context)
        while address:
            found[ggml.ggml_get_name(address).decode("utf-8", "replace")] = address
            address = ggml.ggml_get_next_tensor(context, address)
        names = [name.removesuffix(_SUMS) for name in found if name.endswith(_SUMS)]
        if not names:
            raise NoMatrixError("it holds no sums")
        sums = {name: _sums(ggml, name, found) for name in names}
        return ImportanceMatrix(sums, ggml.strings(keys, _DATASETS), ggml.count(keys, _CHUNKS) or 0)


def _sums(ggml: Ggml, name: str, found: Mapping[str, int]) -> Sums:
    addresses = [found.get(name + suffix) for suffix in (_SUMS, _COUNTS)]
    if not all(address and at(address).type == F32 for address in addresses):
        raise NoMatrixError(f"{name} has no sums and counts")
    squares, tokens = (_copied(ggml, address) for address in addresses if address)
    if not len(tokens) or len(squares) % len(tokens) or not np.isfinite(squares).all() or not np.isfinite(tokens).all():
        raise NoMatrixError(f"{name} has sums that make no sense")
    return Sums(squares.reshape(len(tokens), -1), tokens)


def _copied(ggml: Ggml, address: int) -> Numbers:
    """What a file's tensor holds: it lies in plain memory, without gaps."""
    raw = np.empty(ggml.ggml_nbytes(address) // 4, np.float32)
    ggml.copy(address, raw)
    return raw
