"""What a LoRA adapter changes, and whether it was made for a model: known from files' headers, nothing is loaded.

A LoRA adapter (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021) adds to a weight matrix the
product of two small ones, A and B, whose common side is its rank.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edge_agent.models.lora import gguf, mlx
from edge_agent.models.lora.facts import BaseFacts, LoraFacts, mismatch, unsupported
from edge_agent.models.manifest import plain

MIB = 2**20
_BESIDE_WEIGHTS = 16 * MIB
"""What computing with it takes: 10 MiB for 140 matrices of a 1.5B model, most of it llama.cpp's larger graph."""

AdapterFormat = Literal["gguf", "mlx"]
FORMATS: tuple[AdapterFormat, ...] = ("gguf", "mlx")
"""The formats whose libraries can change adapters from step to step."""


def read(path: Path, adapter_format: AdapterFormat) -> LoraFacts:
    """The adapter whose main file is `path`. Blocks, for milliseconds.

    Raises Broken code "model_file_missing" | "model_truncated" | "model_unreadable", and InvalidRequest code
    "adapter_unsupported" for a kind of adapter that no library here can run.
    """
    return gguf.read(path) if adapter_format == "gguf" else mlx.read(path)


def base(path: Path, adapter_format: AdapterFormat) -> BaseFacts:
    """The model whose main file is `path`. Blocks, for a fraction of a second. Raises Broken as `read` does."""
    return gguf.base(path) if adapter_format == "gguf" else mlx.base(path)


def check_made_for(adapter: LoraFacts, model: BaseFacts) -> None:
    """Raises InvalidRequest code "adapter_mismatch" | "adapter_unsupported" that says what does not fit."""
    if adapter.architecture is not None and adapter.architecture != model.architecture:
        made_for, this = _shown(adapter.architecture), _shown(model.architecture or "unknown")
        raise mismatch(f"it was made for the architecture {made_for}, and this is {this}")
    for name, shape in adapter.shapes.items():
        found = model.shapes.get(name)
        if found is None:
            raise mismatch(f"it changes {_shown(name)}, which this model does not have")
        if found != shape:
            raise mismatch(f"{_shown(name)} is {_sides(shape)} in it, and {_sides(found)} in this model")
    shared = adapter.shapes.keys() & model.shared
    if shared:
        raise unsupported(
            f"it changes {_shown(min(shared))}, which this model uses in two places",
            hint="Train the adapter without embeddings, on the attention and feed-forward layers.",
        )


def ram_mb(path: Path) -> int:
    """MiB that the adapter whose main file is `path` takes beside its model."""
    return -(-(path.stat().st_size + _BESIDE_WEIGHTS) // MIB)


def _shown(name: str) -> str:
    """A file's word, of any length and with any characters, as it may stand in a message."""
    return plain(name, 100)


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
