"""Whether a GGUF file's header is sane, before a native library is given it.

Reads the header only: magic, version, counts, keys, tensor descriptions; then compares where the last tensor ends
with the file's size. Every length is bounded by the file's, and every dimension by what a model could have, so a
hostile header costs neither memory nor time, and what is computed from it later stays sensible.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.damage import CHECK_HINT

_STRING, _ARRAY = 8, 9
_INTEGERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 10: "<Q", 11: "<q"}
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32 = 4
_BLOCK_BYTES = 1 << 18
_MAX_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32
_SMALLEST_KEY = 8 + 1 + 4 + 1
_SMALLEST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8

_TOKENS = b"tokenizer.ggml.tokens"
_FLOAT32 = 6
_FACTS = frozenset(
    {
        b"general.type",
        b"general.architecture",
        b"general.name",
        b"adapter.type",
        b"adapter.lora.alpha",
        b"adapter.alora.invocation_tokens",
    }
)
_MAX_LAYERS = 4096
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 16
_MAX_ARCHITECTURES = 8
_MAX_TOKENS = 1 << 22
"""And texts in all arrays together: the largest vocabularies have a quarter of a million, and twice as many merges."""

# What the memory of a model follows from, without the architecture's name before it, and the most that is believed.
_DIMENSIONS = {
    "block_count": _MAX_LAYERS,
    "context_length": 1 << 30,
    "embedding_length": 1 << 20,
    "feed_forward_length": 1 << 22,
    "expert_feed_forward_length": 1 << 22,
    "expert_used_count": 1 << 12,
    "attention.head_count": 1 << 14,
    "attention.head_count_kv": 1 << 14,
    "attention.key_length": 1 << 16,
    "attention.value_length": 1 << 16,
    "ssm.conv_kernel": 1 << 10,
    "ssm.inner_size": 1 << 22,
    "ssm.state_size": 1 << 16,
}

# ggml type -> (weights in a block, bytes of a block); types not listed are not measured.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """`shape` with the length of a row first, `kind` by ggml's numbers."""

    shape: tuple[int, ...]
    kind: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the header says.

    `needed` is the size in bytes that the file must have at least, `data` where its weights begin. `vocabulary` is
    the number of tokens, 0 where it has none. `dimensions` holds those integers of the model that the memory it takes
    follows from, by the key without the architecture's name ("block_count", "attention.head_count_kv"): one number,
    or one for each layer; a key with another architecture's name counts for nothing. `facts`: what the file says it is,
    by key; None for a value that is neither a text nor a 32-bit float. `layout`: its tensors by name, where those were
    asked for.
    """

    version: int
    tensors: int
    keys: int
    needed: int
    data: int
    vocabulary: int
    dimensions: Mapping[str, tuple[int, ...]]
    facts: Mapping[str, str | float | None] = field(default_factory=dict)
    layout: Mapping[str, GgufTensor] = field(default_factory=dict)


def check(path: Path, *, with_layout: bool = False, hint: str = CHECK_HINT) -> GgufHeader:
    """The header of the file at `path`. Blocks, for a fraction of a second.

    Raises Broken code "model_file_missing" | "model_unreadable" | "model_truncated"; `hint` says what to do then.
    """
    try:
        with path.open("rb") as opened:
            return _Reader(opened, path, hint, with_layout=with_layout).header()
    except FileNotFoundError as error:
        raise _broken(path, "is missing", "model_file_missing", hint) from error
    except OSError as error:
        raise _broken(path, "cannot be read", "model_unreadable", hint) from error


def _broken(path: Path, what: str, code: str, hint: str) -> Broken:
    return Broken(f"The model file {path.name} {what}.", code=code, hint=hint)


class _Reader:
    def __init__(self, opened: BinaryIO, path: Path, hint: str, *, with_layout: bool) -> None:
        self._opened = opened
        self._path = path
        self._hint = hint
        self._size = path.stat().st_size
        self._alignment = _DEFAULT_ALIGNMENT
        self._vocabulary = 0
        self._texts = 0
        self._dimensions: dict[str, dict[str, tuple[int, ...]]] = {}
        self._facts: dict[str, str | float | None] = {}
        self._layout: dict[str, GgufTensor] | None = {} if with_layout else None

    def header(self) -> GgufHeader:
        if self._size >= 4 and self._take(4) != b"GGUF":
            raise self._unreadable("is not a GGUF file")
        version = self._number("<I")
        if version not in {2, 3}:
            raise self._unreadable(f"has GGUF version {version}, not 2 or 3")
        tensors, keys = self._number("<Q"), self._number("<Q")
        if keys > _MAX_KEYS or tensors > _MAX_TENSORS:
            raise self._unreadable("counts more keys or tensors than any model has")
        if keys * _SMALLEST_KEY + tensors * _SMALLEST_TENSOR > self._size:
            raise self._truncated("is cut short in its header")
        for _ in range(keys):
            self._key()
        ends = [self._tensor() for _ in range(tensors)]
        data = -(-self._opened.tell() // self._alignment) * self._alignment
        needed = data + max(ends, default=0)
        if needed > self._size:
            raise self._truncated(f"is cut short: {self._size} of {needed} bytes")
        dimensions = self._dimensions.get(str(self._facts.get("general.architecture")), {})
        layout = self._layout or {}
        return GgufHeader(version, tensors, keys, needed, data, self._vocabulary, dimensions, self._facts, layout)

    def _key(self) -> None:
        name = self._string()
        kind = self._number("<I")
        if name == b"general.alignment" and kind == _UINT32:
            self._alignment = self._number("<I")
            if self._alignment not in {1 << bit for bit in range(17)}:
                raise self._unreadable("has a senseless alignment")
            return
        architecture, _, dimension = name.decode("utf-8", "replace").partition(".")
        if name == _TOKENS and kind == _ARRAY:
            self._vocabulary = self._array()
            if self._vocabulary > _MAX_TOKENS:
                raise self._unreadable("has a senseless number of tokens")
        elif name in _FACTS:
            self._once(self._facts, name.decode(), self._fact(kind))
        elif dimension in _DIMENSIONS:
            known = self._dimensions.setdefault(architecture, {})
            if len(self._dimensions) > _MAX_ARCHITECTURES:
                raise self._unreadable("has the dimensions of several models")
            self._once(known, dimension, self._checked(dimension, kind))
        else:
            self._value(kind)

    def _once(self, known: dict[str, _Value], name: str, value: _Value) -> None:
        if name in known:
            raise self._unreadable(f"states its {name} twice")
        known[name] = value

    def _fact(self, kind: int) -> str | float | None:
        if kind == _STRING:
            return self._string().decode("utf-8", "replace")
        if kind == _FLOAT32:
            return float(struct.unpack("<f", self._take(4))[0])
        self._value(kind)
        return None

    def _checked(self, dimension: str, kind: int) -> tuple[int, ...]:
        count = 1
        if kind == _ARRAY:
            kind, count = self._number("<I"), self._number("<Q")
        if kind not in _INTEGERS or count > _MAX_LAYERS:
            raise self._unreadable(f"has a senseless {dimension}")
        numbers = tuple(self._number(_INTEGERS[kind]) for _ in range(count))
        if not all(0 <= number <= _DIMENSIONS[dimension] for number in numbers):
            raise self._unreadable(f"has a senseless {dimension}")
        return numbers

    def _value(self, kind: int) -> None:
        if kind in _SIZES:
            self._skip(_SIZES[kind])
        elif kind == _STRING:
            self._skip(self._number("<Q"))
        elif kind == _ARRAY:
            self._array()
        else:
            raise self._unreadable("has a value of unknown type")

    def _array(self) -> int:
        """How many elements it had. None of them may be an array: llama.cpp reads no such file."""
        kind, count = self._number("<I"), self._number("<Q")
        if kind in _SIZES:
            self._skip(_SIZES[kind] * count)
            return count
        if kind != _STRING:
            raise self._unreadable("has an array of unknown type")
        if count * 8 > self._size:
            raise self._unreadable("has an array longer than itself")
        self._texts += count
        if self._texts > _MAX_TOKENS:
            raise self._unreadable("has more texts than any vocabulary")
        self._skip_strings(count)
        return count

    def _skip_strings(self, count: int) -> None:
        """A vocabulary has hundreds of thousands: they are stepped over in blocks, ten times faster than one by one."""
        block, at = b"", 0
        for _ in range(count):
            if at + 8 > len(block):
                block, at = block[at:] + self._opened.read(_BLOCK_BYTES), 0
                if len(block) < 8:
                    raise self._truncated("is cut short in its header")
            at += 8 + int.from_bytes(block[at : at + 8], "little")
            if at > len(block):
                self._skip(at - len(block))
                block, at = b"", 0
        self._opened.seek(at - len(block), 1)

    def _tensor(self) -> int:
        name = self._string()
        dimensions = self._number("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise self._unreadable("has a tensor of too many dimensions")
        shape = tuple(self._number("<Q") for _ in range(dimensions))
        weights = math.prod(shape)
        kind, offset = self._number("<I"), self._number("<Q")
        if self._layout is not None:
            text = name.decode("utf-8", "replace")
            if text in self._layout:
                raise self._unreadable("has two tensors of one name")
            self._layout[text] = GgufTensor(shape, kind)
        per_block, block_bytes = _BLOCKS.get(kind, (1, 0))
        return offset + -(-weights // per_block) * block_bytes

    def _string(self) -> bytes:
        length = self._number("<Q")
        if length > 1 << 16:
            raise self._unreadable("has a name of senseless length")
        return self._take(length)

    def _number(self, layout: str) -> int:
        return int(struct.unpack(layout, self._take(struct.calcsize(layout)))[0])

    def _take(self, length: int) -> bytes:
        found = self._opened.read(length)
        if len(found) < length:
            raise self._truncated("is cut short in its header")
        return found

    def _skip(self, length: int) -> None:
        if self._opened.tell() + length > self._size:
            raise self._truncated("is cut short in its header")
        self._opened.seek(length, 1)

    def _unreadable(self, what: str) -> Broken:
        return _broken(self._path, what, "model_unreadable", self._hint)

    def _truncated(self, what: str) -> Broken:
        return _broken(self._path, what, "model_truncated", self._hint)
