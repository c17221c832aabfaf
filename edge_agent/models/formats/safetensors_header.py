"""The header of a .safetensors file: 8 bytes of length, then JSON with each tensor's kind, shape and place.

The tensors follow, one after the other without gaps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.formats.hf_files import HINT, missing
from edge_agent.models.manifest import plain

_MAX_HEADER_BYTES = 100 * 2**20
"""The format's own limit."""

_MAX_DIMENSIONS = 16
_MAX_NUMBER = 1 << 53
"""Of a side of a tensor, and of an offset: no file has so many bytes."""

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """`kind` as the format names it ("F16"); the numbers are bytes `start` to `end` of the file."""

    kind: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def numbers(self) -> int:
        """How many it holds."""
        return math.prod(self.shape)


def safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor by name. Raises as `safetensors_header` does."""
    return {name: tensor.shape for name, tensor in safetensors_header(path).items()}


def safetensors_header(path: Path, hint: str = HINT) -> Mapping[str, StoredTensor]:
    """Every tensor by name, each as long as its shape says; together they fill the file. Reads the header only.

    Raises Broken code "model_file_missing", "model_truncated" where bytes are missing, and "model_unreadable" for
    whatever else is wrong; `hint` says what to do then.
    """

    def broken(code: str, what: str) -> Broken:
        return Broken(f"{plain(path.name)} {what}.", code=code, hint=hint)

    try:
        size = path.stat().st_size
        with path.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if size < 8 or length > _MAX_HEADER_BYTES:
                raise broken("model_unreadable", "is damaged, or no safetensors file")
            if 8 + length > size:
                raise broken("model_truncated", f"is cut short: {size:,} bytes, and its header alone has {length:,}")
            header = json.loads(opened.read(length))
        stated = {name: said for name, said in header.items() if name != "__metadata__"}
        tensors = {name: _tensor(said, 8 + length) for name, said in stated.items()}
    except FileNotFoundError as error:
        raise missing(path) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise broken("model_unreadable", "has a damaged header") from error
    end = _end(8 + length, tensors.values())
    if end is None:
        raise broken("model_unreadable", "has tensors that overlap, or gaps between them")
    if end > size:
        raise broken("model_truncated", f"is cut short: {size:,} of {end:,} bytes")
    if end < size:
        raise broken("model_unreadable", "has bytes behind its last tensor")
    return tensors


def _tensor(said: Mapping[str, Any], data: int) -> StoredTensor:
    """Raises ValueError, TypeError or KeyError for what cannot be."""
    kind, shape, (start, end) = said["dtype"], said["shape"], said["data_offsets"]
    if not isinstance(shape, list) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError
    if any(type(number) is not int or not 0 <= number <= _MAX_NUMBER for number in (*shape, start, end)):
        raise ValueError
    tensor = StoredTensor(str(kind), tuple(shape), data + start, data + end)
    if tensor.numbers * _BITS[tensor.kind] != (end - start) * 8:
        raise ValueError
    return tensor


def _end(data: int, tensors: Iterable[StoredTensor]) -> int | None:
    """Where the last tensor ends; None where they overlap or leave gaps."""
    reached = data
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != reached:
            return None
        reached = tensor.end
    return reached
