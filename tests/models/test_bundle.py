"""Models as one file: what one device exports, another installs, and nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from cloud_bridge.protocol.problems import Broken, Conflict, InvalidRequest, NotFound, Problem, Unavailable
from edge_agent.cli.models import app
from edge_agent.models.bundles.exporting import export
from edge_agent.models.bundles.installing import install
from edge_agent.models.catalog import Catalog
from edge_agent.models.manifest import parse
from edge_agent.models.store import ModelStore
from tests.models.toys import CONTENT, FILE_SOURCE, Recorder, made_here_manifest, make_here, manifest_of

SMALL = CONTENT[:5000]
FILES = {"weights.gguf": SMALL, "deep/tokenizer.json": b"{}"}
SPACY = "spacy-en-core-web-sm"
LONG = "n" * 90 + "/" + "m" * 90 + ".bin"


def _store(root: Path, **options: Any) -> ModelStore:
    """A device whose catalog has the one toy model."""
    catalog = Catalog((parse(manifest_of(SMALL, [FILE_SOURCE]), "toy"),), "https://hub.invalid", root / "data")
    return ModelStore(root / "models", catalog, environ={"EDGE_AGENT_MIRROR": str(root / "mirror")}, **options)


@pytest.fixture
def here(tmp_path: Path) -> ModelStore:
    """A device with the catalog's toy and two models of its own."""
    store = _store(tmp_path / "here")
    mirror = tmp_path / "here" / "mirror" / "toy"
    mirror.mkdir(parents=True)
    (mirror / "weights.bin").write_bytes(SMALL)
    store.pull("toy", Recorder())
    make_here(store.root, "mine", FILES, homepage="https://example.org/mine")
    make_here(store.root, "long-names", {LONG: SMALL}, licence="unknown", format="onnx")
    return store


@pytest.fixture
def there(tmp_path: Path) -> ModelStore:
    return _store(tmp_path / "there")


def _install(store: ModelStore, content: bytes) -> Any:
    return install(store, io.BytesIO(content))


def _exported(store: ModelStore, tmp_path: Path, *model_ids: str) -> bytes:
    target = tmp_path / "some.bundle"
    target.unlink(missing_ok=True)
    export(store, model_ids, target)
    return target.read_bytes()


def _left(store: ModelStore) -> set[str]:
    """What is in the models folder, but for locks."""
    names = {path.name for path in store.root.iterdir()} if store.root.exists() else set()
    return {name for name in names if not name.endswith((".lock", ".use"))}


def test_what_one_device_exports_another_installs(here: ModelStore, there: ModelStore, tmp_path: Path) -> None:
    target, shown = tmp_path / "all.bundle", Recorder()
    made = export(here, ["mine", "toy", "long-names", "mine"], target, shown)
    assert made.model_ids == ["long-names", "mine", "toy"]
    assert made.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert made.size == target.stat().st_size
    assert shown.seen[-1][0] == shown.seen[-1][1] == 3 * len(SMALL) + 2
    shown = Recorder()
    with target.open("rb") as opened:
        imported = install(there, opened, shown)
    assert shown.seen[-1][0] == shown.seen[-1][1] == 3 * len(SMALL) + 2
    assert (imported.installed, imported.there) == (["long-names", "mine", "toy"], [])
    for model_id in made.model_ids:
        there.verify(model_id)
        assert there.get(model_id) == here.get(model_id)
        assert there.file(model_id).read_bytes() == here.file(model_id).read_bytes()
    assert there.file("mine", "deep/tokenizer.json").read_bytes() == b"{}"
    assert there.damaged() == []
    assert {entry.manifest.id for entry in there.list() if entry.made_here} == {"mine", "long-names"}
    assert _left(there) == {"long-names", "mine", "toy"}
    assert _exported(there, tmp_path, "mine", "toy", "long-names") == target.read_bytes()


def test_a_bundle_says_who_made_what_and_under_which_terms(here: ModelStore, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(_exported(here, tmp_path, "mine", "toy"))) as tar:
        assert tar.getnames() == [
            *("bundle.json", "NOTICE.txt", "licences/Apache-2.0.txt"),
            *("models/mine/weights.gguf", "models/mine/deep/tokenizer.json", "models/toy/weights.bin"),
        ]
        notice, licence = tar.extractfile("NOTICE.txt"), tar.extractfile("licences/Apache-2.0.txt")
        assert notice is not None
        assert licence is not None
        for words in (b"Apache-2.0", b"Nobody", b"https://example.org/mine", b"edge-quantize toy.gguf"):
            assert words in notice.read()
            notice.seek(0)
        assert b"Apache License" in licence.read()
        assert all((member.mtime, member.uid, member.uname) == (0, 0, "") for member in tar.getmembers())


