"""GGUF to GGUF on SmolLM2-135M, and what goes wrong in the field."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import llama_cpp
import pytest
from quantize_command import Run, error_of, made_by

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("type_name", ["Q8_0", "Q4_K_M", "Q3_K_M"])
def test_the_artifact_runs_and_its_manifest_is_true(edge_quantize: Run, smollm2: Path, type_name: str) -> None:
    made = made_by(edge_quantize(smollm2, "--to", "gguf", "--type", type_name, "--json"))
    folder = Path(made["folder"])
    assert folder.name == made["id"] == f"smollm2-135m-instruct-{type_name.lower()}"
    (file,) = made["files"]
    weights = folder / file["path"]
    assert file["size"] == weights.stat().st_size
    assert file["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert made["source"]["files"][0]["sha256"] == hashlib.sha256(smollm2.read_bytes()).hexdigest()
    assert (made["licence"], made["context_length"], made["parameters"]) == ("Apache-2.0", 8192, 134515008)
    assert made["command"] == f"edge-quantize {smollm2.name} --to gguf --type {type_name}"
    # Rows of 576 are no multiple of the 256 that k-quants need, and the user is told.
    assert bool(made["notes"]) == (type_name != "Q8_0")
    assert "Paris" in _answer(weights, "The capital of France is")


def _answer(weights: Path, prompt: str) -> str:
    model = llama_cpp.Llama(str(weights), n_ctx=64, verbose=False, seed=1)
    try:
        answer = model.create_completion(prompt, max_tokens=8, temperature=0)
        return str(answer["choices"][0]["text"])
    finally:
        model.close()


@pytest.mark.parametrize(
    ("type_name", "code"),
    [("IQ1_S", "needs_importance_matrix"), ("NVFP4", "unsupported_type"), ("Q9_9", "unknown_type")],
)
def test_a_type_that_cannot_be_made_is_refused(edge_quantize: Run, smollm2: Path, type_name: str, code: str) -> None:
    assert error_of(edge_quantize(smollm2, "--to", "gguf", "--type", type_name, "--json"))["code"] == code


@pytest.mark.parametrize("kept", [500, -1])
def test_a_truncated_source_leaves_nothing(edge_quantize: Run, smollm2: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(smollm2.read_bytes()[:kept])
    assert error_of(edge_quantize(cut, "--to", "gguf", "--json"))["code"] == "model_truncated"
    assert list(tmp_path.iterdir()) == [cut]


def test_a_model_that_llama_cpp_cannot_load_leaves_nothing(edge_quantize: Run, tmp_path: Path) -> None:
    hollow = tmp_path / "hollow.gguf"
    hollow.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(24))  # a sound header of no tensors and no keys
    error = error_of(edge_quantize(hollow, "--to", "gguf", "--json"))
    assert error["code"] in {"quantizer_failed", "quantizer_crashed", "model_unreadable"}
    assert "hollow.gguf" in error["message"]
    assert list(tmp_path.iterdir()) == [hollow]


def test_an_error_is_one_line_and_names_the_way_out(edge_quantize: Run, smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    finished = edge_quantize(smollm2, "--to", "gguf", "--out", "there")
    assert finished.returncode == 1
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("Remove it, or name another with --out.")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_half_way_leaves_nothing(smollm2: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "quantize.cli", str(smollm2), "--to", "gguf", "--type", "IQ4_XS"]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".*/*.gguf")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(tmp_path.glob(".*/*.gguf"))
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux's unshare to make a small disk")
def test_a_full_disk_is_seen_before_anything_is_written(smollm2: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=20m tmpfs "$1" && cd "$1" && "$2" -m quantize.cli "$3" --to gguf --json; '
    script += 'status=$?; ls -A "$1"; exit $status'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(disk), sys.executable, str(smollm2)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare:" in finished.stderr or "mount:" in finished.stderr:
        pytest.skip("this system lets nobody make a file system of their own")
    assert error_of(finished)["code"] == "disk_full"
    assert finished.stdout == ""
