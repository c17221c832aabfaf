"""Small ONNX models, written field by field as onnx.proto3 says, so that no test needs the `onnx` package."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel
from tokenizers.models import WordLevel

Attribute = int | float | list[int]
FLOAT, INT32, INT64, FLOAT16 = 1, 6, 7, 10
VOCABULARY, WIDTH, CONTEXT = 32, 16, 64
_TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.float16): FLOAT16, np.dtype(np.int64): INT64}


def varint(value: int) -> bytes:
    """A number in groups of seven bits."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: float | str | bytes) -> bytes:
    """One field of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name: str, values: np.ndarray) -> bytes:
    """An initializer that lies in the model's own file."""
    dims = b"".join(field(1, size) for size in values.shape)
    return dims + field(2, _TYPES[values.dtype]) + field(8, name) + field(9, values.tobytes())


def external_tensor(name: str, size: int, entries: Iterable[tuple[str, str]]) -> bytes:
    """Floats that lie in another file."""
    said = b"".join(field(13, field(1, key) + field(2, value)) for key, value in entries)
    return field(1, size) + field(2, FLOAT) + field(8, name) + said + field(14, 1)


def node(
    operator: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Attribute
) -> bytes:
    """One operator."""
    out = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
    out += field(4, operator) + field(7, domain)
    for name, value in attributes.items():
        if isinstance(value, int):
            held = field(3, value) + field(20, 2)
        elif isinstance(value, float):
            held = field(2, value) + field(20, 1)
        else:
            held = b"".join(field(8, item) for item in value) + field(20, 7)
        out += field(5, field(1, name) + held)
    return out