def test_what_is_there_already_stays_and_what_is_damaged_is_replaced(
    here: ModelStore, there: ModelStore, tmp_path: Path
) -> None:
    content = _exported(here, tmp_path, "mine", "toy")
    _install(there, content)
    kept = there.file("mine").stat().st_ino
    again = _install(there, content)
    assert (again.installed, again.there) == ([], ["mine", "toy"])
    assert there.file("mine").stat().st_ino == kept
    for model_id in ("mine", "toy"):
        there.file(model_id).write_bytes(SMALL[:-1] + b"?")
    assert _install(there, content).installed == ["mine", "toy"]
    there.verify()
    assert _left(there) == {"mine", "toy"}


def test_a_half_pulled_model_is_made_whole(here: ModelStore, there: ModelStore, tmp_path: Path) -> None:
    folder = there.root / "toy"
    folder.mkdir(parents=True)
    (folder / "weights.bin.abc.part").write_bytes(b"half")
    _install(there, _exported(here, tmp_path, "toy"))
    there.verify("toy")
    assert not list(folder.glob("*.part"))


def test_another_model_of_the_same_name_is_not_replaced(here: ModelStore, there: ModelStore, tmp_path: Path) -> None:
    content = _exported(here, tmp_path, "toy", "mine")
    make_here(there.root, "mine", {"weights.gguf": SMALL[::-1]})
    with pytest.raises(Conflict) as caught:
        _install(there, content)
    assert caught.value.code == "model_id_taken"
    assert "edge-agent models rm mine" in caught.value.hint
    assert there.file("mine").read_bytes() == SMALL[::-1]
    (there.root / "mine" / "manifest.json").write_text("junk")
    with pytest.raises(Conflict, match="damaged"):
        _install(there, content)
    (there.root / "mine" / "manifest.json").unlink()
    with pytest.raises(Conflict, match="no model"):
        _install(there, content)
    assert _left(there) == {"mine"}


def test_a_model_in_use_is_not_replaced(here: ModelStore, there: ModelStore, tmp_path: Path) -> None:
    content = _exported(here, tmp_path, "mine")
    _install(there, content)
    there.file("mine").write_bytes(SMALL[:-1] + b"?")
    with there.place("mine").hold(), pytest.raises(Conflict) as caught:
        _install(there, content)
    assert caught.value.code == "model_in_use"
    assert _install(there, content).installed == ["mine"]


def test_a_catalogs_id_is_only_for_the_catalogs_bytes(here: ModelStore, there: ModelStore, tmp_path: Path) -> None:
    def reject(manifest: dict[str, Any], code: str) -> None:
        files = {"weights.bin": SMALL[::-1]}
        with pytest.raises(Problem) as caught:
            _install(there, _packed([manifest], {f"models/{manifest['id']}/{n}": c for n, c in files.items()}))
        assert caught.value.code == code
        assert caught.value.hint
        assert _left(there) == set()

    reject(manifest_of(SMALL[::-1], [FILE_SOURCE]), "not_the_catalogs")
    reject(made_here_manifest("toy", {"weights.bin": SMALL[::-1]}), "model_id_taken")
    reject(manifest_of(SMALL[::-1], [FILE_SOURCE], id="newer"), "unknown_model")


