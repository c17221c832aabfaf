"""How much memory a model is said to need: what its header implies, what hostile files say, and what was measured."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.footprint import ONNX_READ_TOKENS, STEP_TOKENS, Footprint, Footprints, footprint
from edge_agent.models.libraries import LlmFormat
from edge_agent.runtimes.decoders import decoder, onnx_decoder
from tests.model_files import MLX_LLM, ONNX_LLM, SMALL_LLM

ROOT = Path(__file__).parents[2]
LOWEST, HIGHEST = 0.9, 1.35
"""Of what was measured: what is said may be more, since not everything is used in a short test."""

CONFIG = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
}


def _key(name: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value


def _number(name: str, value: int) -> bytes:
    return _key(name, 4, struct.pack("<I", value))


def _numbers(name: str, values: list[int]) -> bytes:
    return _key(name, 9, struct.pack("<IQ", 4, len(values)) + struct.pack(f"<{len(values)}I", *values))


def _gguf(path: Path, *keys: bytes) -> Path:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(keys) + bytes(100_000))
    return path


def _text(name: str, value: str) -> bytes:
    return _key(name, 8, struct.pack("<Q", len(value)) + value.encode())


ARCHITECTURE = _text("general.architecture", "lama")
LAMA = [
    ARCHITECTURE,
    _number("lama.block_count", 4),
    _number("lama.context_length", 4096),
    _number("lama.embedding_length", 256),
    _number("lama.feed_forward_length", 1024),
    _number("lama.attention.head_count", 8),
]


def _instead(name: str, value: bytes) -> list[bytes]:
    """The model with another value for one of its keys."""
    return [*(key for key in LAMA if name.encode() not in key), value]


def test_the_context_costs_what_its_keys_and_values_take(models_home: Path) -> None:
    (path,) = (models_home / SMALL_LLM).glob("*.gguf")
    found = footprint(path, "gguf")
    # 30 layers of 3 heads of 64 numbers of 2 bytes, keys and values, and 2 bytes a token in a step of 512.
    assert found.per_token == 30 * 3 * 64 * 2 * 2 + 512 * 2
    assert found.context_length == 8192
    assert found.mb(1 << 30, 1) == found.mb(8192, 1)  # more than it was made for it is not given
    assert found.mb(8192, 8) > found.mb(8192, 1) > found.mb(2048, 1)


def test_heads_may_differ_from_layer_to_layer(tmp_path: Path) -> None:
    same = footprint(_gguf(tmp_path / "a", *LAMA, _number("lama.attention.head_count_kv", 2)), "gguf")
    mixed = footprint(_gguf(tmp_path / "b", *LAMA, _numbers("lama.attention.head_count_kv", [2, 0, 2, 0])), "gguf")
    plain = footprint(_gguf(tmp_path / "c", *LAMA), "gguf")
    assert (same.per_token - 1024, mixed.per_token - 1024) == (4 * 2 * 32 * 4, 2 * 2 * 32 * 4)
    assert plain.per_token - 1024 == 4 * 8 * 32 * 4
    sizes = [_number("lama.attention.key_length", 128), _number("lama.attention.value_length", 64)]
    assert footprint(_gguf(tmp_path / "d", *LAMA, *sizes), "gguf").per_token - 1024 == 4 * 8 * (128 + 64) * 2


@given(
    others=st.lists(
        st.tuples(
            st.sampled_from(["x", "lam", "LAMA", "lamas", "general", "lama.lama"]),
            st.sampled_from(["block_count", "context_length", "embedding_length", "attention.head_count_kv"]),
            st.integers(0, 4),
        ),
        unique_by=lambda other: other[:2],
    ),
    at=st.integers(0, len(LAMA)),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_what_llama_cpp_reads_of_a_model_counts(
    tmp_path: Path, others: list[tuple[str, str, int]], at: int
) -> None:
    """Keys with the name of another architecture make a model neither smaller nor larger."""
    lies = [_number(f"{name}.{dimension}", value) for name, dimension, value in others]
    real = footprint(_gguf(tmp_path / "m", *LAMA), "gguf")
    found = footprint(_gguf(tmp_path / "m", *LAMA[:at], *lies, *LAMA[at:]), "gguf")
    assert (found.per_token, found.context_length) == (real.per_token, real.context_length)
    assert found.mb(4096, 4) == real.mb(4096, 4)


def test_all_parts_of_a_split_model_count(tmp_path: Path) -> None:
    one = _gguf(tmp_path / "m-00001-of-00002.gguf", *LAMA)
    alone = footprint(one, "gguf").fixed
    with (tmp_path / "m-00002-of-00002.gguf").open("wb") as sparse:
        sparse.truncate(7_000_000)
    assert footprint(one, "gguf").fixed == alone + 7_000_000


@pytest.mark.parametrize(
    "keys",
    [
        [],
        LAMA[1:],
        [ARCHITECTURE, *LAMA[2:]],
        [*LAMA, _number("lama.context_length", 4096)],
        [*LAMA, ARCHITECTURE],
        [*LAMA, *(_number(f"{letter}.block_count", 1) for letter in "abcdefgh")],
        _instead("architecture", _text("general.architecture", "llama")),
        _instead("block_count", _number("lama.block_count", 2**32 - 1)),
        _instead("block_count", _number("lama.block_count", 0)),
        _instead("context_length", _number("lama.context_length", 0)),
        _instead("embedding_length", _key("lama.embedding_length", 10, struct.pack("<Q", 2**63))),
        _instead("embedding_length", _key("lama.embedding_length", 11, struct.pack("<q", -5))),
        _instead("embedding_length", _key("lama.embedding_length", 6, struct.pack("<f", 1.0))),
        [*LAMA, _numbers("lama.attention.head_count_kv", [1] * 5000)],
        [*LAMA, _numbers("lama.attention.head_count_kv", [2**31] * 4)],
        [*LAMA, _key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 0, 2**40))],
    ],
)
def test_senseless_dimensions_are_refused(tmp_path: Path, keys: list[bytes]) -> None:
    with pytest.raises(Broken) as caught:
        footprint(_gguf(tmp_path / "hostile.gguf", *keys), "gguf")
    assert caught.value.code in {"model_unreadable", "model_truncated"}
    assert caught.value.hint


def test_a_model_without_heads_or_width_does_not_divide_by_nothing(tmp_path: Path) -> None:
    keys = [*LAMA[:3], _number("lama.embedding_length", 0), _number("lama.attention.head_count", 0)]
    assert footprint(_gguf(tmp_path / "odd.gguf", *keys), "gguf").mb(4096, 8) < 200
    none = [*LAMA, _numbers("lama.attention.head_count_kv", [])]
    assert footprint(_gguf(tmp_path / "empty.gguf", *none), "gguf").per_token > 1024


def test_steps_are_as_long_as_the_runtimes_make_them() -> None:
    assert (STEP_TOKENS, ONNX_READ_TOKENS) == (decoder.STEP_TOKENS, onnx_decoder.READ_TOKENS)


def _folder(path: Path, config: Any, *, weights: bytes = b"") -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    header = json.dumps({"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8) + weights)
    (path / "model.onnx").write_bytes(bytes(1000))
    return path


def test_a_folder_counts_all_its_weights(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m", CONFIG)
    mlx, onnx = folder / "model.safetensors", folder / "model.onnx"
    before = footprint(mlx, "mlx").fixed, footprint(onnx, "onnx").fixed
    (folder / "model-00002-of-00002.safetensors").write_bytes(bytes(1_000_000))
    (folder / "model.onnx_data").write_bytes(bytes(2_000_000))
    (folder / "model.onnx_data.abc.part").write_bytes(bytes(2_000_000))
    assert footprint(mlx, "mlx").fixed == before[0] + 1_000_000
    assert footprint(onnx, "onnx").fixed == before[1] + 2_000_000 * 37 // 20
    # BF16 weights compute, and keep their keys and values, in two bytes.
    assert footprint(mlx, "mlx").per_token == 2 * 2 * 30 * 3 * 64 * 2


def test_what_the_builder_of_onnxruntime_genai_writes_is_read_too(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m", CONFIG)
    wanted = footprint(folder / "model.onnx", "onnx")
    inner = {name: value for name, value in CONFIG.items() if name.startswith(("hidden", "num"))}
    model = {"context_length": 8192, "vocab_size": 49152, "decoder": {**inner, "head_size": 64}}
    (folder / "config.json").unlink()
    (folder / "genai_config.json").write_text(json.dumps({"model": model}))
    assert footprint(folder / "model.onnx", "onnx") == wanted


@pytest.mark.parametrize(
    "config",
    [
        [],
        "x",
        {},
        {**CONFIG, "num_hidden_layers": 10**12},
        {**CONFIG, "num_hidden_layers": True},
        {**CONFIG, "hidden_size": -1},
        {**CONFIG, "vocab_size": "many"},
        {**CONFIG, "num_attention_heads": 0},
        {**CONFIG, "head_dim": 1.5},
    ],
)
@pytest.mark.parametrize(("model_format", "name"), [("mlx", "model.safetensors"), ("onnx", "model.onnx")])
def test_a_senseless_config_is_refused(tmp_path: Path, config: Any, model_format: LlmFormat, name: str) -> None:
    folder = _folder(tmp_path / "m", config)
    with pytest.raises(Broken) as caught:
        footprint(folder / name, model_format)
    assert caught.value.code == "model_unreadable"


def test_damaged_weights_and_missing_files_are_told(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m", CONFIG)
    for junk in (b"", b"\xff" * 8, struct.pack("<Q", 4) + b"[[[[", struct.pack("<Q", 2) + b"[]"):
        (folder / "model.safetensors").write_bytes(junk)
        with pytest.raises(Broken) as caught:
            footprint(folder / "model.safetensors", "mlx")
        assert caught.value.code == "model_unreadable"
    (folder / "config.json").unlink()
    for missing in (folder / "model.onnx", folder / "none.onnx"):
        with pytest.raises(Broken) as caught:
            footprint(missing, "onnx")
        assert caught.value.code == "model_file_missing"


def test_the_largest_context_that_fits_does_fit_and_no_larger_one() -> None:
    found = Footprint(fixed=100 * 2**20, per_token=30_000, per_sequence=2**20, context_length=8000)
    for budget in (110, 150, 200, 333):
        context = found.largest_context(budget, 4)
        assert context % 256 == 0
        assert found.mb(context, 4) <= budget < found.mb(context + 256, 4)
    assert found.largest_context(10_000, 4) == 8000
    assert found.largest_context(50, 4) == 0
    loading = Footprint(fixed=2**20, per_token=1, per_sequence=0, context_length=8000, loading=300 * 2**20)
    assert (loading.largest_context(299, 1), loading.largest_context(301, 1)) == (0, 8000)


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    known = Footprints()
    path = _gguf(tmp_path / "m.gguf", *LAMA)
    first = known.of(path, "gguf")
    assert known.of(path, "gguf") is first
    _gguf(path, *LAMA, _number("lama.attention.head_count_kv", 1))
    assert known.of(path, "gguf").per_token < first.per_token
    path.unlink()
    with pytest.raises(Broken):
        known.of(path, "gguf")


MEASURE = """
import asyncio, re, sys
from pathlib import Path
from edge_agent.runtimes.worker_runtime import WorkerRuntime
from tests.runtimes.asking import answer, asking, spec

