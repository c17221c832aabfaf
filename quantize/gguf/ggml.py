"""What is needed of llama.cpp's tensor library, by ctypes: llama-cpp-python wraps only the library above it.

`Tensor` repeats a C struct that may change with any release, so `Ggml` compares it with what the library's own
functions say before anybody follows a pointer in it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp._ctypes_extensions import load_shared_library  # where it finds its libraries, so do we
from numpy.typing import NDArray

F32, I32 = 0, 26
_POINTER, _SIZE, _INT, _INT64, _NAME = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int64, ctypes.c_char_p
_OBJECT_BYTES = 32  # what a context puts before each tensor


class Tensor(ctypes.Structure):
    """struct ggml_tensor: `ne` elements and `nb` bytes from one to the next, innermost dimension first."""

    _fields_ = (
        ("type", _INT),
        ("buffer", _POINTER),
        ("ne", _INT64 * 4),
        ("nb", _SIZE * 4),
        ("op", _INT),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", _POINTER * 10),
        ("view_src", _POINTER),
        ("view_offs", _SIZE),
        ("data", _POINTER),
        ("name", ctypes.c_char * 64),
        ("extra", _POINTER),
        ("padding", ctypes.c_char * 8),
    )


class _InitParams(ctypes.Structure):
    _fields_ = (("mem_size", _SIZE), ("mem_buffer", _POINTER), ("no_alloc", ctypes.c_bool))


class _GgufParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.POINTER(_POINTER)))


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ggml_init": (_POINTER, (_InitParams,)),
    "ggml_free": (None, (_POINTER,)),
    "ggml_new_tensor_2d": (_POINTER, (_POINTER, _INT, _INT64, _INT64)),
    "ggml_new_tensor_3d": (_POINTER, (_POINTER, _INT, _INT64, _INT64, _INT64)),
    "ggml_mul_mat": (_POINTER, (_POINTER, _POINTER, _POINTER)),
    "ggml_mul_mat_id": (_POINTER, (_POINTER, _POINTER, _POINTER, _POINTER)),
    "ggml_set_name": (_POINTER, (_POINTER, _NAME)),
    "ggml_get_name": (_NAME, (_POINTER,)),
    "ggml_get_data": (_POINTER, (_POINTER,)),
    "ggml_nbytes": (_SIZE, (_POINTER,)),
    "ggml_op_name": (_NAME, (_INT,)),
    "ggml_blck_size": (_INT64, (_INT,)),
    "ggml_tensor_overhead": (_SIZE, ()),
    "ggml_get_first_tensor": (_POINTER, (_POINTER,)),
    "ggml_get_next_tensor": (_POINTER, (_POINTER, _POINTER)),
    "ggml_backend_tensor_get": (None, (_POINTER, _POINTER, _SIZE, _SIZE)),
    "gguf_init_empty": (_POINTER, ()),
    "gguf_init_from_file": (_POINTER, (_NAME, _GgufParams)),
    "gguf_free": (None, (_POINTER,)),
    "gguf_set_val_str": (None, (_POINTER, _NAME, _NAME)),
    "gguf_set_val_u32": (None, (_POINTER, _NAME, ctypes.c_uint32)),
    "gguf_set_arr_str": (None, (_POINTER, _NAME, ctypes.POINTER(_NAME), _SIZE)),
    "gguf_find_key": (_INT64, (_POINTER, _NAME)),
    "gguf_get_kv_type": (_INT, (_POINTER, _INT64)),
    "gguf_get_arr_type": (_INT, (_POINTER, _INT64)),
    "gguf_get_arr_n": (_SIZE, (_POINTER, _INT64)),
    "gguf_get_arr_str": (_NAME, (_POINTER, _INT64, _SIZE)),
    "gguf_get_val_u32": (ctypes.c_uint32, (_POINTER, _INT64)),
    "gguf_find_tensor": (_INT64, (_POINTER, _NAME)),
    "gguf_get_tensor_ne": (ctypes.POINTER(_INT64), (_POINTER, _INT64)),
    "gguf_add_tensor": (None, (_POINTER, _POINTER)),
    "gguf_write_to_file": (ctypes.c_bool, (_POINTER, _NAME, ctypes.c_bool)),
}


class MismatchError(Exception):
    """The installed library is not the one that this module describes."""


class Ggml:
    """The library's functions under their C names. Raises MismatchError where one is missing or `Tensor` is wrong."""

    def __init__(self) -> None:
        self._library = load_shared_library("ggml-base", Path(llama_cpp.__file__).with_name("lib"))
        try:
            for name, (result, arguments) in _SIGNATURES.items():
                function = getattr(self._library, name)
                function.restype, function.argtypes = result, arguments
        except AttributeError as error:
            raise MismatchError(str(error)) from error
        self._check_layout()

    def __getattr__(self, name: str) -> Any:
        if name not in _SIGNATURES:
            raise AttributeError(name)
        return getattr(self._library, name)

    @contextmanager
    def context(self, size: int, *, no_alloc: bool = False) -> Iterator[int]:
        """A place for tensors of `size` bytes in all, which is free again after the block."""
        handle: int | None = self.ggml_init(_InitParams(size, None, no_alloc))
        if not handle:
            raise MemoryError(f"no room for {size} bytes of tensors")
        try:
            yield handle
        finally:
            self.ggml_free(handle)

    @contextmanager
    def gguf(self, path: bytes) -> Iterator[tuple[int, int] | None]:
        """A GGUF file: its keys, and the context that holds its tensors; None where it cannot be read."""
        tensors = _POINTER()
        keys: int | None = self.gguf_init_from_file(path, _GgufParams(False, ctypes.pointer(tensors)))  # noqa: FBT003
        try:
            yield (keys, tensors.value) if keys and tensors.value else None
        finally:
            if keys:
                self.gguf_free(keys)
            if tensors.value:
                self.ggml_free(tensors)

    def op(self, tensor: Tensor) -> str:
        """What computes it, such as "MUL_MAT"."""
        return str(self.ggml_op_name(tensor.op).decode())

    def values(self, address: int) -> NDArray[Any]:
        """A copy of the 32-bit numbers of a tensor in a graph, wherever they lie; outermost dimension first."""
        tensor = at(address)
        raw = np.empty(self.ggml_nbytes(address), np.uint8)
        self.ggml_backend_tensor_get(address, raw.ctypes.data, 0, raw.nbytes)
        kind = np.int32 if tensor.type == I32 else np.float32
        return np.ndarray(tuple(tensor.ne)[::-1], kind, raw, strides=tuple(tensor.nb)[::-1])

    def copy(self, address: int, into: NDArray[np.float32]) -> None:
        """Fill `into`, as long as the tensor, from a tensor that lies in plain memory without gaps."""
        ctypes.memmove(into.ctypes.data, self.ggml_get_data(address), into.nbytes)

    def filled(self, context: int, name: str, values: NDArray[np.float32]) -> int:
        """A new tensor of that name with these numbers, of two dimensions."""
        address: int = self.ggml_new_tensor_2d(context, F32, values.shape[1], values.shape[0])
        self.ggml_set_name(address, name.encode())
        flat = np.ascontiguousarray(values, np.float32)
        ctypes.memmove(self.ggml_get_data(address), flat.ctypes.data, flat.nbytes)
        return address

    def set_strings(self, keys: int, name: str, texts: Sequence[str]) -> None:
        """A key whose value is a list of texts."""
        array = (_NAME * len(texts))(*[text.encode() for text in texts])
        self.gguf_set_arr_str(keys, name.encode(), array, len(texts))

    def strings(self, keys: int, name: str) -> Sequence[str]:
        """A key's list of texts; empty where it is something else, or missing."""
        key = self.gguf_find_key(keys, name.encode())
        if key < 0 or self.gguf_get_kv_type(keys, key) != _ARRAY or self.gguf_get_arr_type(keys, key) != _STRING:
            return []
        found = (self.gguf_get_arr_str(keys, key, index) for index in range(self.gguf_get_arr_n(keys, key)))
        return [text.decode("utf-8", "replace") for text in found]

    def count(self, keys: int, name: str) -> int | None:
        """A key's number; None where it is something else, or missing."""
        key = self.gguf_find_key(keys, name.encode())
        return (
            int(self.gguf_get_val_u32(keys, key)) if key >= 0 and self.gguf_get_kv_type(keys, key) == _UINT32 else None
        )

    def _check_layout(self) -> None:
        """Build a product of matrices, and look at it through the struct and through the library."""
        if self.ggml_tensor_overhead() != ctypes.sizeof(Tensor) + _OBJECT_BYTES:
            raise MismatchError("a tensor has another size")
        with self.context(1 << 16) as context:
            weights = self.ggml_new_tensor_3d(context, F32, 5, 7, 4)
            inputs = self.ggml_new_tensor_3d(context, F32, 5, 2, 3)
            chosen = self.ggml_new_tensor_2d(context, I32, 2, 3)
            routed = self.ggml_mul_mat_id(context, weights, inputs, chosen)
            matrix = self.ggml_new_tensor_2d(context, F32, 5, 6)
            product = self.ggml_mul_mat(context, matrix, inputs)
            self.ggml_set_name(product, b"product")
            seen = at(product)
            sound = (
                seen.name == self.ggml_get_name(product) == b"product"
                and seen.type == F32
                and (seen.data or 0) == self.ggml_get_data(product)
                and (tuple(seen.ne), tuple(seen.nb)) == ((6, 2, 3, 1), (4, 24, 48, 144))
                and self.ggml_nbytes(product) == 144
                and (self.op(seen), self.op(at(routed))) == ("MUL_MAT", "MUL_MAT_ID")
                and tuple(seen.src)[:3] == (matrix, inputs, None)
                and tuple(at(routed).src)[:4] == (weights, inputs, chosen, None)
                and at(chosen).type == I32
            )
        if not sound:
            raise MismatchError("a tensor has another layout")


_UINT32, _STRING, _ARRAY = 4, 8, 9


def at(address: int) -> Tensor:
    """The tensor there."""
    return Tensor.from_address(address)
