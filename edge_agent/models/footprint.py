"""How much memory a language model takes once it is loaded, known from its files before anything is loaded.

    all = fixed (process, libraries, vocabulary, weights, a step's activations)
        + tokens of context x per_token (keys and values, and what a step reads of them)
        + sequences at once x per_sequence (logits)

Each is an upper bound of what was measured (`tests/models/test_footprint.py` compares), for a step of 512 tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.damage import CHECK_HINT
from edge_agent.models.formats import gguf_header, hf_folder
from edge_agent.models.formats.gguf_header import GgufHeader
from edge_agent.models.formats.hf_config import HfConfig
from edge_agent.models.libraries import LlmFormat

MIB = 2**20
STEP_TOKENS = 512
"""The most tokens that a runtime evaluates at once."""

ONNX_READ_TOKENS = 128
"""The same where each of them costs logits."""

_CELLS_AT_ONCE = 256
"""Runtimes make room for the context in blocks of this many tokens."""

_ANY_CONTEXT = 2**20
"""Of a model that does not say how long a context it was made for."""

_LLAMA_PROCESS = 64 * MIB
_LLAMA_TOKEN_BYTES = 960
"""A token of the vocabulary: a third in llama.cpp, the rest in llguidance, once a grammar was asked for."""

_SPLIT = re.compile(r"(.*)-00001-of-(\d{5})\.gguf")

_ONNX_PROCESS = 80 * MIB
_ONNX_LOADING = 64 * MIB
_MLX_PROCESS = 96 * MIB
_TOKENIZER_EXPANSION = 17
"""Times its tokenizer.json that the tokenizers library takes resident."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Resident memory in bytes, and `context_length`: the most tokens of context that the model was made for.

    `loading`: what it takes while it is being loaded, where that is more than `fixed`.
    """

    fixed: int
    per_token: int
    per_sequence: int
    context_length: int
    loading: int = 0

    def mb(self, context_length: int, parallel: int) -> int:
        """MiB resident at most, with so many tokens of context for `parallel` sequences together."""
        cells = -(-min(context_length, self.context_length) // _CELLS_AT_ONCE) * _CELLS_AT_ONCE
        running = self.fixed + cells * self.per_token + parallel * self.per_sequence
        return -(-max(running, self.loading) // MIB)

    def largest_context(self, budget_mb: int, parallel: int) -> int:
        """The most tokens of context that fit into `budget_mb`: a multiple of 256, or all that the model has, or 0."""
        if self.loading > budget_mb * MIB:
            return 0
        room = budget_mb * MIB - self.fixed - parallel * self.per_sequence
        cells = max(0, room) // max(1, self.per_token) // _CELLS_AT_ONCE * _CELLS_AT_ONCE
        return min(cells, self.context_length)


class Footprints:
    """Footprints of files, each read once and again when the file has changed. Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, ...], Footprint]] = {}

    def of(self, path: Path, model_format: LlmFormat) -> Footprint:
        """As `footprint`. Cheap for a file that is known."""
        try:
            state = path.stat()
        except OSError:
            return footprint(path, model_format)  # which raises what there is to say
        signature = (state.st_mtime_ns, state.st_size, state.st_ino)
        known = self._known.get(path)
        if known is None or known[0] != signature:
            known = self._known[path] = (signature, footprint(path, model_format))
        return known[1]


def footprint(path: Path, model_format: LlmFormat) -> Footprint:
    """What the model whose main file is at `path` takes. Blocks, for a fraction of a second; loads nothing.

    Raises Broken code "model_file_missing" | "model_truncated" | "model_unreadable".
    """
    match model_format:
        case "gguf":
            return _of_gguf(path, gguf_header.check(path))
        case "onnx":
            return _of_onnx(path)
        case "mlx":
            return _of_mlx(path)


def _of_gguf(path: Path, header: GgufHeader) -> Footprint:
    """llama.cpp keeps keys and values in 16 bits, and reserves the buffers of its largest step when it starts."""
    has = _Dimensions(path, header.dimensions)
    width = has.one("embedding_length")
    heads = has.each_layer("attention.head_count")
    kv_heads = has.each_layer("attention.head_count_kv", default=heads)
    head_size = width // max(1, *heads)
    key, value = has.one("attention.key_length", head_size), has.one("attention.value_length", head_size)
    inner = max(
        has.most("feed_forward_length", 0),
        has.one("expert_feed_forward_length", 0) * has.one("expert_used_count", 1),
    )
    activations = STEP_TOKENS * 4 * (3 * inner + 4 * max(width, max(heads) * key))
    mask = STEP_TOKENS * 2
    logits = header.vocabulary * 4
    return Footprint(
        fixed=_LLAMA_PROCESS + _weights(path, header) + header.vocabulary * _LLAMA_TOKEN_BYTES + activations,
        per_token=sum(kv_heads) * (key + value) * 2 + mask,
        per_sequence=2 * logits + _state(has, len(heads)),
        context_length=has.one("context_length", _ANY_CONTEXT),
    )