async def main(path, model_format, context, parallel, words):
    runtime = WorkerRuntime(spec(Path(path), model_format=model_format, context_length=context, parallel=parallel))
    await runtime.ensure_ready()
    schema = {"type": "object", "properties": {"n": {"const": 1}}, "required": ["n"]}
    prompt = "one two three four five six seven eight nine ten " * (words // 10)
    asked = [asking(f"{n}. {prompt}", max_tokens=8, schema=None if n else schema) for n in range(parallel)]
    got = await asyncio.gather(*(answer(runtime, one) for one in asked))
    status = Path(f"/proc/{runtime.pid}/status").read_text()
    await runtime.close()
    print(min(one.finish.usage.prompt_tokens for one in got), int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024)

asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
"""


def _measured(path: Path, model_format: str, context: int, parallel: int, words: int) -> int:
    """The process's peak in MiB, with a prompt of so many words in each slot at once."""
    command = [sys.executable, "-c", MEASURE, str(path), model_format, *map(str, (context, parallel, words))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    tokens, peak = map(int, done.stdout.split())
    assert tokens >= words
    return peak


def _compare(path: Path, model_format: LlmFormat, *, context: int, parallel: int, words: int) -> None:
    said = footprint(path, model_format).mb(context, parallel)
    measured = _measured(path, model_format, context, parallel, words)
    print(f"{path.parent.name}, context {context}: {said} MiB said, {measured} measured, {said / measured:.2f}")
    assert LOWEST <= said / measured <= HIGHEST


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="a process's peak is read from /proc")


@needs_linux
@pytest.mark.slow
def test_what_is_said_is_what_llama_cpp_takes(models_home: Path) -> None:
    (path,) = (models_home / SMALL_LLM).glob("*.gguf")
    _compare(path, "gguf", context=8192, parallel=4, words=100)


@needs_linux
@pytest.mark.slow
@pytest.mark.big
def test_and_with_the_big_model(big_models_home: Path) -> None:
    (path,) = (big_models_home / "qwen2.5-coder-1.5b-instruct-q4_k_m").glob("*.gguf")
    _compare(path, "gguf", context=4096, parallel=1, words=700)


@needs_linux
@pytest.mark.slow
def test_what_is_said_is_what_onnx_runtime_takes(converted_models: Path) -> None:
    # With a shorter context, loading it would take the most.
    _compare(converted_models / ONNX_LLM / "model.onnx", "onnx", context=1536, parallel=4, words=300)


@needs_linux
@pytest.mark.slow
def test_what_is_said_is_what_mlx_takes(converted_models: Path) -> None:
    path = converted_models / MLX_LLM / "model.safetensors"
    if not path.is_file():
        pytest.skip("the mlx extra is not installed")
    # Its CPU backend reads ten tokens a second or so.
    _compare(path, "mlx", context=256, parallel=2, words=10)