def test_an_export_that_fails_leaves_nothing(here: ModelStore, tmp_path: Path) -> None:
    def reject(kind: type[Problem], code: str, *model_ids: str, target: Path = tmp_path / "out" / "x.bundle") -> None:
        with pytest.raises(kind) as caught:
            export(here, model_ids, target)
        assert caught.value.code == code
        assert list((tmp_path / "out").iterdir()) == []

    (tmp_path / "out").mkdir()
    reject(NotFound, "unknown_model", "mine", "../../etc/passwd")
    reject(InvalidRequest, "bad_arguments", "mine", target=tmp_path / "no folder" / "x")
    here.file("mine").write_bytes(SMALL[:-1] + b"?")
    reject(Broken, "model_corrupt", "toy", "mine")
    here.file("toy").write_bytes(SMALL[:-1])
    reject(Broken, "model_corrupt", "toy")
    here.remove("toy")
    reject(NotFound, "model_not_installed", "toy")
    with pytest.raises(Conflict) as caught:
        export(here, ["long-names"], here.file("mine"))
    assert caught.value.code == "already_exists"


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(here: ModelStore, tmp_path: Path) -> None:
    content = _exported(here, tmp_path, "mine")
    small = _store(tmp_path / "small", free_disk=lambda _: 64 * 2**20 + len(SMALL) + 1)
    with pytest.raises(Unavailable) as caught:
        _install(small, content)
    assert caught.value.code == "not_enough_disk"
    assert _left(small) == set()
    just = _store(tmp_path / "just", free_disk=lambda _: 64 * 2**20 + len(SMALL) + 2)
    assert _install(just, content).installed == ["mine"]
    nothing_to_write = _store(tmp_path / "just", free_disk=lambda _: 0)
    assert _install(nothing_to_write, content).there == ["mine"]


def test_a_disk_that_is_full_behind_the_last_file_is_said(there: ModelStore) -> None:
    """The files fit, and the manifest.json that is written after them does not."""
    limits = pytest.importorskip("resource", reason="this system limits no process's files")
    files = {"weights.gguf": b"ten bytes."}
    content = _packed([made_here_manifest("mine", files)], {"models/mine/weights.gguf": files["weights.gguf"]})
    before, most = limits.getrlimit(limits.RLIMIT_FSIZE)
    limits.setrlimit(limits.RLIMIT_FSIZE, (100, most))
    try:
        with pytest.raises(InvalidRequest) as caught:
            _install(there, content)
    finally:
        limits.setrlimit(limits.RLIMIT_FSIZE, (before, most))
    assert caught.value.code == "file_too_large"
    assert _left(there) == set()


