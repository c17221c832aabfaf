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

from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("type_name", ["Q8_0", "Q4_K_M", "Q3_K_M"])
def test_the_artifact_runs_and_its_manifest_is_true(
    edge_quantize: Run, smollm2: Path, small_matrix: Path, *, home: Path, tmp_path: Path, type_name: str
) -> None:
    words = ("--to", "gguf", "--type", type_name, "--imatrix", small_matrix)
    made = made_by(edge_quantize(smollm2, *words, "--no-judge", "--json"))
    folder = Path(made["folder"])
    assert made["id"] == f"smollm2-135m-instruct-{type_name.lower()}"
    assert folder == home / "models" / made["id"]
    assert list(folder.parent.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []
    store = ModelStore(folder.parent, Catalog.load())
    assert store.installed_llms() == [store.get(made["id"])]
    store.verify()
    (file,) = made["files"]
    weights = folder / file["path"]
    assert file["size"] == weights.stat().st_size
    assert file["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    how = made["made"]
    assert how["source"]["files"][0]["sha256"] == hashlib.sha256(smollm2.read_bytes()).hexdigest()
    assert how["source"]["licence"] == "Apache-2.0"
    assert "Hugging Face" in made["attribution"]
    assert (made["licence"], made["context_length"], made["parameters"]) == ("Apache-2.0", 8192, 134515008)
    assert how["command"] == f"edge-quantize {smollm2.name} --to gguf --type {type_name} --imatrix imatrix.gguf"
    if type_name == "Q8_0":  # it has no use for a matrix
        assert how["notes"] == []
    else:
        weighted, fallbacks = how["notes"]
        assert hashlib.sha256(small_matrix.read_bytes()).hexdigest() in weighted
        assert "of text.txt sha256:" in weighted
        # Rows of 576 are no multiple of the 256 that k-quants need, and the user is told.
        assert "do not fill the blocks" in fallbacks
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
    # Its blocks are of 128, and llama.cpp names no type for other rows; it does not write NVFP4.
    [("Q1_0", "unsupported_type"), ("NVFP4", "unsupported_type"), ("Q9_9", "unknown_type")],
)
def test_a_type_that_cannot_be_made_is_refused(edge_quantize: Run, smollm2: Path, type_name: str, code: str) -> None:
    assert error_of(edge_quantize(smollm2, "--to", "gguf", "--type", type_name, "--json"))["code"] == code


@pytest.mark.parametrize("kept", [500, -1])
def test_a_truncated_source_leaves_nothing(edge_quantize: Run, smollm2: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(smollm2.read_bytes()[:kept])
    assert error_of(edge_quantize(cut, "--to", "gguf", "--json"))["code"] == "model_truncated"
    assert list(tmp_path.iterdir()) == [cut]


def test_a_model_that_llama_cpp_cannot_load_leaves_nothing(edge_quantize: Run, home: Path, tmp_path: Path) -> None:
    hollow = tmp_path / "hollow.gguf"
    hollow.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(24))  # a sound header of no tensors and no keys
    error = error_of(edge_quantize(hollow, "--to", "gguf", "--json"))
    assert error["code"] in {"quantizer_failed", "quantizer_crashed", "model_unreadable"}
    assert "hollow.gguf" in error["message"]
    assert list(tmp_path.iterdir()) == [hollow]
    assert list(home.glob("models/*")) == list(home.rglob("*.gguf")) == []


def test_an_error_is_one_line_and_names_the_way_out(edge_quantize: Run, smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    finished = edge_quantize(smollm2, "--to", "gguf", "--out", "there")
    assert finished.returncode == 1
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("Remove it, or name another with --out.")


def test_what_is_there_already_is_not_made_again(edge_quantize: Run, smollm2: Path, home: Path) -> None:
    (home / "models" / "smollm2-135m-instruct-q8_0").mkdir(parents=True)
    error = error_of(edge_quantize(smollm2, "--to", "gguf", "--type", "Q8_0", "--json"))
    assert error["code"] == "already_exists"
    assert "edge-agent models rm smollm2-135m-instruct-q8_0" in error["hint"]
    error = error_of(edge_quantize(smollm2, "--to", "gguf", "--type", "Q4_1", "--json"))
    assert error["code"] == "model_id_taken"
    assert "edge-agent models pull smollm2-135m-instruct-q4_1" in error["hint"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals for another process")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)])
def test_a_stop_half_way_leaves_nothing(smollm2: Path, small_matrix: Path, home: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-m", "quantize.cli", str(smollm2), "--to", "gguf", "--type", "IQ4_XS", "--no-judge"]
    command += ["--imatrix", str(small_matrix)]
    environ = {**os.environ, "EDGE_AGENT_HOME": str(home)}
    with subprocess.Popen(command, env=environ, start_new_session=True, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(home.glob("**/made/**/*.gguf")) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGSTOP)  # so that it is not done while it is looked at
        assert list(home.glob("**/made/**/*.gguf"))
        assert ModelStore(home / "models", Catalog.load()).installed_llms() == []
        os.killpg(process.pid, how)
        os.killpg(process.pid, signal.SIGCONT)
        assert process.wait(30) == 130
    assert list(home.glob("models/*")) == list(home.rglob("*.gguf")) == []


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux's unshare to make a small disk")
def test_a_full_disk_is_seen_before_anything_is_written(smollm2: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        'mount -t tmpfs -o size=20m tmpfs "$1" && "$2" -m quantize.cli "$3" --to gguf --type Q8_0 --no-judge --json; '
    )
    script += 'status=$?; find "$1" -name "*.gguf"; exit $status'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(disk), sys.executable, str(smollm2)]
    environ = {**os.environ, "EDGE_AGENT_HOME": str(disk / "home")}
    finished = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if "unshare:" in finished.stderr or "mount:" in finished.stderr:
        pytest.skip("this system lets nobody make a file system of their own")
    assert error_of(finished)["code"] == "not_enough_disk"
    assert finished.stdout == ""
