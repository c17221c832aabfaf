"""What is known of an adapter and of a model, in one form for all formats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from cloud_bridge.protocol.problems import InvalidRequest

MAX_RANK = 4096

Shape = tuple[int, ...]
"""Of a weight matrix: numbers in, numbers out, and where there are several of one kind, how many."""


@dataclass(frozen=True, slots=True)
class LoraFacts:
    """`shapes` of the matrices that the adapter changes, by the name that the format has for them.

    `rank` is the highest, `scale` what B·A is multiplied by where the rank is that; `architecture` is None where the
    format does not state one.
    """

    shapes: Mapping[str, Shape]
    rank: int
    scale: float
    architecture: str | None = None


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """`shapes` of a model's matrices by name; `shared` ones, which the library cannot change, have two uses."""

    shapes: Mapping[str, Shape]
    architecture: str | None = None
    shared: AbstractSet[str] = frozenset()


def finite(value: Any) -> float | None:
    """A number that an adapter states, None for what is no number or an endless one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer larger than every float
        return None
    return number if math.isfinite(number) else None


def mismatch(why: str) -> InvalidRequest:
    """An adapter that was made for another model."""
    return InvalidRequest(
        f"The adapter was not made for this model: {why}.",
        code="adapter_mismatch",
        hint="Ask for it with the model it was trained on; `edge-agent models list` shows which go together.",
        param="model",
    )


_PLAIN = "Use a plain LoRA adapter; others can be merged into their model where they were trained."


def unsupported(why: str, hint: str = _PLAIN) -> InvalidRequest:
    """An adapter of a kind that cannot be run, or not with this model."""
    return InvalidRequest(f"The adapter cannot be run: {why}.", code="adapter_unsupported", hint=hint, param="model")


def unsupported_by_onnx() -> InvalidRequest:
    """An adapter for a model that ONNX Runtime would run."""
    return unsupported(
        "adapters need llama.cpp or MLX, and this is an ONNX model",
        hint="Make the model and the adapter as GGUF or MLX: edge-quantize SOURCE --to gguf",
    )
