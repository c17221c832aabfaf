"""Models that were made on this machine: a manifest.json in the models folder is all that makes one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.protocol.problems import Broken, NotFound
from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore
from tests.models.toys import CONTENT, FILE_SOURCE, Recorder, made_here_manifest, make_here

SMOL = "smollm2-135m-instruct-q4_1"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """The real catalog, with nothing of it installed."""
    return ModelStore(tmp_path / "models", Catalog.load(), environ={})


def _listed(store: ModelStore) -> dict[str, Any]:
    return {entry.manifest.id: entry for entry in store.list()}


def test_a_model_that_was_made_here_is_one_like_the_others(store: ModelStore) -> None:
    folder = make_here(store.root, "mine-onnx-int8", files={"model.onnx": CONTENT, "tokenizer.json": b"{}"})
    entry = _listed(store)["mine-onnx-int8"]
    assert (entry.installed, entry.made_here, entry.bundled) == (True, True, False)
    assert entry.size_on_disk > len(CONTENT)
    assert not _listed(store)[SMOL].made_here
    assert store.get("mine-onnx-int8").format == "onnx"
    assert store.find("mine-onnx-int8") == entry.manifest
    assert store.path("mine-onnx-int8") == folder
    assert store.file("mine-onnx-int8") == folder / "model.onnx"
    assert store.file("mine-onnx-int8", "tokenizer.json").read_bytes() == b"{}"
    assert [manifest.id for manifest in store.installed_llms()] == ["mine-onnx-int8"]
    assert store.pull("mine-onnx-int8", Recorder()) == folder
    assert store.verify("mine-onnx-int8")[0].files == 2
    assert "mine-onnx-int8" in {verified.model_id for verified in store.verify()}
    assert store.damaged() == []
    assert store.remove("mine-onnx-int8") > len(CONTENT)
    assert not folder.exists()
    with pytest.raises(NotFound) as caught:
        store.get("mine-onnx-int8")
    assert caught.value.code == "unknown_model"


@pytest.mark.parametrize("content", [b"no model", CONTENT[:24].replace(b"GGUF", b"GGML"), CONTENT[:20], b"GGUF" * 99])
def test_a_gguf_that_cannot_be_read_is_told_though_it_is_as_it_was_made(store: ModelStore, content: bytes) -> None:
    make_here(store.root, "mine", {"weights.gguf": content})
    make_here(store.root, "good")
    (told,) = store.damaged()
    assert told.model_id == "mine"
    assert told.problem.code in {"model_unreadable", "model_truncated"}
    assert "weights.gguf" in told.problem.message
    assert "edge-agent models rm mine" in told.problem.hint
    assert "mine" not in _listed(store)
    with pytest.raises(Broken) as caught:
        store.verify("mine")
    assert "edge-agent models rm mine" in caught.value.hint
    make_here(store.root, "mine", {"weights.gguf": CONTENT})
    assert store.damaged() == []
    assert "mine" in _listed(store)


def test_a_flipped_byte_is_found(store: ModelStore) -> None:
    folder = make_here(store.root, "mine")
    (folder / "weights.gguf").write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    for look in (store.verify, lambda model_id: store.pull(model_id, Recorder()), lambda _: store.verify()):
        with pytest.raises(Broken, match=r"weights\.gguf") as caught:
            look("mine")
        assert caught.value.code == "model_corrupt"
        assert "edge-agent models rm mine" in caught.value.hint
        assert "edge-quantize" in caught.value.hint


def _rewrite(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def _first_file(folder: Path, **changes: Any) -> None:
    file = json.loads((folder / "manifest.json").read_text())["files"][0]
    _rewrite(folder, files=[{**file, **changes}])


def _replace(folder: Path, how: Callable[[Path, Path], None], name: str = "weights.gguf") -> None:
    moved = folder.parent.parent / "elsewhere"
    (folder / name).rename(moved)
    how(folder / name, moved)


def _link_folder(folder: Path) -> None:
    moved = folder.parent.parent / "elsewhere"
    folder.rename(moved)
    folder.symlink_to(moved, target_is_directory=True)


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "empty": (lambda f: (f / "manifest.json").write_text(""), "bad_manifest", "cannot be read"),
    "binary": (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe\x00"), "bad_manifest", "cannot be read"),
    "no object": (lambda f: (f / "manifest.json").write_text("[]"), "bad_manifest", "cannot be read"),
    "deep": (lambda f: (f / "manifest.json").write_text("[" * 100_000), "bad_manifest", "cannot be read"),
    "huge": (lambda f: (f / "manifest.json").write_text(" " * (1 << 21) + "{}"), "bad_manifest", "cannot be read"),
    "a folder": (
        lambda f: ((f / "manifest.json").unlink(), (f / "manifest.json").mkdir()),
        "bad_manifest",
        "cannot be read",
    ),
    "nothing in it": (lambda f: (f / "manifest.json").write_text("{}"), "bad_manifest", "id: Field required"),
    "unknown field": (lambda f: _rewrite(f, surprise=1), "bad_manifest", "surprise"),
    "newer": (lambda f: _rewrite(f, schema=2), "manifest_too_new", "newer edge-agent"),
    "another's id": (lambda f: _rewrite(f, id="other"), "bad_manifest", "calls itself other"),
    "not made": (lambda f: _rewrite(f, made=None), "bad_manifest", "sources"),
    "with sources": (lambda f: _first_file(f, sources=[FILE_SOURCE]), "bad_manifest", "sources"),
    "terminal codes": (lambda f: _rewrite(f, licence="\x1b[2J"), "bad_manifest", "licence"),
    "outside": (lambda f: _first_file(f, path="../../elsewhere"), "bad_manifest", "files.0.path"),
    "absolute": (lambda f: _first_file(f, path="/etc/passwd"), "bad_manifest", "files.0.path"),
    "gone": (lambda f: (f / "weights.gguf").unlink(), "model_file_missing", "weights.gguf"),
    "link": (lambda f: _replace(f, Path.symlink_to), "unsafe_path", "link"),
    "file is a folder": (lambda f: _replace(f, lambda path, _: path.mkdir()), "model_file_missing", "weights.gguf"),
    "cut": (lambda f: (f / "weights.gguf").write_bytes(b"x"), "model_truncated", "1 of 1000000 bytes"),
    "longer": (lambda f: (f / "weights.gguf").write_bytes(CONTENT + b"x"), "model_corrupt", "1 bytes too many"),
    "folder link": (_link_folder, "unsafe_path", "link"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("seen_before", [True, False])
def test_a_damaged_one_is_told_and_the_others_stay(store: ModelStore, damage: str, *, seen_before: bool) -> None:
    spoil, code, words = DAMAGE[damage]
    good, bad = make_here(store.root, "good"), make_here(store.root, "bad")
    if seen_before:
        assert len(store.installed_llms()) == 2
    spoil(bad)
    assert {"good"} == {model_id for model_id, entry in _listed(store).items() if entry.made_here}
    (told,) = store.damaged()
    assert (told.model_id, told.problem.code) == ("bad", code)
    assert words in told.problem.message
    assert "bad" in told.problem.message
    assert "\x1b" not in str(told.problem)
    assert told.problem.hint == "Update edge-agent." or "edge-agent models rm bad" in told.problem.hint
    for ask in (store.file, store.verify, lambda _: store.verify()):
        with pytest.raises(Broken) as caught:
            ask("bad")
        assert caught.value.code == code
    assert store.file("good") == good / "weights.gguf"
    store.remove("bad")
    assert not os.path.lexists(bad)
    assert store.damaged() == []
    assert [manifest.id for manifest in store.installed_llms()] == ["good"]


def test_a_folder_of_a_model_in_a_linked_folder_is_refused(store: ModelStore, tmp_path: Path) -> None:
    folder = make_here(store.root, "mine", files={"deep/weights.gguf": CONTENT})
    (folder / "deep").rename(tmp_path / "elsewhere")
    (folder / "deep").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (told,) = store.damaged()
    assert told.problem.code == "unsafe_path"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_place_of_a_manifest_is_not_waited_for(store: ModelStore) -> None:
    folder = make_here(store.root, "mine")
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    assert store.installed_llms() == []
    assert [told.model_id for told in store.damaged()] == ["mine"]


def test_the_catalogs_ids_are_not_to_be_taken(store: ModelStore) -> None:
    make_here(store.root, SMOL)
    (told,) = store.damaged()
    assert (told.model_id, told.problem.code) == (SMOL, "model_id_taken")
    assert store.get(SMOL).made is None
    assert not _listed(store)[SMOL].installed
    store.remove(SMOL)
    assert store.damaged() == []


def test_what_is_no_model_is_left_alone(store: ModelStore) -> None:
    (store.root / "notes").mkdir(parents=True)
    make_here(store.root, ".half-made.x")
    (store.root / "manifest.json").write_text("{}")
    assert store.damaged() == []
    assert not any(entry.made_here for entry in store.list())
    for name in ("notes", ".half-made.x", "..", "manifest.json"):
        with pytest.raises(NotFound):
            store.remove(name)


def test_changes_are_seen_while_the_store_is_open(store: ModelStore) -> None:
    assert store.installed_llms() == []
    folder = make_here(store.root, "mine", ram_mb=10)
    (first,) = store.installed_llms()
    assert store.installed_llms()[0] is first
    _rewrite(folder, ram_mb=200)
    assert store.installed_llms()[0].ram_mb == 200
    (folder / "weights.gguf").rename(folder / "old.gguf")
    assert store.installed_llms() == []
    (folder / "old.gguf").rename(folder / "weights.gguf")
    assert len(store.installed_llms()) == 1
    store.remove("mine")
    assert store.installed_llms() == []


def test_the_catalogs_models_come_first_where_one_is_to_be_chosen(store: ModelStore) -> None:
    for model_id, ram_mb in (("small", 5), ("large", 5000)):
        make_here(store.root, model_id, ram_mb=ram_mb)
    assert [m.id for m in store.llms_that_fit(10_000)][-2:] == ["large", "small"]
    assert store.llms_that_fit(10_000)[0].made is None
    assert store.default_llm(400).id == SMOL
    installed = store.installed_llms()
    assert [m.id for m in installed] == ["large", "small"]
    preferred = store.preferred(installed, 10_000)
    assert preferred is not None
    assert preferred.id == "large"
    with_catalog = store.preferred([*installed, store.get(SMOL)], 10_000)
    assert with_catalog is not None
    assert with_catalog.id == SMOL
    fitting = store.preferred([*installed, store.get(SMOL)], 300)
    assert fitting is not None
    assert fitting.id == "small"
    assert store.preferred(installed, 1) is None


def test_the_catalog_takes_no_model_that_was_made_here(tmp_path: Path) -> None:
    manifest = made_here_manifest("mine", {"weights.gguf": CONTENT})
    lines = [f"{name} = {json.dumps(value)}" for name, value in manifest.items() if name not in {"files", "made"}]
    lines += ["[[models.files]]", *(f"{name} = {json.dumps(value)}" for name, value in manifest["files"][0].items())]
    made = '[models.made]\ncommand = "x"\ntools = {}\n[models.made.source]\nname = "x"\n'
    made += '[[models.made.source.files]]\npath = "x"\nsize = 1\nsha256 = "' + "0" * 64 + '"'
    for more, word in ((made, "made"), ("", "sources")):
        text = 'hub = "https://x"\n[[models]]\n' + "\n".join([*lines, more])
        (tmp_path / "catalog.toml").write_text(text, encoding="utf-8")
        with pytest.raises(Broken, match=word) as caught:
            Catalog.load(tmp_path)
        assert caught.value.code == "bad_manifest"
