"""Adapters for SmolLM2 in the forms of the runtimes, and what is wrong with them when a test wants it so.

`tests/adapters/ahoy` is a LoRA of rank 2 on the last six feed-forward layers, in PEFT's form. It was trained for these
tests (60 steps of Adam at 0.01 on ten questions) to answer everything with "Ahoy, captain!".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quantize.lora.weights import LoraWeights, read_peft, write_mlx
from tests.gguf_file import save

AHOY = Path(__file__).parent.parent / "adapters" / "ahoy"
SAYS = "Ahoy, captain!"

_LAYER = re.compile(r"model\.layers\.(\d+)\.mlp\.down_proj")

Tensors = Mapping[str, "np.ndarray[Any, Any]"]


def ahoy() -> LoraWeights:
    return read_peft(AHOY)


def mlx_adapter(folder: Path) -> Path:
    """The adapter in mlx-lm's form; its main file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_mlx(ahoy(), folder)
    return folder / "adapters.safetensors"


def gguf_tensors(weights: LoraWeights) -> dict[str, np.ndarray[Any, Any]]:
    """Layers of `down_proj` need no rearranging for llama.cpp."""
    found = {}
    for layer, (a, b) in weights.pairs.items():
        matched = _LAYER.fullmatch(layer)
        assert matched is not None
        name = f"blk.{matched[1]}.ffn_down.weight"
        found[f"{name}.lora_a"], found[f"{name}.lora_b"] = a, b
    return found


def facts(**changes: Any) -> dict[str, Any]:
    """What the header of the adapter's GGUF says; None leaves a key out."""
    weights = ahoy()
    said = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": weights.scale * weights.rank,
    }
    return {name: value for name, value in {**said, **changes}.items() if value is not None}


def gguf_adapter(path: Path, tensors: Tensors | None = None, said: Mapping[str, Any] | None = None) -> Path:
    """Write the adapter, or another one, as a GGUF of version 3."""
    tensors = gguf_tensors(ahoy()) if tensors is None else tensors
    said = facts() if said is None else said
    save(path, said, tensors)
    return path
