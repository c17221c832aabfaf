"""To ONNX and MLX on real models. Minutes, and the export environment (torch) on the first run: see the marker."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from quantize_command import Run, error_of, made_by
from tokenizers import Tokenizer

from cloud_bridge.protocol.problems import Unavailable
from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore
from edge_agent.runtimes.encoder import Encoder
from quantize import export_environment

pytestmark = [pytest.mark.slow, pytest.mark.export, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "models" / "encoders" / "all-minilm-l6-v2-int8"


class Quiet:
    def advance(self, done: int, total: int, what: str) -> None:
        """Ignore it."""


@pytest.fixture(scope="module", autouse=True)
def export_python() -> Path:
    """The export environment's Python, made now if it must be."""
    try:
        return export_environment.interpreter(Quiet())
    except Unavailable as problem:
        pytest.skip(f"no torch for this Python here: {problem.message}")


@pytest.fixture(scope="module")
def minilm(models_home: Path) -> Path:
    """The fp32 encoder as the catalog has it."""
    store = ModelStore(models_home, Catalog.load())
    store.pull("all-minilm-l6-v2", Quiet())
    return store.path("all-minilm-l6-v2")


def test_the_committed_encoder_comes_out_again_and_is_near_its_original(edge_quantize: Run, minilm: Path) -> None:
    made = made_by(edge_quantize(minilm, "--to", "onnx", "--out", "again", "--json"))
    again = Path(made["folder"])
    plain = Path(made_by(edge_quantize(minilm, "--to", "onnx", "--type", "fp32", "--json"))["folder"])
    record = json.loads((COMMITTED / "manifest.json").read_text())
    assert made["made"]["source"] == record["made"]["source"]
    assert made["made"]["command"] == record["made"]["command"]
    if made["made"]["tools"] == record["made"]["tools"]:  # other builds of torch may round in another order
        assert made["files"] == record["files"]
    texts = _sentences()
    committed = Encoder(COMMITTED).embed(texts)
    assert _cosines(Encoder(again).embed(texts), committed).min() > 0.999
    cosines = _cosines(Encoder(plain).embed(texts), committed)
    assert cosines.min() > 0.98
    assert cosines.mean() > 0.998


def _sentences() -> list[str]:
    """Two hundred, from this repository's own prose."""
    prose = " ".join((ROOT / name).read_text() for name in ("LICENSE", "NOTICE", "README.md"))
    found = [" ".join(part.split()) for part in re.split(r"(?<=[.;:,])\s", prose)]
    return [sentence for sentence in found if len(sentence) > 20][:200]


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", left, right)


@pytest.mark.parametrize("type_name", ["int4", "int4-hqq"])
def test_an_encoder_has_four_bits_too(edge_quantize: Run, minilm: Path, type_name: str) -> None:
    made = made_by(edge_quantize(minilm, "--to", "onnx", "--type", type_name, "--json"))
    texts = _sentences()
    cosines = _cosines(Encoder(Path(made["folder"])).embed(texts), Encoder(COMMITTED).embed(texts))
    assert cosines.mean() > 0.95


@pytest.mark.parametrize("type_name", ["int8", "int4", "int4-hqq"])
def test_a_language_model_goes_from_gguf_to_onnx(edge_quantize: Run, smollm2: Path, type_name: str) -> None:
    made = made_by(edge_quantize(smollm2, "--to", "onnx", "--type", type_name, "--no-judge", "--json"))
    assert (made["kind"], made["licence"], made["context_length"]) == ("llm", "Apache-2.0", 8192)
    folder = Path(made["folder"])
    assert _next_word(folder, "The capital of France is") == " Paris"


def _next_word(folder: Path, prompt: str) -> str:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    ids = np.array([tokenizer.encode(prompt).ids])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.size)[None]}
    for tensor in session.get_inputs():
        if tensor.name not in feeds:  # the cache of keys and values, empty
            feeds[tensor.name] = np.zeros((1, tensor.shape[1], 0, tensor.shape[3]), np.float32)
    logits = session.run(["logits"], {tensor.name: feeds[tensor.name] for tensor in session.get_inputs()})[0]
    return str(tokenizer.decode([int(logits[0, -1].argmax())]))


def test_an_architecture_nobody_can_export_is_refused(edge_quantize: Run, minilm: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (odd / name).symlink_to(minilm / name)
    (odd / "config.json").write_text('{"architectures": ["OddForImageTalk"], "model_type": "odd"}')
    assert error_of(edge_quantize(odd, "--to", "onnx", "--json"))["code"] == "unsupported_architecture"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd"]


def test_a_language_model_goes_from_gguf_to_mlx(edge_quantize: Run, smollm2: Path) -> None:
    pytest.importorskip("mlx_lm", reason="the mlx extra is not installed here")
    made = made_by(edge_quantize(smollm2, "--to", "mlx", "--type", "8bit", "--no-judge", "--json"))
    assert "model.safetensors" in {file["path"] for file in made["files"]}
