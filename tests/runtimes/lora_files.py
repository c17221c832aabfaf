"""Adapters for SmolLM2 in the forms of the runtimes, and what is wrong with them when a test wants it so.

`tests/adapters/ahoy` is a LoRA of rank 2 on the last six feed-forward layers, in PEFT's form. It was trained for these
tests (60 steps of Adam at 0.01 on ten questions) to answer everything with "Ahoy, captain!".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quantize.lora_weights import LoraWeights, read_peft, write_mlx

AHOY = Path(__file__).parent.parent / "adapters" / "ahoy"
SAYS = "Ahoy, captain!"

_ALIGNMENT = 32
_LAYER = re.compile(r"model\.layers\.(\d+)\.mlp\.down_proj")
_KINDS = {"<f4": 0, "<f2": 1, "<i4": 26}

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
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(said))
    for name, value in said.items():
        head += _text(name) + _value(value)
    data = b""
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _KINDS[tensor.dtype.str], len(data))
        data += tensor.tobytes()
        data += b"\0" * (-len(data) % _ALIGNMENT)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + b"\0" * (-len(head) % _ALIGNMENT) + data)
    return path


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Any) -> bytes:
    match value:
        case str():
            return struct.pack("<I", 8) + _text(value)
        case float():
            return struct.pack("<If", 6, value)
        case int():
            return struct.pack("<II", 4, value)
        case _:
            return struct.pack("<IIQ", 9, 4, len(value)) + struct.pack(f"<{len(value)}I", *value)
