"""What may be converted, and what is known of it before any work is done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from quantize_command import Run, error_of

from cloud_bridge.protocol.problems import Broken, Conflict, InvalidRequest, NotFound, Problem, Unavailable
from edge_agent.models.disk import check_room
from edge_agent.models.formats.safetensors_header import safetensors_header
from edge_agent.models.manifest import ModelId, RelativePath, parse
from quantize import export_environment, manifest
from quantize.artifact import building
from quantize.gguf import to_gguf
from quantize.mlx import to_mlx
from quantize.onnx import to_onnx
from quantize.sources import source


class Quiet:
    def advance(self, done: int, total: int, what: str) -> None:
        """Ignore it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in Hugging Face form, as far as its outside goes."""
    home = tmp_path / "Some-Model"
    home.mkdir()
    (home / "config.json").write_text("{}")
    (home / "tokenizer.json").write_text("{}")
    (home / "model.safetensors").write_bytes(_safetensors())
    return home


def _safetensors(name: str = "w", **changes: object) -> bytes:
    tensor = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}
    header = json.dumps({"__metadata__": {"format": "pt"}, name: tensor}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(16)


def _sharded(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors").unlink()
    for n, name in enumerate(("a", "b"), 1):
        (folder / f"model-0000{n}-of-00002.safetensors").write_bytes(_safetensors(name))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def _gguf(path: Path) -> Path:
    path.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(24))  # version 3, no tensors, no keys
    return path


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", "qwen2.5-coder-1.5b-instruct"),
        ("Model-IQ3_XXS.gguf", "model"),
        ("Model F16.gguf", "model-f16"),
        ("llama-3.gguf", "llama-3"),
    ],
)
def test_a_name_loses_only_how_the_source_was_quantized(tmp_path: Path, file: str, name: str) -> None:
    assert source.find(str(_gguf(tmp_path / file))).name == name


@pytest.mark.parametrize(
    ("model_format", "type_name", "expected"),
    [
        ("gguf", "Q4_K_M", "some-model-q4_k_m"),
        ("onnx", "int8", "some-model-onnx-int8"),
        ("mlx", "8bit", "some-model-mlx-8bit"),
    ],
)
def test_artifacts_of_one_source_never_clash(folder: Path, model_format: str, type_name: str, expected: str) -> None:
    assert manifest.artifact_id(source.find(str(folder)), type_name, model_format) == expected


@given(st.text(min_size=1).filter(lambda name: "/" not in name and "\0" not in name))
def test_an_id_is_valid_whatever_the_source_is_called(name: str) -> None:
    model_id = manifest.artifact_id(source.Source(Path("nowhere") / name, ()), "IQ3_XXS")
    assert TypeAdapter(ModelId).validate_python(model_id) == model_id
    assert TypeAdapter(RelativePath).validate_python(f"{model_id}.gguf")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("My  Model (v2)", "my-model-v2-f16"),
        ("..", "model-f16"),
        ("a..b", "a.b-f16"),
        ("CON.x", "model-con.x-f16"),
        ("m" * 300, "m" * 96 + "-f16"),
    ],
)
def test_odd_names_become_plain_ones(name: str, expected: str) -> None:
    assert manifest.artifact_id(source.Source(Path("nowhere") / name, ()), "F16") == expected


def _written(made: Path, found: source.Source, what: manifest.Made) -> dict[str, Any]:
    origin, files = manifest.Origin.of(found, found.described()), manifest.files_of(made, what.format)
    written = manifest.document(origin, what, files, command="edge-quantize", measured=None)
    manifest.save(made, written)
    return written


def test_what_is_written_is_what_models_reads(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for name in ("added.json", "model.safetensors", "tokenizer.json"):
        (made / name).write_bytes(b"{}")
    written = _written(made, source.find(str(folder)), manifest.Made("llm", "mlx", "4bit", {"mlx": "1"}))
    assert json.loads((made / "manifest.json").read_text()) == written
    read = parse(written, "made")
    assert [file.path for file in read.files] == ["model.safetensors", "added.json", "tokenizer.json"]
    assert (read.id, read.format, read.licence) == ("some-model-mlx-4bit", "mlx", "unknown")
    assert read.made is not None
    assert read.made.source.name == "Some-Model"
    assert read.made.source.licence is None
    assert read.context_length == manifest.ASSUMED_CONTEXT
    assert "2048 tokens are assumed" in read.made.notes[0]


def test_the_makers_are_named_however_often_a_model_is_converted(folder: Path, tmp_path: Path) -> None:
    (folder / "manifest.json").write_text('{"attribution": "The makers", "licence": "MIT", "files": []}')
    for name in ("once", "twice"):
        made = tmp_path / name
        made.mkdir()
        for needed in ("config.json", "tokenizer.json", "model.safetensors"):
            (made / needed).write_bytes((folder / needed).read_bytes())
        written = _written(made, source.find(str(folder)), manifest.Made("llm", "mlx", "8bit", {"mlx": "1"}))
        assert written["attribution"] == "The makers; converted here with edge-quantize"
        assert written["licence"] == "MIT"
        folder = made


def test_a_file_that_no_manifest_may_name_is_refused(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / "odd name.bin").write_bytes(b"x")
    with pytest.raises(Broken, match=r"files\.0\.path"):
        _written(made, source.find(str(folder)), manifest.Made("llm", "onnx", "int8", {}))
    assert not (made / "manifest.json").exists()


def test_a_folder_is_described_by_the_files_that_decide(folder: Path) -> None:
    described = source.find(str(folder)).described()
    assert described["name"] == "Some-Model"
    assert [file["path"] for file in described["files"]] == ["model.safetensors", "config.json", "tokenizer.json"]
    assert all(len(file["sha256"]) == 64 for file in described["files"])


def test_a_missing_source_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        source.find(str(tmp_path / "nothing"))
    assert caught.value.code == "source_not_found"


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.gguf").write_text("hello")
    with pytest.raises(InvalidRequest) as caught:
        source.find(str(tmp_path / "notes.gguf"))
    assert caught.value.code == "not_a_model"


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_what_a_folder_lacks_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(InvalidRequest, match=missing.removeprefix("model")):
        source.find(str(folder))


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        (_safetensors()[:-1], "model_truncated"),
        (_safetensors()[:30], "model_truncated"),
        (b"", "model_unreadable"),
        ((10).to_bytes(8, "little") + b"[1, 2, 33]", "model_unreadable"),
        (b"\xff" * 100, "model_unreadable"),
        (_safetensors() + b"more", "model_unreadable"),
        (_safetensors(dtype="F16"), "model_unreadable"),
        (_safetensors(dtype="F7"), "model_unreadable"),
        (_safetensors(shape=[5]), "model_unreadable"),
        (_safetensors(shape=[-2, -2]), "model_unreadable"),
        (_safetensors(shape=[True, 4]), "model_unreadable"),
        (_safetensors(data_offsets=[4, 20]), "model_unreadable"),
        (_safetensors(data_offsets=[16, 0]), "model_unreadable"),
    ],
)
def test_damaged_safetensors_are_told_apart(folder: Path, weights: bytes, code: str) -> None:
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(Broken) as caught:
        source.find(str(folder))
    assert caught.value.code == code
    assert "sha256" in caught.value.hint


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def test_the_shards_that_the_index_names_are_the_source(folder: Path) -> None:
    _sharded(folder, {"a": FIRST, "b": SECOND})
    (folder / "consolidated.safetensors").write_bytes(b"the same once more")
    found = source.find(str(folder))
    assert [file.name for file in found.files] == [FIRST, SECOND, "config.json", "tokenizer.json"]
    assert {name: tensor.numbers for name, tensor in found.tensors().items()} == {"a": 4, "b": 4}
    assert found.plain_bytes == 32


@pytest.mark.parametrize(
    ("weight_map", "code"),
    [
        ({"a": FIRST, "b": "model-00003-of-00003.safetensors"}, "model_file_missing"),
        ({"a": FIRST, "b": FIRST}, "model_file_missing"),
        ({"a": "../Some-Model/" + FIRST}, "unsafe_path"),
        ({"a": "/etc/passwd"}, "unsafe_path"),
        ({"a": "config.json"}, "unsafe_path"),
        ({"a": "a\0.safetensors"}, "unsafe_path"),
        ({"a": 7}, "model_unreadable"),
        ([], "model_unreadable"),
        ({}, "model_unreadable"),
    ],
)
def test_an_index_that_disagrees_with_the_folder_is_refused(folder: Path, weight_map: object, code: str) -> None:
    _sharded(folder, weight_map)
    with pytest.raises(Problem) as caught:
        source.find(str(folder))
    assert caught.value.code == code


def test_a_missing_shard_is_named_even_without_an_index(folder: Path) -> None:
    _sharded(folder, {})
    (folder / "model.safetensors.index.json").unlink()
    (folder / FIRST).unlink()
    with pytest.raises(Broken, match=FIRST) as caught:
        source.find(str(folder))
    assert caught.value.code == "model_file_missing"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes in folders")
def test_links_to_nothing_and_pipes_are_no_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.unlink()
    for make in (
        lambda: weights.symlink_to("nowhere"),
        lambda: weights.symlink_to(weights),
        lambda: os.mkfifo(weights),
    ):
        make()
        with pytest.raises(InvalidRequest, match="safetensors"):
            source.find(str(folder))
        weights.unlink()


@given(st.binary(max_size=300))
def test_any_bytes_are_weights_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    for whole in (content, len(content).to_bytes(8, "little") + content):
        path.write_bytes(whole)
        try:
            safetensors_header(path)
        except Broken as problem:
            assert problem.code in {"model_unreadable", "model_truncated"}  # noqa: PT017  # both are right


@pytest.mark.parametrize("content", ["[]", "{", "", '"text"'])
def test_a_config_that_is_no_object_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(Broken, match="config") as caught:
        source.find(str(folder))
    assert caught.value.code == "model_unreadable"


def test_how_much_disk_dequantizing_needs_is_known_before(models_home: Path) -> None:
    (smollm2,) = (models_home / "smollm2-135m-instruct-q4_1").glob("*.gguf")
    assert source.find(str(smollm2)).plain_bytes == 4 * 134_515_008


def test_a_gguf_that_is_cut_is_refused(tmp_path: Path) -> None:
    path = _gguf(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Broken) as caught:
        source.find(str(path))
    assert caught.value.code == "model_truncated"


def test_the_licence_comes_from_the_model_card(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n")
    assert manifest.licence_of(source.find(str(folder))) == "Apache-2.0"


def test_the_licence_comes_from_the_manifest_beside_the_weights(tmp_path: Path) -> None:
    path = _gguf(tmp_path / "m.gguf")
    (tmp_path / "manifest.json").write_text('{"licence": "unknown", "files": [{"path": "m.gguf"}]}')
    assert manifest.licence_of(source.find(str(path))) is None
    (tmp_path / "manifest.json").write_text('{"licence": "MIT", "files": [{"path": "m.gguf"}]}')
    assert manifest.licence_of(source.find(str(path))) == "MIT"
    other = _gguf(tmp_path / "other.gguf")
    assert manifest.licence_of(source.find(str(other))) is None


LETTERS = st.text(max_size=5)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | LETTERS, lambda inner: st.lists(inner) | st.dictionaries(LETTERS, inner)
)
OF_OURS = ("files", "licence", "attribution", "homepage", "tasks", "made")


@given(st.dictionaries(st.sampled_from(OF_OURS), ANYTHING), st.booleans())
def test_a_manifest_of_anything_beside_the_source_spoils_none(
    tmp_path_factory: pytest.TempPathFactory, beside: dict[str, Any], names_it: bool
) -> None:
    folder = tmp_path_factory.mktemp("source")
    found = source.find(str(_gguf(folder / "m.gguf")))
    stated = {**beside, "files": [{"path": "m.gguf"}, beside.get("files")]} if names_it else beside
    (folder / "manifest.json").write_text(json.dumps(stated))
    made = folder / "made"
    made.mkdir()
    (made / "m.gguf").write_bytes(b"x")
    parse(_written(made, found, manifest.Made("llm", "gguf", "Q8_0", {})), "made")


@pytest.mark.parametrize("content", ['{"name": "my web app"}', "[1]", "{", "[" * 10**5, '"\\ud800"', "\xff"])
def test_the_manifest_of_another_program_is_none_of_ours(tmp_path: Path, content: str) -> None:
    path = _gguf(tmp_path / "m.gguf")
    (tmp_path / "manifest.json").write_text(content, "latin-1")
    found = source.find(str(path))
    assert manifest.Origin.of(found, found.described()).makers == "m.gguf"


def test_a_model_card_in_another_encoding_is_read_as_far_as_it_can_be(folder: Path) -> None:
    (folder / "README.md").write_bytes("---\nlanguage: fran\xe7ais\nlicense: mit\n---\n".encode("latin-1"))
    assert manifest.licence_of(source.find(str(folder))) == "MIT"
    (folder / "README.md").unlink()
    (folder / "README.md").mkdir()
    assert manifest.licence_of(source.find(str(folder))) is None


@pytest.mark.parametrize("target", [to_gguf, to_onnx, to_mlx])
def test_an_unknown_type_is_refused_with_those_there_are(target: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        target.check_type("Q77")  # type: ignore[attr-defined]
    assert caught.value.code == "unknown_type"
    assert target.DEFAULT_TYPE in caught.value.hint  # type: ignore[attr-defined]


def test_every_type_of_the_library_has_its_name() -> None:
    assert {"F32", "F16", "BF16", "Q8_0", "Q4_K_M", "Q3_K_M", "IQ4_XS", "TQ2_0"} <= to_gguf.types().keys()
    assert to_gguf.check_type("q4_k_m") == "Q4_K_M"
    assert to_gguf.types()["Q8_0"] == 7


def test_an_artifact_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError), building(out) as scratch:
        scratch.joinpath("half").write_text(scratch.joinpath("missing").read_text())
    assert list(tmp_path.iterdir()) == []
    with building(out) as scratch:
        (scratch / "whole").write_text("x")
        assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "whole").read_text() == "x"


def test_an_artifact_never_replaces_another(tmp_path: Path) -> None:
    with pytest.raises(Conflict) as caught, building(tmp_path):
        pass
    assert caught.value.code == "already_exists"
    assert "--out" in caught.value.hint


def test_more_than_the_disk_holds_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        check_room(tmp_path, 1 << 60)
    assert caught.value.code == "not_enough_disk"
    assert "EDGE_AGENT_HOME" in caught.value.hint
    check_room(tmp_path, 1)


def test_a_system_error_of_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught, building(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert caught.value.code == "not_enough_disk"


@pytest.mark.slow
def test_an_export_environment_that_cannot_be_made_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "no-wheels-here"))
    with pytest.raises(Unavailable) as caught:
        export_environment.interpreter(Quiet(), tmp_path / "venv-export")
    assert caught.value.code == "export_environment_failed"
    assert "PIP_FIND_LINKS" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--to", "gguf", "--calibration", "none.txt"), "calibration_not_found"),
        (("--to", "mlx", "--calibration", "binary"), "calibration_unreadable"),
        (("--to", "gguf", "--imatrix", "none.gguf"), "importance_matrix_not_found"),
        (("--to", "gguf", "--imatrix", "binary"), "bad_importance_matrix"),
        (("--to", "gguf", "--text", "none.txt"), "text_not_found"),
        (("--to", "onnx", "--text", "binary"), "text_unreadable"),
        (("--to", "onnx", "--calibration", "binary"), "bad_option"),
        (("--to", "mlx", "--imatrix", "binary"), "bad_option"),
        (("--to", "onnx", "--output-type", "Q8_0"), "bad_option"),
    ],
)
def test_a_file_that_cannot_serve_is_named_before_any_work(
    edge_quantize: Run, smollm2: Path, tmp_path: Path, words: tuple[str, ...], code: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert error_of(edge_quantize(smollm2, *words, "--json"))["code"] == code
    assert [path.name for path in tmp_path.iterdir()] == ["binary"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes among its files")
def test_what_is_no_plain_file_is_called_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for odd in (str(tmp_path / "pipe.gguf"), "/dev/null"):
        with pytest.raises(InvalidRequest) as caught:
            source.find(odd)
        assert caught.value.code == "not_a_model"


def test_a_damaged_source_is_to_be_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + bytes(8))
    with pytest.raises(Broken) as caught:
        source.find(str(tmp_path / "cut.gguf"))
    assert "Fetch the source again" in caught.value.hint
