"""Language models to ONNX, on models of random weights: what the graph is like, and that it computes the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cloud_bridge.protocol.problems import Unavailable
from edge_agent.models.progress import SILENT
from edge_agent.runtimes.decoders.decoder import Logits, Span
from edge_agent.runtimes.decoders.mlx_decoder import open_mlx_decoder
from edge_agent.runtimes.decoders.onnx_decoder import open_onnx_decoder
from edge_agent.runtimes.decoders.onnx_file import read_onnx_file
from quantize import export_environment
from quantize.manifest import Made
from quantize.onnx import to_onnx
from quantize.sources.source import Source
from tests.quantize import toy_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
TOKENS = [0, *range(10, 60)]
ATTENTION = "GroupQueryAttention"


@pytest.fixture(scope="module", autouse=True)
def export_python() -> Path:
    """The export environment's Python, made now if it must be."""
    try:
        return export_environment.interpreter(SILENT)
    except Unavailable as problem:
        pytest.skip(f"no torch for this Python here: {problem.message}")


def _convert(toy: Source, folder: Path, type_name: str) -> Made:
    folder.mkdir()
    return to_onnx.convert(toy, folder, type_name, SILENT, plain=toy.path)


def _logits(folder: Path) -> Logits:
    decoder = open_onnx_decoder(folder / "model.onnx", context_length=256, sequences=1, threads=1)
    return toy_folder.logits(decoder, TOKENS)


def _as_mlx_computes(toy: Source) -> Logits:
    """An implementation of the same model that has nothing to do with torch or ONNX."""
    pytest.importorskip("mlx_lm", reason="the mlx extra is not installed here")
    return toy_folder.logits(open_mlx_decoder(toy.path / "model.safetensors", context_length=256, sequences=1), TOKENS)


def test_four_bits_in_few_operators_give_the_same_answers(tmp_path: Path) -> None:
    toy = toy_folder.write(tmp_path / "toy", has_four_bits=True)
    made = _convert(toy, tmp_path / "made", "int4-hqq")
    assert (made.kind, made.quantization, made.context_length, made.notes) == ("llm", "int4-hqq", 512, ())
    graph = read_onnx_file(tmp_path / "made" / "model.onnx")
    assert graph.operators[ATTENTION] == toy_folder.LAYERS
    assert graph.operators["MatMul"] == 0  # the output head, too, is in blocks
    assert graph.operators["GatherBlockQuantized"] == 1
    found = _logits(tmp_path / "made")
    assert toy_folder.divergence(_as_mlx_computes(toy), found) < 0.06
    data = tmp_path / "made" / "model.onnx_data"
    assert data.stat().st_mode == (tmp_path / "made" / "model.onnx").stat().st_mode
    _check_rows_do_not_mix(tmp_path / "made", found)


def _check_rows_do_not_mix(folder: Path, alone: Logits) -> None:
    """Two sequences of different lengths, evaluated together, are as each alone."""
    decoder = open_onnx_decoder(folder / "model.onnx", context_length=256, sequences=2, threads=1)
    decoder.evaluate([Span(0, 0, TOKENS[:20], 0)])
    decoder.evaluate([Span(1, 0, TOKENS[:30], 0)])
    short, long = decoder.evaluate([Span(0, 20, [TOKENS[20]], 1), Span(1, 30, [TOKENS[30]], 1)])
    decoder.close()
    np.testing.assert_allclose(short[0], alone[1], atol=0.05)
    np.testing.assert_allclose(long[0], alone[11], atol=0.05)


@pytest.mark.export
@pytest.mark.parametrize(("kind", "tied"), [("llama", True), ("llama", False), ("qwen2", True), ("qwen3", False)])
def test_attention_in_one_operator_is_right(tmp_path: Path, kind: str, tied: bool) -> None:
    toy = toy_folder.write(tmp_path / "toy", kind, tied=tied)
    made = _convert(toy, tmp_path / "made", "fp32")
    assert made.notes == ()
    assert read_onnx_file(tmp_path / "made" / "model.onnx").operators[ATTENTION] == toy_folder.LAYERS
    np.testing.assert_allclose(_logits(tmp_path / "made"), _as_mlx_computes(toy), atol=1e-3)


