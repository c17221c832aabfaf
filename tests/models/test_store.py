"""What is installed, damage to it, removal, and the choice of a default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import Broken, NotAllowed, NotFound, Unavailable
from edge_agent.models.bundled import bundled_path
from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore
from tests.models.toys import CONTENT, FILE_SOURCE, Recorder, make_here

SMOL = "smollm2-135m-instruct-q4_1"
QWEN = "qwen2.5-coder-1.5b-instruct-q4_k_m"
ENCODER = "all-minilm-l6-v2-int8"


@pytest.fixture
def toy(store_of: Callable[..., ModelStore], tmp_path: Path) -> ModelStore:
    """A store with the toy model pulled from a mirror folder."""
    mirror = tmp_path / "mirror"
    (mirror / "toy").mkdir(parents=True)
    (mirror / "toy" / "weights.bin").write_bytes(CONTENT)
    store = store_of([FILE_SOURCE], {"EDGE_AGENT_MIRROR": str(mirror)})
    store.pull("toy", Recorder())
    return store


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("at", [0, 500_000, len(CONTENT) - 1])
def test_verify_finds_a_flipped_bit_and_pull_mends_it(toy: ModelStore, at: int) -> None:
    (verified,) = toy.verify("toy")
    assert (verified.files, verified.size) == (1, len(CONTENT))
    _flip(toy.file("toy"), at)
    with pytest.raises(Broken) as caught:
        toy.verify("toy")
    assert caught.value.code == "model_corrupt"
    assert "edge-agent models pull toy" in caught.value.hint
    toy.pull("toy", Recorder())
    assert toy.file("toy").read_bytes() == CONTENT
    toy.verify()


def test_what_was_found_cannot_be_written_down(toy: ModelStore) -> None:
    folder = toy.path("toy")
    (folder / ".checked.json").unlink()
    (folder / ".checked.json" / "in the way").mkdir(parents=True)
    assert toy.verify("toy")[0].files == 1
    toy.pull("toy", Recorder())
    _flip(toy.file("toy"), 9)
    (toy.root.parent / "mirror" / "toy" / "weights.bin").unlink()
    with pytest.raises(Unavailable) as caught:
        toy.pull("toy", Recorder())
    assert caught.value.code == "model_unavailable"
    assert not list(folder.glob(".checked.json.*"))


def test_verify_names_every_damaged_model_and_passes_over_one_that_is_only_begun(toy: ModelStore) -> None:
    whole = toy.file("toy")
    begun = whole.rename(whole.with_name("weights.bin.abc.part"))
    make_here(toy.root, "good")
    assert [verified.model_id for verified in toy.verify()] == ["good"]
    begun.rename(whole)
    _flip(whole, 9)
    _flip(make_here(toy.root, "flipped") / "weights.gguf", 9000)
    (make_here(toy.root, "a-list") / "manifest.json").write_text("[]")
    with pytest.raises(Broken) as caught:
        toy.verify()
    assert caught.value.code == "models_damaged"
    for model_id in ("toy", "flipped", "a-list"):
        assert f"The model {model_id} " in caught.value.message
        assert f" {model_id}`" in caught.value.hint
    assert "good" not in str(caught.value)


def test_pull_mends_bytes_that_changed_unseen(toy: ModelStore) -> None:
    _flip(toy.file("toy"), 9)
    toy.pull("toy", Recorder())
    assert toy.file("toy").read_bytes() == CONTENT


def test_a_model_that_is_not_there(store_of: Callable[..., ModelStore]) -> None:
    store = store_of([FILE_SOURCE])
    for ask in (store.path, store.file, store.verify, store.remove):
        with pytest.raises(NotFound) as caught:
            ask("toy")
        assert caught.value.code == "model_not_installed"
        assert "edge-agent models pull toy" in caught.value.hint
        with pytest.raises(NotFound) as caught:
            ask("no-such-model")
        assert caught.value.code == "unknown_model"


def test_missing_truncated_and_too_long_files_each_have_their_own_error(toy: ModelStore) -> None:
    path = toy.file("toy")
    path.write_bytes(CONTENT[:1000])
    with pytest.raises(Broken, match="1000 of 1000000 bytes") as caught:
        toy.file("toy")
    assert caught.value.code == "model_truncated"
    assert not toy.list()[0].installed
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(Broken) as caught:
        toy.file("toy")
    assert caught.value.code == "model_corrupt"
    path.unlink()
    for ask in (toy.file, toy.verify):
        with pytest.raises(Broken) as caught:
            ask("toy")
        assert caught.value.code == "model_file_missing"
        assert "edge-agent models pull toy" in caught.value.hint
    with pytest.raises(NotFound):
        toy.file("toy", "other.bin")


def test_remove_frees_the_disk(toy: ModelStore) -> None:
    assert toy.remove("toy") >= len(CONTENT)
    assert not toy.list()[0].installed
    assert not (toy.root / "toy").exists()


def test_a_models_folder_that_cannot_be_written_is_said(toy: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "a-file").write_bytes(b"")
    store = ModelStore(tmp_path / "a-file" / "models", toy.catalog)
    with pytest.raises(Unavailable) as caught:
        store.pull("toy", Recorder())
    assert caught.value.code == "models_folder_not_writable"


def test_nothing_is_written_through_a_link(toy: ModelStore, tmp_path: Path) -> None:
    toy.remove("toy")
    (tmp_path / "elsewhere").mkdir()
    (toy.root / "toy").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(NotAllowed) as caught:
        toy.pull("toy", Recorder())
    assert caught.value.code == "unsafe_path"
    toy.remove("toy")
    assert (tmp_path / "elsewhere").is_dir()


def test_the_bundled_encoder_is_there_without_a_pull(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, Catalog.load())
    entry = next(e for e in store.list() if e.manifest.id == ENCODER)
    assert entry.installed
    assert entry.bundled
    assert store.file(ENCODER) == bundled_path(f"encoders/{ENCODER}/model.onnx")
    store.verify(ENCODER)
    assert store.pull(ENCODER, Recorder()) == store.path(ENCODER)
    with pytest.raises(NotAllowed) as caught:
        store.remove(ENCODER)
    assert caught.value.code == "model_bundled"


@pytest.mark.parametrize(
    ("budget_mb", "machine_mb", "expected"),
    [(360, 0, SMOL), (1449, 0, SMOL), (1450, 0, QWEN), (64_000, 0, QWEN), (0, 500, SMOL), (0, 8000, QWEN)],
)
def test_the_default_is_the_largest_that_fits(tmp_path: Path, budget_mb: int, machine_mb: int, expected: str) -> None:
    store = ModelStore(tmp_path, Catalog.load(), memory_budget_mb=lambda: machine_mb)
    assert store.default_llm(budget_mb).id == expected


def test_no_default_where_nothing_fits(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, Catalog.load())
    assert store.default_llm(0).kind == "llm"
    assert store.installed_llms() == []
    with pytest.raises(Unavailable) as caught:
        store.default_llm(100)
    assert caught.value.code == "no_model_fits"
    assert "ram_budget_mb" in caught.value.hint


def test_the_pulled_models_are_whole(models_home: Path) -> None:
    store = ModelStore(models_home, Catalog.load())
    for model_id in (SMOL, "rampart-pii-q4", "spacy-en-core-web-sm"):
        store.verify(model_id)
    assert SMOL in [manifest.id for manifest in store.installed_llms()]


@pytest.mark.slow
def test_spacy_loads_the_pulled_folder(models_home: Path) -> None:
    import spacy  # noqa: PLC0415  slow

    nlp = spacy.load(models_home / "spacy-en-core-web-sm")
    found = nlp("Angela Merkel met Tim Cook in Berlin.")
    assert {("Angela Merkel", "PERSON"), ("Berlin", "GPE")} <= {(ent.text, ent.label_) for ent in found.ents}