def _weights(path: Path, header: GgufHeader) -> int:
    """Of this file and, where the model was split, of the others, which llama.cpp opens by itself."""
    total = path.stat().st_size - header.data
    split = _SPLIT.fullmatch(path.name)
    if split is not None:
        name, count = split[1], int(split[2])
        parts = (path.with_name(f"{name}-{n:05}-of-{count:05}.gguf") for n in range(2, count + 1))
        total += sum(part.stat().st_size for part in parts if part.is_file())
    return total


def _state(has: _Dimensions, layers: int) -> int:
    """What a recurrent layer remembers of a sequence, in 32 bits."""
    inner = has.one("ssm.inner_size", 0)
    return layers * inner * (has.one("ssm.state_size", 0) + has.one("ssm.conv_kernel", 0)) * 4


_NEVER_NOTHING = frozenset({"block_count", "context_length"})


class _Dimensions:
    """A model's dimensions by name. Raises Broken code "model_unreadable" for one that must be there and is not."""

    def __init__(self, path: Path, known: Mapping[str, tuple[int, ...]]) -> None:
        self._path = path
        self._known = known

    def one(self, name: str, default: int | None = None) -> int:
        found = self._known.get(name) or (() if default is None else (default,))
        if not found:
            raise Broken(
                f"The model file {self._path.name} does not say its {name}.",
                code="model_unreadable",
                hint=CHECK_HINT,
            )
        if found[0] < 1 and name in _NEVER_NOTHING:
            raise Broken(
                f"The model file {self._path.name} says that its {name} is {found[0]}.",
                code="model_unreadable",
                hint=CHECK_HINT,
            )
        return found[0]

    def most(self, name: str, default: int) -> int:
        return max(self._known.get(name) or (default,))

    def each_layer(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        layers = self.one("block_count")
        found = self._known.get(name) or default or (self.one(name),)
        return found * layers if len(found) == 1 else found


def _of_onnx(path: Path) -> Footprint:
    """ONNX Runtime keeps a rearranged copy of most weights, computes in 32 bits, and in every step writes new keys and
    values beside the old ones, into blocks that leave gaps; a graph with fused attention keeps one copy in one piece.
    """
    weights = hf_folder.onnx_bytes(path)
    config = HfConfig.read(path.parent)
    libraries = _ONNX_PROCESS + _TOKENIZER_EXPANSION * hf_folder.tokenizer_bytes(path.parent)
    token_bytes = _kept_numbers(config) * 4
    # Weights in a file of their own are mapped and rearranged one by one.
    is_one_file = path.stat().st_size > weights // 2
    return Footprint(
        fixed=libraries + weights * 37 // 20 + 2 * ONNX_READ_TOKENS * config.vocabulary * 4,
        per_token=token_bytes * 5 // 4 if hf_folder.has_fused_attention(path) else 5 * token_bytes,
        per_sequence=config.vocabulary * 4,
        context_length=config.context_length or _ANY_CONTEXT,
        loading=libraries + 4 * weights + _ONNX_LOADING if is_one_file else 0,
    )


def _of_mlx(path: Path) -> Footprint:
    """MLX keeps keys and values as wide as the weights' scales; growing and shared ones lie in memory twice."""
    weights = hf_folder.safetensors(path)
    config = HfConfig.read(path.parent)
    width = max(config.width, config.heads * config.head_size)
    return Footprint(
        fixed=_MLX_PROCESS
        + _TOKENIZER_EXPANSION * hf_folder.tokenizer_bytes(path.parent)
        + weights.size
        + STEP_TOKENS * 4 * (3 * config.inner + 4 * width),
        per_token=2 * _kept_numbers(config) * weights.float_bytes,
        per_sequence=config.vocabulary * 4,
        context_length=config.context_length or _ANY_CONTEXT,
    )


def _kept_numbers(config: HfConfig) -> int:
    """Keys and values of one token."""
    return 2 * config.layers * config.kv_heads * config.head_size