@pytest.mark.export
def test_long_context_by_scaled_positions_is_right(tmp_path: Path) -> None:
    scaled = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    toy = toy_folder.write(tmp_path / "toy", rope_scaling=scaled)
    assert _convert(toy, tmp_path / "made", "fp32").notes == ()
    np.testing.assert_allclose(_logits(tmp_path / "made"), _as_mlx_computes(toy), atol=1e-3)


@pytest.mark.export
def test_attention_of_another_kind_stays_as_it_was(tmp_path: Path) -> None:
    toy = toy_folder.write(tmp_path / "toy", "mistral", sliding_window=8)
    made = _convert(toy, tmp_path / "made", "fp32")
    (note,) = made.notes
    assert "sliding window" in note
    assert read_onnx_file(tmp_path / "made" / "model.onnx").operators[ATTENTION] == 0
    assert np.isfinite(_logits(tmp_path / "made")).all()


@pytest.mark.export
@pytest.mark.parametrize("tied", [True, False])
def test_more_bits_lose_less(tmp_path: Path, tied: bool) -> None:
    toy = toy_folder.write(tmp_path / "toy", "qwen2", tied=tied)
    reference, losses = _as_mlx_computes(toy), []
    for type_name in ("int4", "int4-hqq", "int8", "fp16"):
        _convert(toy, tmp_path / type_name, type_name)
        losses.append(toy_folder.divergence(reference, _logits(tmp_path / type_name)))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-5


LOOPED = """
import sys
sys.path.append(sys.argv[1])
import quantize
sys.path.pop()
import numpy as np
import onnx
from pathlib import Path
from onnx import TensorProto, helper, numpy_helper
from quantize.onnx.weights import Graph, write

def branch(reads):
    out = helper.make_tensor_value_info(f"{reads}_out", TensorProto.FLOAT, [2])
    return helper.make_graph([helper.make_node("Identity", [reads], [out.name])], reads, [], [out])

graph = helper.make_graph(
    [helper.make_node("Neg", ["weight"], ["minus"]),
     helper.make_node("If", ["yes"], ["result"], then_branch=branch("weight"), else_branch=branch("minus"))],
    "choice",
    [helper.make_tensor_value_info("yes", TensorProto.BOOL, [])],
    [helper.make_tensor_value_info("result", TensorProto.FLOAT, [2])],
    [numpy_helper.from_array(np.array([1, 2], np.float32), "weight")],
)
source, made = map(Path, sys.argv[2:])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source)
found = Graph.read(source)
found.replace(found.model.graph.node)
write(found, made, "fp32", lambda done, count: None)
"""


@pytest.mark.export
def test_what_only_a_branch_reads_stays(tmp_path: Path, export_python: Path) -> None:
    paths = [tmp_path / "choice.onnx", tmp_path / "made.onnx"]
    subprocess.run([export_python, "-I", "-c", LOOPED, ROOT, *paths], check=True)
    session = onnxruntime.InferenceSession(paths[1], providers=["CPUExecutionProvider"])
    for yes, expected in ((True, [1, 2]), (False, [-1, -2])):
        np.testing.assert_array_equal(session.run(None, {"yes": np.array(yes)})[0], np.array(expected, np.float32))


MOVED_OUT = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
import quantize
sys.path.pop()
import onnx
from quantize.onnx.weights import Graph, write
source, apart, made = map(Path, sys.argv[2:])
onnx.save(onnx.load(str(source)), str(apart), save_as_external_data=True, size_threshold=0, convert_attribute=True)
write(Graph.read(apart), made, "fp32", lambda done, count: None)
"""


@pytest.mark.export
def test_a_graph_may_have_all_its_numbers_in_a_second_file(tmp_path: Path, export_python: Path) -> None:
    """As exporters write models of more than 2 GB, with the constants of nodes, too."""
    toy = toy_folder.write(tmp_path / "toy", "mistral", sliding_window=8)
    _convert(toy, tmp_path / "made", "fp32")
    again = tmp_path / "again"
    again.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (again / name).write_bytes((tmp_path / "made" / name).read_bytes())
    paths = [tmp_path / "made" / "model.onnx", tmp_path / "apart.onnx", again / "model.onnx"]
    subprocess.run([export_python, "-I", "-c", MOVED_OUT, ROOT, *paths], check=True)
    np.testing.assert_array_equal(_logits(again), _logits(tmp_path / "made"))
