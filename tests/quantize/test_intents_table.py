"""The encoder of requests is small, and what it keeps in 4 bits, words that its training never met, it still reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edge_agent.models.bundled import bundled_path
from edge_agent.models.progress import SILENT
from edge_agent.routing.request_rows import meaning
from edge_agent.runtimes.decoders.onnx_file import read_onnx_file
from edge_agent.runtimes.encoder import Encoder
from edge_agent.text_models import ENCODER, INTENT_ENCODER
from quantize import export_environment

ROOT = Path(__file__).parents[2]
FOLDER = bundled_path(f"encoders/{INTENT_ENCODER}")
COMMON = "please move ten dollars from my savings to my checking account"
RARE = "the archbishop excommunicated heretical monks of the byzantine peninsula"
SHRINK = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
import numpy as np
from quantize.intents.table import in_blocks, most_used, shrink
rows = np.random.default_rng(0).normal(size=(40, 384)).astype(np.float32)
levels, scales = in_blocks(rows)
back = np.stack([levels & 15, levels >> 4], axis=-1).reshape(40, -1, 32).astype(np.float32) - 8
error = np.linalg.norm(back.reshape(40, 384) * np.repeat(scales.astype(np.float32), 32, axis=1) - rows)
assert error < 0.09 * np.linalg.norm(rows), error
assert most_used([7, 7, 5], 9, 4).tolist() == [7, 5, 0, 1]
try:
    shrink(Path(sys.argv[2]), rows, most_used([], 40, 4))
except ValueError as refused:
    print("refused:", refused)
"""


def test_it_comes_in_less_than_25_mb() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 25_000_000
    assert read_onnx_file(FOLDER / "model.onnx").operators["GatherBlockQuantized"] == 1


def test_words_in_4_bits_mean_what_they_mean_to_the_general_encoder() -> None:
    texts = [COMMON, RARE]
    own = meaning(Encoder(FOLDER, threads=1).embed(texts))
    general = Encoder(bundled_path(f"encoders/{ENCODER}"), threads=1).embed(texts)
    assert ((own * general).sum(axis=1) > 0.97).all()


@pytest.mark.slow
@pytest.mark.export
def test_a_model_without_such_a_table_is_refused(tmp_path: Path) -> None:
    python = export_environment.interpreter(SILENT)
    model = tmp_path / "model.onnx"
    model.write_bytes((FOLDER / "model.onnx").read_bytes())
    done = subprocess.run(
        [str(python), "-I", "-c", SHRINK, str(ROOT), str(model)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "refused: model.onnx has no table of the shape (40, 384)" in done.stdout
    assert model.read_bytes() == (FOLDER / "model.onnx").read_bytes()
