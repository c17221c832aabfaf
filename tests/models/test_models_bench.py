"""`edge-agent models bench`, as a user runs it, and the libraries' own loops that it measures against."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from cloud_bridge.protocol.problems import InvalidRequest, NotFound
from edge_agent.bench import baseline_process
from edge_agent.bench.baseline_process import BaselineFailed
from edge_agent.cli.models import app
from tests.model_files import MLX_LLM, ONNX_LLM, SMALL_LLM

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def _bench(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments], env={"EDGE_AGENT_HOME": str(home)})


@pytest.mark.parametrize(
    ("model_id", "kind", "code"),
    [
        ("no-such-model", NotFound, "unknown_model"),
        (SMALL_LLM, NotFound, "model_not_installed"),
        ("rampart-pii-q4", InvalidRequest, "not_a_language_model"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(tmp_path: Path, model_id: str, kind: type, code: str) -> None:
    refused = _bench(tmp_path, model_id).exception
    assert isinstance(refused, kind)
    assert refused.code == code
    assert refused.hint


@pytest.mark.slow
def test_a_model_is_measured_beside_its_bare_library(models_home: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(models_home)
    before = set(psutil.Process().children(recursive=True))
    done = _bench(tmp_path, SMALL_LLM, "--tokens", "8", "--json")
    assert done.exception is None
    found = json.loads(done.stdout)
    assert found["library"].startswith("llama_cpp.Llama")
    figures = {figure["what"]: figure for figure in found["figures"]}
    assert [f"generation, {n} at once" in figures for n in (1, 2, 4, 8)] == [True] * 4
    for figure in figures.values():
        assert figure["ours"] > 0
        assert figure["ratio"] == figure["ours"] / figure["library"]
    loading, loaded = figures["first token, model not loaded"], figures["first token, model loaded"]
    assert loading["ours"] > loaded["ours"]
    assert figures["memory, at most"]["ours"] >= figures["memory, resident"]["ours"] > 100
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [child for child in left if child.name().startswith("python")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_format", "model_id", "name"),
    [
        ("gguf", SMALL_LLM, "*.gguf"),
        ("onnx", ONNX_LLM, "model.onnx"),
        pytest.param(
            *("mlx", MLX_LLM, "model.safetensors"),
            marks=pytest.mark.skipif(find_spec("mlx_lm") is None, reason="needs the mlx extra"),
        ),
    ],
)
def test_each_librarys_own_loop_answers(converted_models: Path, model_format: str, model_id: str, name: str) -> None:
    (path,) = (converted_models / model_id).glob(name)
    with baseline_process.started(model_format, path, context_length=512, threads=1) as baseline:
        answer = baseline.ask(QUESTION, 6)
    assert answer.text.strip()
    assert 1 <= answer.completion_tokens <= 6
    assert 0 < answer.first_s <= answer.total_s


def test_a_library_that_cannot_load_the_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"no model")
    with (
        pytest.raises(BaselineFailed),
        baseline_process.started("gguf", tmp_path / "model.gguf", context_length=512, threads=1),
    ):
        pass