def port(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    """An input or output of the graph; a size given by name is free."""
    dims = b"".join(field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def model(nodes: Iterable[bytes], tensors: Iterable[bytes], inputs: Iterable[bytes], outputs: Iterable[bytes]) -> bytes:
    """A whole file."""
    graph = b"".join(field(1, item) for item in nodes) + field(2, "g")
    graph += b"".join(field(5, item) for item in tensors)
    graph += b"".join(field(11, item) for item in inputs) + b"".join(field(12, item) for item in outputs)
    opsets = field(8, field(1, "") + field(2, 18)) + field(8, field(1, "com.microsoft") + field(2, 1))
    return field(1, 9) + field(7, graph) + opsets


def adder(weights: bytes) -> bytes:
    """A model that adds four weights to its input."""
    return model([node("Add", ["x", "w"], ["y"])], [weights], [port("x", FLOAT, [4])], [port("y", FLOAT, [4])])


def write_decoder(folder: Path, *, grouped: bool, cache: type[np.floating] = np.float32) -> Path:
    """A language model of one layer and no training, whose logits depend on every token so far and its place.

    `grouped`: as onnxruntime-genai's builder makes them; otherwise as optimum does. Returns the model's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w0"))
    tokenizer.decoder = ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "w1"}), "utf-8")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 2]}), "utf-8")
    sizes = {"num_attention_heads": 1, "hidden_size": WIDTH, "max_position_embeddings": CONTEXT}
    (folder / "config.json").write_text(json.dumps(sizes), "utf-8")
    path = folder / "model.onnx"
    path.write_bytes(_grouped(np.dtype(cache)) if grouped else _plain())
    return path


def _ports(cache: int, *, positions: bool) -> tuple[list[bytes], list[bytes]]:
    names = ["input_ids", "attention_mask", *(["position_ids"] if positions else [])]
    shapes = {"attention_mask": ["batch", "total"]}
    inputs = [port(name, INT64, shapes.get(name, ["batch", "sequence"])) for name in names]
    outputs = [port("logits", cache, ["batch", "sequence", VOCABULARY])]
    for part in ("key", "value"):
        # The builder leaves the last size open, optimum does not.
        last: int | str = WIDTH if positions else "head_size"
        inputs.append(port(f"past_key_values.0.{part}", cache, ["batch", 1, "past", last]))
        outputs.append(port(f"present.0.{part}", cache, ["batch", 1, "total", last]))
    return inputs, outputs


def _weights(kind: np.dtype) -> list[bytes]:
    random = np.random.default_rng(7)
    places = np.arange(CONTEXT)[:, None] / 3.0 ** np.arange(WIDTH // 2)
    arrays = {
        "embedding": random.normal(size=(VOCABULARY, WIDTH)).astype(kind),
        "head": random.normal(size=(WIDTH, VOCABULARY)).astype(kind),
        "places": np.concatenate([np.sin(places), np.cos(places)], 1).astype(kind),
        "sines": np.sin(places).astype(kind),
        "cosines": np.cos(places).astype(kind),
        "one": np.array([1], np.int64),
        "total_at": np.array(1, np.int64),
        "scale": np.array(0.5, kind),
        "lowest": np.array(-1e4, kind),
    }
    return [tensor(name, values) for name, values in arrays.items()]


def _grouped(cache: np.dtype) -> bytes:
    kind = _TYPES[cache]
    caches = ["past_key_values.0.key", "past_key_values.0.value"]
    nodes = [
        node("Gather", ["embedding", "input_ids"], ["x"]),
        node("ReduceSum", ["attention_mask", "one"], ["counts"], keepdims=0),
        node("Sub", ["counts", "one"], ["last"]),
        node("Cast", ["last"], ["seqlens"], to=INT32),
        node("Shape", ["attention_mask"], ["shape"]),
        node("Gather", ["shape", "total_at"], ["total64"]),
        node("Cast", ["total64"], ["total"], to=INT32),
        node(
            "GroupQueryAttention",
            ["x", "x", "x", *caches, "seqlens", "total", "cosines", "sines"],
            ["read", "present.0.key", "present.0.value"],
            "com.microsoft",
            num_heads=1,
            kv_num_heads=1,
            do_rotary=1,
        ),
        node("MatMul", ["read", "head"], ["logits"]),
    ]
    return model(nodes, _weights(cache), *_ports(kind, positions=False))


def _plain() -> bytes:
    """Attention written out, with a causal mask from the positions of the columns that the mask leaves."""
    nodes = [
        node("Gather", ["embedding", "input_ids"], ["words"]),
        node("Gather", ["places", "position_ids"], ["where"]),
        node("Add", ["words", "where"], ["x"]),
        node("Unsqueeze", ["x", "one"], ["heads"]),
        node("Concat", ["past_key_values.0.key", "heads"], ["present.0.key"], axis=2),
        node("Concat", ["past_key_values.0.value", "heads"], ["present.0.value"], axis=2),
        node("Transpose", ["present.0.key"], ["turned"], perm=[0, 1, 3, 2]),
        node("MatMul", ["heads", "turned"], ["dots"]),
        node("Mul", ["dots", "scale"], ["scores"]),
        # A column's position: how many cells of its row there are before it.
        node("CumSum", ["attention_mask", "total_at"], ["counted"]),
        node("Sub", ["counted", "one"], ["column_at"]),
        node("Unsqueeze", ["column_at", "one"], ["columns"]),
        node("Unsqueeze", ["position_ids", "two"], ["rows"]),
        node("LessOrEqual", ["columns", "rows"], ["before"]),
        node("Cast", ["attention_mask"], ["there"], to=9),
        node("Unsqueeze", ["there", "one"], ["there3"]),
        node("And", ["before", "there3"], ["seen3"]),
        node("Unsqueeze", ["seen3", "one"], ["seen"]),
        node("Where", ["seen", "scores", "lowest"], ["masked"]),
        node("Softmax", ["masked"], ["shares"], axis=-1),
        node("MatMul", ["shares", "present.0.value"], ["read4"]),
        node("Squeeze", ["read4", "one"], ["read"]),
        node("MatMul", ["read", "head"], ["logits"]),
    ]
    tensors = [*_weights(np.dtype(np.float32)), tensor("two", np.array([2], np.int64))]
    return model(nodes, tensors, *_ports(FLOAT, positions=True))