def _packed(
    manifests: list[dict[str, Any]], members: dict[str, bytes], change: Callable[[tarfile.TarFile], None] | None = None
) -> bytes:
    """A bundle as anybody with a tar library could make it."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _member(tar, "bundle.json", json.dumps({"bundle": 1, "texts": {}, "models": manifests}).encode())
        for name, content in members.items():
            _member(tar, name, content)
        if change is not None:
            change(tar)
    return written.getvalue()


def _member(tar: tarfile.TarFile, name: str, content: bytes = b"", **fields: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), 1_700_000_000
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(content))


MINE = made_here_manifest("mine", FILES)
MEMBERS = {f"models/mine/{name}": content for name, content in FILES.items()}


def test_a_bundle_that_another_program_packed_is_as_good(there: ModelStore) -> None:
    assert _install(there, _packed([MINE], MEMBERS)).installed == ["mine"]
    there.verify("mine")


def _with_member(name: str, content: bytes = b"", **fields: Any) -> bytes:
    first, second = MEMBERS.items()

    def add(tar: tarfile.TarFile) -> None:
        _member(tar, name, content, **fields)
        _member(tar, *second)

    return _packed([MINE], dict([first]), add)


def _described(**changes: Any) -> bytes:
    return _packed([{**MINE, **changes}], MEMBERS)


def _file(**changes: Any) -> bytes:
    return _described(files=[{**MINE["files"][0], **changes}, MINE["files"][1]])


def _sparse() -> bytes:
    fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "99", "GNU.sparse.name": "x"}
    return _with_member("models/mine/deep/tokenizer.json", b"1\n" * 600, pax_headers=fields)


GOOD = _packed([MINE], MEMBERS)
SECOND = "models/mine/deep/tokenizer.json"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "bundle_unreadable"),
    "zeros": (bytes(100_000), "bundle_unreadable"),
    "noise": (CONTENT[:100_000], "bundle_unreadable"),
    "a short text": (b"hello", "bundle_unreadable"),
    "cut in a header": (GOOD[:700], "bundle_truncated"),
    "cut in a file": (GOOD[: GOOD.index(SMALL) + 300], "bundle_truncated"),
    "cut before its end": (GOOD[: GOOD.rindex(b"{}") + 512], "bundle_truncated"),
    "without an end block": (GOOD[: GOOD.rindex(b"{}") + 1024], "bundle_unreadable"),
    "bytes after its end": (GOOD + b"more", "bundle_unreadable"),
    "more zeros after its end": (GOOD + bytes(1 << 20), "bundle_unreadable"),
    "a flipped byte": (GOOD.replace(SMALL, SMALL[:-1] + b"?"), "bundle_corrupt"),
    "one member more": (_packed([MINE], {**MEMBERS, "models/mine/more.py": b"x"}), "bundle_refused"),
    "one member less": (_packed([MINE], dict([*MEMBERS.items()][:1])), "bundle_truncated"),
    "a member twice": (_with_member("models/mine/weights.gguf", SMALL), "bundle_refused"),
    "another order": (_packed([MINE], dict(reversed(MEMBERS.items()))), "bundle_refused"),
    "no list": (_packed([], {}).replace(b"bundle.json", b"bungle.json"), "bundle_unreadable"),
    "parent folder": (_with_member("models/mine/../../evil", b"{}"), "bundle_refused"),
    "absolute": (_with_member("/etc/evil", b"{}"), "bundle_refused"),
    "dot before": (_with_member(f"./{SECOND}", b"{}"), "bundle_refused"),
    "NUL": (_with_member(f"{SECOND}\0x", b"{}"), "bundle_refused"),
    "terminal codes": (_with_member("models/\x1b[2J", b"{}"), "bundle_refused"),
    "link": (_with_member(SECOND, type=tarfile.SYMTYPE, linkname="/etc/passwd"), "bundle_refused"),
    "hard link": (_with_member(SECOND, type=tarfile.LNKTYPE, linkname="/etc/passwd"), "bundle_refused"),
    "device": (_with_member(SECOND, type=tarfile.CHRTYPE, devmajor=1, devminor=5), "bundle_refused"),
    "pipe": (_with_member(SECOND, type=tarfile.FIFOTYPE), "bundle_refused"),
    "folder": (_with_member(SECOND, type=tarfile.DIRTYPE), "bundle_refused"),
    "sparse": (_with_member(SECOND, b"{}", type=tarfile.GNUTYPE_SPARSE), "bundle_refused"),
    "sparse by PAX": (_sparse(), "bundle_refused"),
    "PAX says another path": (_with_member(SECOND, b"{}", pax_headers={"path": "/etc/evil"}), "bundle_refused"),
    "PAX says a link": (_with_member(SECOND, b"{}", pax_headers={"linkpath": "/etc"}), "bundle_refused"),
    "PAX without end": (_with_member(SECOND, b"{}", pax_headers={"comment": "x" * 100_000}), "bundle_refused"),
    "another size": (_with_member(SECOND, b"{ }"), "bundle_refused"),
    "endless size": (_with_member(SECOND, b"{}", pax_headers={"size": "9" * 30}), "bundle_unreadable"),
    "too new": (_packed([MINE], MEMBERS).replace(b'{"bundle": 1', b'{"bundle": 2'), "bundle_too_new"),
    "manifest too new": (_described(schema=2), "manifest_too_new"),
    "unknown field": (_described(surprise=1), "bad_manifest"),
    "id outside": (_described(id="../mine"), "bad_manifest"),
    "id of a device": (_described(id="nul"), "bundle_refused"),
    "path outside": (_file(path="../weights.gguf"), "bad_manifest"),
    "path absolute": (_file(path="/etc/passwd"), "bad_manifest"),
    "path with NUL": (_file(path="a\0b"), "bad_manifest"),
    "path of the manifest": (_file(path="manifest.json"), "bundle_refused"),
    "path of a hidden file": (_file(path=".checked.json"), "bad_manifest"),
    "one path on some disks": (_file(path="Deep/Tokenizer.json"), "bundle_refused"),
    "a file and a folder": (_file(path="deep"), "bundle_refused"),
    "two of one id": (_packed([MINE, MINE], {}), "bundle_refused"),
    "no models": (_packed([], {}), "bundle_unreadable"),
    "models of another kind": (_packed([1], {}), "bundle_unreadable"),  # type: ignore[list-item]
    "more than any disk": (_file(size=1 << 50), "not_enough_disk"),
    "a size beyond numbers": (_file(size=10**400), "bad_manifest"),
    "an endless context": (_described(context_length=10**18), "bad_manifest"),
    "parameters beyond numbers": (_described(parameters=10**400), "bad_manifest"),
    "fewer parameters than none": (_described(parameters=-1), "bad_manifest"),
    "memory beyond numbers": (_described(ram_mb=10**400), "bad_manifest"),
    "a scale beyond numbers": (
        _described(kind="adapter", context_length=None, adapter={"rank": 1, "scale": 10**400}),
        "bad_manifest",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_sound_bundle_installs_nothing(there: ModelStore, name: str, tmp_path: Path) -> None:
    content, code = HOSTILE[name]
    with pytest.raises(Problem) as caught:
        _install(there, content)
    assert caught.value.code == code
    assert caught.value.hint
    assert str(caught.value).isprintable()
    assert _left(there) == set()
    assert not (tmp_path / "evil").exists()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damage_gets_through(there: ModelStore, data: st.DataObject) -> None:
    """Whatever bytes are changed: it is refused, or what was installed is what the manifest says."""
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    try:
        installed = _install(there, bytes(content)).installed
    except Problem:
        assert _left(there) == set()
        return
    for model_id in installed:
        there.verify(model_id)
        there.remove(model_id)


def test_a_list_that_is_too_long_is_not_read(there: ModelStore) -> None:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        _member(tar, "bundle.json", b" " * ((1 << 24) + 1))
    with pytest.raises(Problem) as caught:
        _install(there, written.getvalue())
    assert caught.value.code == "bundle_refused"


def test_a_link_in_place_of_a_model_is_not_followed(here: ModelStore, there: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    there.root.mkdir(parents=True)
    (there.root / "mine").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(Problem) as caught:
        _install(there, _exported(here, tmp_path, "mine"))
    assert caught.value.code == "unsafe_path"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_two_imports_wait_for_each_other(here: ModelStore, tmp_path: Path) -> None:
    content = _exported(here, tmp_path, "mine", "toy")
    results: list[Any] = []
    stores = [_store(tmp_path / "both") for _ in range(3)]
    threads = [threading.Thread(target=lambda s=store: results.append(_install(s, content))) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(len(result.installed) for result in results) == [0, 0, 2]
    stores[0].verify()


def _run(home: Path, *arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"EDGE_AGENT_HOME": str(home)}, input=given)


def test_the_commands_carry_a_model_to_another_home(models_home: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "models").symlink_to(models_home)
    bundle = tmp_path / "spacy.bundle"
    made = json.loads(_run(tmp_path / "a", "export", SPACY, "--bundle", str(bundle), "--json").stdout)
    assert made["sha256"] == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert made["models"] == [SPACY]
    imported = json.loads(_run(tmp_path / "b", "import", str(bundle), "--json").stdout)
    assert imported["already_there"] == []
    assert imported["imported"][0]["path"] == str(tmp_path / "b" / "models" / SPACY)
    assert "all as they should be" in _run(tmp_path / "b", "verify", SPACY).stdout
    again = _run(tmp_path / "b", "import", "-", given=bundle.read_bytes())
    assert (again.exit_code, again.stdout) == (0, f"{SPACY} was there already\n")
    assert isinstance(_run(tmp_path / "b", "import", str(tmp_path / "none")).exception, NotFound)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_import_that_is_stopped_half_way_leaves_nothing_and_can_be_repeated(
    here: ModelStore, tmp_path: Path
) -> None:
    """Stopped politely it leaves nothing, killed it leaves what the next import removes."""
    content = _exported(here, tmp_path, "long-names")
    home = tmp_path / "there"
    command = [sys.executable, "-m", "edge_agent.cli.main", "models", "import", "-"]
    for kill in (False, True):
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "EDGE_AGENT_HOME": str(home)}
        )
        assert child.stdin is not None
        child.stdin.write(content[: content.index(SMALL) + 1000])
        child.stdin.flush()
        staged = home / "models" / ".importing" / "long-names"
        deadline = time.monotonic() + 20
        while not staged.exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        child.kill() if kill else child.terminate()
        child.communicate()
        assert child.returncode != 0
        assert staged.exists() is kill
        assert not (home / "models" / "long-names").exists()
    result = _run(home, "import", "-", given=content)
    assert result.exit_code == 0
    assert not staged.exists()
    assert "all as they should be" in _run(home, "verify", "long-names").stdout
