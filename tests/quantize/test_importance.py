"""The importance matrix: what llama.cpp is seen to compute, the file it is kept in, and what it is good for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import llama_cpp
import numpy as np
import psutil
import pytest
import toy_gguf
from quantize_command import Run, made_by

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound, Problem
from edge_agent.models.progress import SILENT
from quantize.gguf import importance, to_gguf
from quantize.gguf.ggml import Ggml
from quantize.gguf.importance_file import ImportanceMatrix, Sums, read, write
from quantize.gguf.importance_worker import CHUNK, dense, routed
from quantize.sources import source
from tests.gguf_file import save

UNSEEN = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text("utf-8")
TEXT = "".join(chr(97 + step * step % 23) for step in range(2 * CHUNK))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, "utf-8")
    return path


class Heard:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int, str]] = []

    def advance(self, done: int, total: int, what: str) -> None:
        self.steps.append((done, total, what))


def _random(*shape: int) -> toy_gguf.Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_the_library_has_the_layout_that_we_read() -> None:
    Ggml()  # raises where llama-cpp-python was updated and struct ggml_tensor changed with it


@pytest.mark.parametrize(
    ("outer", "inner", "shape"), [(1, 1, (1, 1, 7, 5)), (1, 1, (2, 3, 7, 5)), (2, 3, (4, 6, 7, 5))]
)
def test_squares_are_summed_for_the_matrix_that_a_row_meets(
    outer: int, inner: int, shape: tuple[int, int, int, int]
) -> None:
    inputs = _random(*shape)
    squares, tokens = dense(inputs, outer, inner)
    expected = np.zeros((outer * inner, shape[3]))
    for o, i, row in np.ndindex(*shape[:3]):
        expected[(o % outer) * inner + i % inner] += inputs[o, i, row].astype(float) ** 2
    np.testing.assert_allclose(squares, expected, rtol=1e-6)
    assert tokens.tolist() == [shape[0] * shape[1] * shape[2] / (outer * inner)] * (outer * inner)


@pytest.mark.parametrize("slots", [1, 2])
def test_squares_are_summed_for_the_experts_that_a_token_reaches(slots: int) -> None:
    inputs = _random(1, 9, slots, 5)
    chosen = np.array([[[[token % 3, 3] for token in range(9)]]], np.int32)
    squares, tokens = routed(inputs, chosen, 5)
    expected = np.zeros((5, 5))
    for token, slot in np.ndindex(9, 2):
        expected[chosen[0, 0, token, slot]] += inputs[0, token, slot % slots].astype(float) ** 2
    np.testing.assert_allclose(squares, expected, rtol=1e-6)
    assert tokens.tolist() == [3, 3, 3, 9, 0]


def test_what_is_written_is_read_and_an_expert_that_nothing_reached_counts_evenly(tmp_path: Path) -> None:
    ggml = Ggml()
    sums = {
        "blk.0.ffn_up_exps.weight": Sums(np.abs(_random(3, 8)), np.array([4, 0, 2], np.float32)),
        "blk.0.attn_q.weight": Sums(np.abs(_random(1, 8)), np.array([6], np.float32)),
    }
    path, again = tmp_path / "one.gguf", tmp_path / "two.gguf"
    for target in (path, again):
        write(ggml, target, ImportanceMatrix(sums, ["a text", "ein Wörterbuch"], 3), 512)
    assert path.read_bytes() == again.read_bytes()
    found = read(ggml, path)
    assert (found.datasets, found.chunks) == (["a text", "ein Wörterbuch"], 3)
    assert found.sums.keys() == sums.keys()
    means = found.sums["blk.0.ffn_up_exps.weight"].means().reshape(3, 8)
    squares = sums["blk.0.ffn_up_exps.weight"].squares
    np.testing.assert_allclose(means, np.stack([squares[0] / 4, np.ones(8), squares[2] / 2]), rtol=1e-6)


@pytest.mark.slow
def test_the_sums_are_those_of_the_model_s_own_arithmetic(tmp_path: Path, text: Path) -> None:
    model, target = tmp_path / "toy.gguf", tmp_path / "imatrix.gguf"
    tensors = toy_gguf.dense(model)
    heard = Heard()
    computed = importance.compute(model, target, heard, text)
    assert heard.steps == [(1, 2, "importance matrix"), (2, 2, "importance matrix")]
    assert (computed.tokens, computed.tensors, computed.text) == (2 * CHUNK, 7, "text.txt")
    matrix = read(Ggml(), target)
    assert matrix.datasets == [f"text.txt sha256:{computed.text_sha256}"]
    tokens = np.array(toy_gguf.tokens(TEXT)[: 2 * CHUNK])
    tokens[CHUNK] = toy_gguf.FIRST_TOKEN  # each chunk begins a text
    rows = tensors["token_embd.weight"][tokens].astype(float)
    rows /= np.sqrt(np.square(rows).mean(axis=1, keepdims=True) + toy_gguf.EPSILON)
    expected = np.square(rows * tensors["blk.0.attn_norm.weight"]).sum(axis=0)
    for name in ("attn_q", "attn_k", "attn_v"):
        np.testing.assert_allclose(matrix.sums[f"blk.0.{name}.weight"].squares[0], expected, rtol=1e-4)
    assert all(sums.tokens.tolist() == [2 * CHUNK] for sums in matrix.sums.values())


@pytest.mark.slow
def test_a_mixture_of_experts_is_made_in_two_bits(tmp_path: Path, text: Path) -> None:
    model, target, folder = tmp_path / "toy.gguf", tmp_path / "imatrix.gguf", tmp_path / "made"
    toy_gguf.routed(model)
    computed = importance.compute(model, target, SILENT, text)
    sums = read(Ggml(), target).sums
    up = sums["blk.0.ffn_up_exps.weight"]
    assert up.squares.shape == (toy_gguf.EXPERTS, toy_gguf.WIDTH)
    assert up.tokens.sum() == 2 * CHUNK * toy_gguf.USED
    folder.mkdir()
    with pytest.raises(InvalidRequest) as refused:
        to_gguf.convert(source.find(str(model)), folder, "IQ2_XXS", SILENT)
    assert refused.value.code == "needs_importance_matrix"
    made = to_gguf.convert(
        source.find(str(model)), folder, "IQ2_XXS", SILENT, matrix=target, output_type="F16", embedding_type="Q8_0"
    )
    (file,) = folder.iterdir()
    assert file.stat().st_size < model.stat().st_size / 7
    assert any(computed.text_sha256 in note for note in made.notes)
    assert "The output is kept in F16." in made.notes
    assert "The token embeddings are kept in Q8_0." in made.notes
    assert computed.text_sha256.encode() in file.read_bytes()
    assert computed == importance.compute(file, tmp_path / "again.gguf", SILENT, text)  # it can be loaded, and runs


@pytest.mark.slow
def test_the_matrix_is_computed_where_the_type_gains(edge_quantize: Run, tmp_path: Path, text: Path) -> None:
    toy_gguf.dense(tmp_path / "toy.gguf")
    words = ("toy.gguf", "--to", "gguf", "--calibration", text, "--no-judge", "--json")
    weighted, plain = (made_by(edge_quantize(*words, "--type", name))["made"] for name in ("Q3_K_S", "Q8_0"))
    assert weighted["notes"][0].startswith("With the importance matrix imatrix.gguf (sha256 ")
    assert "of text.txt sha256:" in weighted["notes"][0]
    assert plain["notes"] == []
    assert {path.name for path in tmp_path.iterdir()} == {"toy.gguf", "text.txt"}


@pytest.mark.parametrize("content", [b"", b"no matrix at all", "model", "cut"])
def test_a_file_that_is_no_matrix_is_refused(tmp_path: Path, content: bytes | str) -> None:
    model, matrix = tmp_path / "toy.gguf", tmp_path / "imatrix.gguf"
    toy_gguf.dense(model)
    if content == "cut":
        write(Ggml(), matrix, ImportanceMatrix({"blk.0.attn_q.weight": Sums(_random(1, 8), _random(1))}, [], 1), 512)
        content = matrix.read_bytes()[:-4]
    matrix.write_bytes(model.read_bytes() if content == "model" else bytes(content))
    assert _refusal(model, matrix).code == "bad_importance_matrix"


def test_a_matrix_of_another_model_is_refused(tmp_path: Path) -> None:
    model, matrix = tmp_path / "toy.gguf", tmp_path / "imatrix.gguf"
    toy_gguf.dense(model)
    sums = {"blk.0.attn_q.weight": Sums(np.ones((1, 8), np.float32), np.ones(1, np.float32))}
    write(Ggml(), matrix, ImportanceMatrix(sums, [], 1), 512)
    problem = _refusal(model, matrix)
    assert problem.code == "bad_importance_matrix"
    assert "of another model" in problem.message
    matrix.unlink()
    assert _refusal(model, matrix).code == "importance_matrix_not_found"


def _refusal(model: Path, matrix: Path) -> Problem:
    folder = model.parent / "made"
    folder.mkdir(exist_ok=True)
    with pytest.raises((InvalidRequest, NotFound)) as refused:
        to_gguf.convert(source.find(str(model)), folder, "Q3_K_S", SILENT, matrix=matrix)
    return refused.value


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "calibration_not_found"), (b"\xff\xfe", "calibration_unreadable"), (b"short", "calibration_too_short")],
)
def test_a_text_that_cannot_serve_is_refused(tmp_path: Path, content: bytes | None, code: str) -> None:
    model, text = tmp_path / "toy.gguf", tmp_path / "text.txt"
    toy_gguf.dense(model)
    if content is not None:
        text.write_bytes(content)
    with pytest.raises((InvalidRequest, NotFound)) as refused:
        importance.compute(model, tmp_path / "imatrix.gguf", SILENT, text)
    assert refused.value.code == code
    assert not (tmp_path / "imatrix.gguf").exists()


def test_a_model_that_llama_cpp_cannot_load_or_evaluate_has_no_matrix(tmp_path: Path, text: Path) -> None:
    hollow = tmp_path / "hollow.gguf"
    save(hollow, {"general.architecture": "llama"}, {"output_norm.weight": np.ones(8, np.float32)})
    with pytest.raises(Broken) as refused:
        importance.compute(hollow, tmp_path / "imatrix.gguf", SILENT, text)
    assert refused.value.code == "model_unreadable"
    ill = tmp_path / "ill.gguf"
    toy_gguf.dense(ill, spoilt="blk.0.attn_norm.weight")
    with pytest.raises(InvalidRequest) as useless:
        importance.compute(ill, tmp_path / "imatrix.gguf", SILENT, text)
    assert useless.value.code == "no_importance_matrix"
    assert "--imatrix" in useless.value.hint


def test_rows_that_do_not_fill_a_tensor_s_blocks_are_told(smollm2: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as refused:
        to_gguf.convert(source.find(str(smollm2)), tmp_path, "Q8_0", SILENT, embedding_type="Q6_K")
    assert refused.value.code == "bad_tensor_type"
    assert "Rows of 576" in refused.value.message
    assert "Q5_0" in refused.value.hint
    with pytest.raises(InvalidRequest) as unknown:
        to_gguf.convert(source.find(str(smollm2)), tmp_path, "Q8_0", SILENT, output_type="IQ1_S")
    assert unknown.value.code == "unknown_type"


@pytest.mark.slow
def test_the_matrix_keeps_a_model_nearer_to_its_source(smollm2: Path, small_matrix: Path, tmp_path: Path) -> None:
    losses = {}
    reference = _log_probabilities(smollm2)
    for weighted in (True, False):
        folder = tmp_path / str(weighted)
        folder.mkdir()
        matrix = small_matrix if weighted else None
        to_gguf.convert(source.find(str(smollm2)), folder, "Q4_0", SILENT, matrix=matrix)
        (made,) = folder.iterdir()
        losses[weighted] = float((np.exp(reference) * (reference - _log_probabilities(made))).sum(axis=1).mean())
    assert losses[True] < 0.8 * losses[False]  # 0.165 against 0.269 nats over a longer text


def _log_probabilities(model: Path) -> np.ndarray:
    """Of every token to come after those of a text that is not the bundled one."""
    llama = llama_cpp.Llama(str(model), n_ctx=128, logits_all=True, verbose=False)
    try:
        llama.eval(llama.tokenize(UNSEEN.encode())[:128])
        logits = llama.scores[: llama.n_tokens].astype(float)
    finally:
        llama.close()
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals for another process")
@pytest.mark.parametrize(
    "how",
    [
        signal.SIGINT,
        signal.SIGTERM,
        pytest.param(
            signal.SIGKILL, marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the worker, too")
        ),
    ],
)
def test_a_stop_half_way_leaves_no_process_and_no_file(tmp_path: Path, text: Path, how: signal.Signals) -> None:
    model, target = tmp_path / "toy.gguf", tmp_path / "imatrix.gguf"
    toy_gguf.dense(model)
    text.write_text(40 * TEXT, "utf-8")
    program = f"""
import signal, sys
from pathlib import Path
from quantize.gguf import importance

signal.signal(signal.SIGTERM, signal.default_int_handler)

class Told:
    def advance(self, done, total, what):
        print(done, flush=True)

importance.compute(Path({str(model)!r}), Path({str(target)!r}), Told(), Path({str(text)!r}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        (worker,) = _children(process.pid)
        process.send_signal(how)
        assert process.wait(30) != 0
    deadline = time.monotonic() + 10
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(worker)
    assert not target.exists()


def _children(parent: int) -> list[int]:
    return [child.pid for child in psutil.Process(parent).children(recursive=True)]


def _runs(process: int) -> bool:
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE
