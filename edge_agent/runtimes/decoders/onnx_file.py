"""What can be known of an ONNX file before ONNX Runtime opens it: its operators, and where its weights lie.

ONNX Runtime reads whatever regular file a hard link leads to, cuts a name at its NUL byte, and finds weights that
are cut short only once it computes with them. So a model's files are checked first, with a reader of the protobuf
wire format that knows the few messages which can hold a tensor (onnx.proto3) and goes past everything else.
"""

from __future__ import annotations

import mmap
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from edge_agent.models.formats.hf_files import missing, unreadable

_MAX_BYTES = 2**31 - 1  # of any protobuf message
_MAX_DEPTH = 64
_MAX_FIELDS = 4_000_000  # some seconds of reading; a model of 100 layers has a tenth of that
_MAX_VARINT = 10

# Which fields of which messages hold what can hold a tensor.
_CHILDREN: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {4: "operator", 5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "external"},
}
_LENGTH_DELIMITED = 2
_FIXED_SIZES = {1: 8, 5: 4}


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """`operators` counts the nodes of each operator; `weight_bytes` is the size of the model and its external data."""

    operators: Mapping[str, int]
    weight_bytes: int


class _MalformedError(ValueError):
    """The bytes are no ONNX model."""


def read_onnx_file(path: Path) -> OnnxFile:
    """Look through a model file without computing anything.

    Raises Broken code "model_file_missing" where it is not there, and "model_unreadable" where it is no ONNX model
    and where its external data is missing, is cut short, or is not a file of its own within the model's folder.
    """
    if not path.is_file():
        raise missing(path)
    try:
        size = path.stat().st_size
        if not 0 < size <= _MAX_BYTES:
            raise _MalformedError
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            reader = _Reader(data)
            tensors = list(reader.external_tensors())
    except (OSError, ValueError) as error:
        raise unreadable(path, "is no ONNX model, or is damaged") from error
    if not reader.operators:
        raise unreadable(path, "is no ONNX model, or is damaged")
    external = _ExternalData(path)
    for entries in tensors:
        external.check(entries)
    return OnnxFile(reader.operators, size + sum(external.sizes.values()))


class _Reader:
    """Goes once through a model's messages."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._fields_left = _MAX_FIELDS
        self.operators: Counter[str] = Counter()

    def external_tensors(self) -> Iterator[dict[str, str]]:
        """What each tensor with external data says of it. Counts the operators on the way."""
        waiting = [("Model", 0, len(self._data), 0)]
        while waiting:
            kind, start, end, depth = waiting.pop()
            if depth > _MAX_DEPTH:
                raise _MalformedError
            children = _CHILDREN[kind]
            entries: list[tuple[str, str]] = []
            for number, at, until in self._fields(start, end):
                child = children.get(number)
                if child == "operator":
                    self.operators[self._text(at, until)] += 1
                elif child == "external":
                    entries.append(self._entry(at, until))
                elif child is not None:
                    waiting.append((child, at, until, depth + 1))
            if entries:
                if len(dict(entries)) != len(entries):
                    raise _MalformedError
                yield dict(entries)

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Number, start and end of each length-delimited field of a message."""
        at = start
        while at < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise _MalformedError
            tag, at = self._varint(at, end)
            wire_type = tag & 7
            if wire_type == _LENGTH_DELIMITED:
                size, at = self._varint(at, end)
                if size > end - at:
                    raise _MalformedError
                yield tag >> 3, at, at + size
                at += size
            elif wire_type == 0:
                _, at = self._varint(at, end)
            elif wire_type in _FIXED_SIZES:
                at += _FIXED_SIZES[wire_type]
            else:
                raise _MalformedError
        if at != end:
            raise _MalformedError

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for index in range(_MAX_VARINT):
            if at + index >= end:
                break
            byte = self._data[at + index]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value, at + index + 1
        raise _MalformedError

    def _entry(self, start: int, end: int) -> tuple[str, str]:
        found = {number: self._text(at, until) for number, at, until in self._fields(start, end)}
        return found.get(1, ""), found.get(2, "")

    def _text(self, at: int, until: int) -> str:
        return self._data[at:until].decode("utf-8")  # a UnicodeDecodeError is a ValueError, too


@dataclass(slots=True)
class _ExternalData:
    """Checks what tensors say of their bytes; `sizes` has each file that was found good."""

    model: Path
    sizes: dict[str, int] = field(default_factory=dict)

    def check(self, entries: Mapping[str, str]) -> None:
        """Raises Broken where a tensor's bytes are not there, or not the model's own."""
        location = entries.get("location", "")
        if location not in self.sizes:
            self.sizes[location] = self._size(location)
        room = self.sizes[location]
        offset, length = (self._number(entries.get(name, "0")) for name in ("offset", "length"))
        if offset + length > room:
            raise unreadable(self.model, "has weights in a second file, which is cut short")

    def _size(self, location: str) -> int:
        flavours = (PurePosixPath(location), PureWindowsPath(location))
        if (
            any(path.anchor or ".." in path.parts for path in flavours)
            # ONNX Runtime marks addresses in its own memory by a path that begins with a star.
            or location.startswith("*")
            or "\0" in location
        ):
            raise unreadable(self.model, "names weights outside its own folder")
        try:
            folder = self.model.parent.resolve(strict=True)
            found = (folder / location).resolve(strict=True)
            facts = found.stat()
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
            raise unreadable(self.model, "has weights in a second file, which is missing") from error
        if not found.is_relative_to(folder):
            raise unreadable(self.model, "names weights outside its own folder")
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
            raise unreadable(self.model, "names weights that are not a file of its own")
        return facts.st_size

    def _number(self, text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < len(str(2**64))):
            raise unreadable(self.model, "is no ONNX model, or is damaged")
        return int(text)
