"""The committed encoder, on real sentences, and what happens when its files are not as they should be."""

from __future__ import annotations

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cloud_bridge.protocol.problems import Broken
from edge_agent.runtimes.encoder import Encoder

COMMITTED = Path(__file__).parents[2] / "models" / "encoders" / "all-minilm-l6-v2-int8"
TEXTS = [
    "I lost my credit card yesterday",
    "my card was stolen, please block it",
    "what a lovely sunset over the harbour",
    "ok",
    "The Borrower shall repay the Loan in full, together with accrued interest, on the Maturity Date. " * 8,
    "¿Cuánto cuesta el billete de tren a Sevilla?",
    "",
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(COMMITTED)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(COMMITTED, tmp_path / "encoder"))


def test_rows_are_unit_vectors_in_the_order_of_the_texts(encoder: Encoder) -> None:
    rows = encoder.embed(TEXTS)
    assert rows.shape == (len(TEXTS), 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    lost, stolen, sunset = rows[:3]
    assert lost @ stolen > lost @ sunset + 0.3


def test_a_text_has_one_embedding_whatever_it_is_batched_with(encoder: Encoder) -> None:
    together = encoder.embed(TEXTS * 6)
    alone = np.concatenate([encoder.embed([text]) for text in TEXTS])
    np.testing.assert_allclose(together, np.tile(alone, (6, 1)), atol=1e-4)


def test_no_texts_give_no_rows(encoder: Encoder) -> None:
    assert encoder.embed([]).shape == (0, 384)


def test_what_lies_behind_256_word_pieces_is_not_read(encoder: Encoder) -> None:
    long = "word " * 300
    assert encoder.token_counts([long, "hello", ""]) == [256, 3, 2]
    np.testing.assert_array_equal(encoder.embed([long]), encoder.embed([long + "and more"]))


def test_a_lone_surrogate_is_only_a_character(encoder: Encoder) -> None:
    assert np.isfinite(encoder.embed(["broken \ud83d emoji"])).all()


def test_many_threads_share_one_encoder() -> None:
    fresh = Encoder(COMMITTED)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: fresh.embed(TEXTS[:4]), range(16)))
    for rows in results:
        np.testing.assert_allclose(rows, results[0], atol=1e-5)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(Broken) as caught:
        Encoder(copied).embed(["x"])
    assert caught.value.code == "model_file_missing"
    assert name in caught.value.message
    assert "edge-agent models verify" in caught.value.hint


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_file_cut_short_is_named(copied: Path, name: str) -> None:
    _cut(copied / name)
    with pytest.raises(Broken) as caught:
        Encoder(copied).embed(["x"])
    assert caught.value.code == "model_truncated"
    assert name in caught.value.message


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_without_a_manifest_a_file_cut_short_is_unreadable(copied: Path, name: str) -> None:
    (copied / "manifest.json").unlink()
    _cut(copied / name)
    with pytest.raises(Broken) as caught:
        Encoder(copied).embed(["x"])
    assert caught.value.code == "model_unreadable"


def test_a_repaired_folder_works_without_a_new_encoder(copied: Path) -> None:
    encoder = Encoder(copied)
    _cut(copied / "model.onnx")
    with pytest.raises(Broken):
        encoder.warm()
    shutil.copy(COMMITTED / "model.onnx", copied / "model.onnx")
    assert encoder.embed(["x"]).shape == (1, 384)


@pytest.mark.parametrize("manifest", ["", "[]", '{"files": 3}', '{"files": [{"path": "model.onnx"}]}'])
def test_a_spoiled_manifest_is_unreadable(copied: Path, manifest: str) -> None:
    (copied / "manifest.json").write_text(manifest)
    with pytest.raises(Broken) as caught:
        Encoder(copied).warm()
    assert caught.value.code == "model_unreadable"


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    shutil.copy(COMMITTED / "tokenizer.json", folder)
    np.ones(4, np.float32).tofile(tmp_path / "outside.bin")
    for location in ("../outside.bin", str(tmp_path / "outside.bin")):
        (folder / "model.onnx").write_bytes(_model_with_weights_at(location))
        with pytest.raises(Broken) as caught:
            Encoder(folder).warm()
        assert caught.value.code == "model_unreadable"
        assert "outside its own folder" in caught.value.message


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    shutil.copy(COMMITTED / "tokenizer.json", tmp_path)
    np.ones(4, np.float32).tofile(tmp_path / "weights.bin")
    (tmp_path / "model.onnx").write_bytes(_model_with_weights_at("weights.bin"))
    with pytest.raises(Broken, match="not a sentence encoder"):
        Encoder(tmp_path).warm()


def test_the_manifest_describes_the_committed_files() -> None:
    manifest = json.loads((COMMITTED / "manifest.json").read_text())
    described = {entry["path"]: entry["sha256"] for entry in manifest["files"]}
    there = [path for path in COMMITTED.iterdir() if path.name != "manifest.json"]
    assert described == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in there}


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _field(number: int, value: bytes | int) -> bytes:
    """One protobuf field, of fewer than 128 * 128 bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value) & 127 | 128, len(value) >> 7]) + value


def _model_with_weights_at(location: str) -> bytes:
    """An ONNX model y = x + w whose w, four floats, lies in another file."""
    entries = [(b"location", location.encode()), (b"length", b"16")]
    external = b"".join(_field(13, _field(1, key) + _field(2, value)) for key, value in entries)
    weight = _field(1, 4) + _field(2, 1) + _field(8, b"w") + external + _field(14, 1)
    node = _field(1, b"x") + _field(1, b"w") + _field(2, b"y") + _field(4, b"Add")
    four_floats = _field(1, _field(1, 1) + _field(2, _field(1, _field(1, 4))))
    values = [(11, b"x"), (12, b"y")]
    graph = _field(1, node) + _field(2, b"g") + _field(5, weight)
    graph += b"".join(_field(number, _field(1, name) + _field(2, four_floats)) for number, name in values)
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 18))
