"""LoRA adapters as llama.cpp has them: one GGUF file. Everything is checked that would make llama.cpp abort."""

from __future__ import annotations

import math
from pathlib import Path

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.formats import gguf_header
from edge_agent.models.formats.gguf_header import GgufHeader, GgufTensor
from edge_agent.models.lora.facts import MAX_RANK, BaseFacts, LoraFacts, Shape, unsupported
from edge_agent.models.manifest import plain

_A, _B = ".lora_a", ".lora_b"
_NORM = "_norm.weight"
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_KINDS = frozenset({0, 1, 8, 30})  # F32, F16, Q8_0, BF16: what llama.cpp's converter writes


def read(path: Path) -> LoraFacts:
    """See `lora.read`."""
    header = gguf_header.check(path, with_layout=True)
    facts = header.facts
    if facts.get("general.type") != "adapter":
        raise _unreadable(path, "is no adapter")
    if facts.get("adapter.type") != "lora" or "adapter.alora.invocation_tokens" in facts:
        raise unsupported("it is no plain LoRA")
    architecture, alpha = facts.get("general.architecture"), facts.get("adapter.lora.alpha", 0.0)
    if not isinstance(architecture, str) or not isinstance(alpha, float) or not math.isfinite(alpha):
        raise _unreadable(path, "does not say its architecture, or has a senseless alpha")
    pairs = _pairs(path, header)
    shapes = {name: _shape(path, name, a.shape, b.shape) for name, (a, b) in pairs.items()}
    rank = max(b.shape[0] for _, b in pairs.values())
    return LoraFacts(shapes, rank, alpha / rank if alpha else 1.0, architecture)


def base(path: Path) -> BaseFacts:
    """See `lora.base`."""
    header = gguf_header.check(path, with_layout=True)
    architecture = header.facts.get("general.architecture")
    shapes = {name: tensor.shape for name, tensor in header.layout.items() if len(tensor.shape) > 1}
    # Where the embedding is the output's matrix, too, llama.cpp applies the adapter to both, and aborts at the second.
    shared = frozenset() if _OUTPUT in shapes else frozenset({_EMBEDDING})
    return BaseFacts(shapes, architecture if isinstance(architecture, str) else None, shared)


def _pairs(path: Path, header: GgufHeader) -> dict[str, tuple[GgufTensor, GgufTensor]]:
    halves: dict[str, dict[str, GgufTensor]] = {_A: {}, _B: {}}
    for name, tensor in header.layout.items():
        ending = name[-len(_A) :]
        if ending in halves:
            halves[ending][name[: -len(_A)]] = tensor
        elif not name.endswith(_NORM):  # those llama.cpp passes over
            raise _unreadable(path, "holds what is no part of a LoRA adapter")
        if tensor.kind not in _KINDS:
            raise unsupported("its numbers are of a kind that llama.cpp does not compute with here")
    if not halves[_A] or halves[_A].keys() != halves[_B].keys():
        raise _unreadable(path, "lacks one half of a pair of matrices, or all of them")
    return {name: (a, halves[_B][name]) for name, a in halves[_A].items()}


def _shape(path: Path, name: str, a: Shape, b: Shape) -> Shape:
    """The matrix that A, (in, rank, …), and B, (rank, out, …), change; those of an embedding stand the other way."""
    if len(a) < 2 or len(a) != len(b) or a[2:] != b[2:]:
        raise _unreadable(path, f"has two halves for {plain(name, 100)} that do not fit")
    is_embedding = name == _EMBEDDING
    if b[0] != (a[0] if is_embedding else a[1]) or not 0 < b[0] <= MAX_RANK:
        raise _unreadable(path, f"has two halves for {plain(name, 100)} that do not fit")
    return (b[1], a[1], *a[2:]) if is_embedding else (a[0], b[1], *a[2:])


def _unreadable(path: Path, what: str) -> Broken:
    return Broken(
        f"The adapter's file {path.name} {what}.",
        code="model_unreadable",
        hint="Make the adapter again with edge-quantize.",
    )
