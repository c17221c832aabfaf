"""To MLX in every kind of type, on models of random weights."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.models.progress import SILENT
from edge_agent.runtimes.decoders.decoder import Logits
from edge_agent.runtimes.decoders.mlx_decoder import open_mlx_decoder
from quantize.mlx import to_mlx
from quantize.sources.source import Source
from tests.quantize import toy_folder

pytest.importorskip("mlx_lm", reason="the mlx extra is not installed here")
pytestmark = pytest.mark.slow

TOKENS = [0, *range(10, 60)]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return toy_folder.write(tmp_path_factory.mktemp("source") / "toy", "qwen2", tied=False)


@pytest.fixture(scope="module")
def reference(toy: Source) -> Logits:
    return _logits(toy.path)


def _logits(folder: Path) -> Logits:
    return toy_folder.logits(open_mlx_decoder(folder / "model.safetensors", context_length=256, sequences=1), TOKENS)


def _convert(toy: Source, made: Path, type_name: str, **options: Path) -> to_mlx.Made:
    made.mkdir()
    return to_mlx.convert(toy, made, type_name, SILENT, plain=toy.path, **options)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def test_more_bits_lose_less_and_the_runtime_reads_them_all(toy: Source, reference: Logits, tmp_path: Path) -> None:
    losses, sizes = [], []
    for type_name in ("4bit", "mixed_4_6", "8bit-g32"):
        made = _convert(toy, tmp_path / type_name, type_name)
        assert (made.kind, made.format, made.quantization) == ("llm", "mlx", type_name)
        assert made.context_length == toy_folder.CONTEXT
        losses.append(toy_folder.divergence(reference, _logits(tmp_path / type_name)))
        sizes.append(_size(tmp_path / type_name))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.003
    assert sizes == sorted(sizes)
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= {
        file.name for file in (tmp_path / "4bit").iterdir()
    }


@pytest.mark.parametrize("method", ["gptq", "awq", "dwq"])
def test_learned_types_read_our_text_and_say_so(toy: Source, tmp_path: Path, method: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    made = _convert(toy, tmp_path / "made", f"4bit-{method}", calibration=text)
    (note,) = [note for note in made.notes if "Learned" in note]
    assert " tokens of a text with sha256 " in note
    assert np.isfinite(_logits(tmp_path / "made")).all()


def test_a_calibration_text_of_a_few_words_is_refused(toy: Source, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox")
    with pytest.raises(InvalidRequest) as caught:
        _convert(toy, tmp_path / "made", "4bit-gptq", calibration=text)
    assert caught.value.code == "calibration_too_short"
    assert "--calibration" in caught.value.hint
    assert list((tmp_path / "made").iterdir()) == []


def test_what_had_four_bits_keeps_its_answers(tmp_path: Path) -> None:
    toy = toy_folder.write(tmp_path / "toy", has_four_bits=True)
    before = _logits(toy.path)
    losses = {}
    for type_name in ("4bit-minmax", "4bit-g32"):
        _convert(toy, tmp_path / type_name, type_name)
        losses[type_name] = toy_folder.divergence(before, _logits(tmp_path / type_name))
    assert losses["4bit-minmax"] < losses["4bit-g32"] / 10


def test_on_a_cpu_the_scales_have_the_bits_that_it_is_fast_with(toy: Source, tmp_path: Path) -> None:
    import mlx.core as mx  # noqa: PLC0415  # of the extra

    made = _convert(toy, tmp_path / "made", "8bit")
    with (tmp_path / "made" / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    kinds = Counter(entry["dtype"] for name, entry in header.items() if name != "__metadata__")
    on_cpu = mx.default_device() != mx.gpu
    assert set(kinds) == {"U32", "F32" if on_cpu else "BF16"}
    assert any("32 bits" in note for note in made.notes) == on_cpu


def test_the_context_is_that_of_the_language_model_among_others(tmp_path: Path) -> None:
    toy = toy_folder.write(tmp_path / "toy", text_config={"max_position_embeddings": 256})
    assert _convert(toy, tmp_path / "made", "8bit").context_length == 256


def test_groups_that_fit_no_row_are_refused(toy: Source, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _convert(toy, tmp_path / "made", "4bit-g128")
    assert caught.value.code == "unsupported_type"
    assert list((tmp_path / "made").iterdir()) == []


def test_an_architecture_without_a_program_is_refused(tmp_path: Path) -> None:
    odd = toy_folder.write(tmp_path / "odd", "llama", model_type="odd")
    with pytest.raises(InvalidRequest) as caught:
        _convert(odd, tmp_path / "made", "8bit")
    assert caught.value.code == "unsupported_architecture"


STOPPED = """
import sys
from pathlib import Path
from edge_agent.models.progress import SILENT
from quantize.mlx import to_mlx
from quantize.sources import source
found = source.find(sys.argv[1], SILENT)
to_mlx.convert(found, Path(sys.argv[2]), "4bit-awq", SILENT, plain=found.path)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stop_ends_the_process_that_works(toy: Source, tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "made").mkdir()
    command = [sys.executable, "-c", STOPPED, str(toy.path), str(tmp_path / "made")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not (children := _children(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, how)
        process.wait(30)
    assert children
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def _children(parent: int) -> list[str]:
    found = Path(f"/proc/{parent}/task/{parent}/children")
    return [
        child
        for child in (found.read_text().split() if found.exists() else [])
        if b"quantize.mlx.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
