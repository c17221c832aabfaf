"""The header check on a real model, on damaged ones, and on noise."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.formats import gguf_header

SMOL = "smollm2-135m-instruct-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf"


def _code(path: Path) -> str:
    with pytest.raises(Broken) as caught:
        gguf_header.check(path)
    assert caught.value.hint
    return caught.value.code


def test_a_whole_model_passes(models_home: Path) -> None:
    path = models_home / SMOL
    header = gguf_header.check(path)
    assert (header.version, header.tensors) == (3, 272)
    assert header.needed == path.stat().st_size
    assert 0 < header.data < header.needed
    assert header.vocabulary == 49152
    assert header.dimensions["block_count"] == (30,)
    assert header.dimensions["attention.head_count_kv"] == (3,)


def test_a_truncated_model_is_told_from_an_unreadable_one(models_home: Path, tmp_path: Path) -> None:
    with (models_home / SMOL).open("rb") as opened:
        start = opened.read(4_000_000)
    cut = tmp_path / "cut.gguf"
    for length in (0, 3, 10, 30, 5000, 2_000_000, 4_000_000):
        cut.write_bytes(start[:length])
        assert _code(cut) == "model_truncated"
    cut.write_bytes(b"PK\3\4" + start)
    assert _code(cut) == "model_unreadable"
    cut.write_bytes(b"GGUF" + struct.pack("<I", 99) + start)
    assert _code(cut) == "model_unreadable"
    assert _code(tmp_path / "none.gguf") == "model_file_missing"


@pytest.mark.parametrize(
    ("tensors", "keys"), [(2**60, 1), (1, 2**60), (2**64 - 1, 2**64 - 1), (70_000, 1), (1, 70_000)]
)
def test_senseless_counts_are_refused_at_once(tmp_path: Path, tensors: int, keys: int) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + bytes(1000))
    assert _code(path) == "model_unreadable"


@pytest.mark.parametrize("kind", [8, 9], ids=["texts", "arrays"])
@pytest.mark.parametrize("name", [b"tokenizer.ggml.tokens", b"tokenizer.ggml.merges"])
def test_more_texts_than_any_vocabulary_has_are_not_counted(tmp_path: Path, name: bytes, kind: int) -> None:
    path = tmp_path / "hostile.gguf"
    with path.open("wb") as opened:
        opened.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1))
        opened.write(struct.pack("<Q", len(name)) + name + struct.pack("<IIQ", 9, kind, 5_000_000))
        opened.truncate(100_000_000)  # zeros: 5 million empty texts
    assert _code(path) == "model_unreadable"


@given(noise=st.binary(max_size=300), keys=st.integers(0, 9), tensors=st.integers(0, 9))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_is_either_sane_or_a_clear_error(tmp_path: Path, noise: bytes, keys: int, tensors: int) -> None:
    path = tmp_path / "noise.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + noise)
    try:
        gguf_header.check(path)
    except Broken as problem:
        assert problem.code in {"model_truncated", "model_unreadable"}  # noqa: PT017  it may also pass
