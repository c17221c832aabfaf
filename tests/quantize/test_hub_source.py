"""A source named by its hub id, over real HTTP."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_hub import COMMIT, REPO, ModelHub, described_at, model_hub_handler

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotAllowed, NotFound, Problem, Unavailable
from edge_agent.models.download.hub import Hub
from edge_agent.models.download.stream import SourceFailed
from edge_agent.models.progress import SILENT
from quantize.sources import hub_listing, source
from quantize.sources.hub import HubId
from tests.models.toys import Recorder

CARD = b"---\nlicense: apache-2.0\n---\n# Toy\n"


def _safetensors(*names: str, numbers: int = 4) -> bytes:
    size = numbers * 4
    tensors = {
        name: {"dtype": "F32", "shape": [numbers], "data_offsets": [n * size, (n + 1) * size]}
        for n, name in enumerate(names)
    }
    header = json.dumps(tensors).encode()
    data = random.Random(1).randbytes(size * len(names))  # noqa: S311  any bytes do
    return len(header).to_bytes(8, "little") + header + data


GGUF = b"GGUF" + (3).to_bytes(4, "little") + bytes(24)
FOLDER = {
    "config.json": b"{}",
    "tokenizer.json": b'{"model": {}}',
    "README.md": CARD,
    "model.safetensors": _safetensors("w", numbers=100_000),
    "pytorch_model.bin": b"a pickle",
    "modeling_toy.py": b"import os",
    "onnx/model.safetensors": b"of something else",
}
SHARDS = {
    **{name: FOLDER[name] for name in ("config.json", "tokenizer.json")},
    "model-00001-of-00002.safetensors": _safetensors("a"),
    "model-00002-of-00002.safetensors": _safetensors("b"),
    "consolidated.safetensors": _safetensors("a", "b"),
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    ).encode(),
}


@contextmanager
def _serving() -> Iterator[ModelHub]:
    served = ModelHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), model_hub_handler(served))
    server.daemon_threads = True
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub() -> Iterator[ModelHub]:
    with _serving() as served:
        yield served


def _find(hub: ModelHub, home: Path, text: str = REPO, **environ: str) -> source.Source:
    return source.find(text, SILENT, home=home, environ={"HF_ENDPOINT": hub.url, **environ})


def test_a_repository_becomes_a_folder_with_what_a_conversion_needs(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository(FOLDER)
    shown = Recorder()
    found = source.find(REPO, shown, home=tmp_path, environ={"HF_ENDPOINT": hub.url})
    assert found.path == tmp_path / "quantize" / "sources" / f"someone--Toy-1B@{COMMIT}"
    assert sorted(hub.fetched) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert all((found.path / name).read_bytes() == FOLDER[name] for name in hub.fetched)
    assert (found.name, found.hub) == ("toy-1b", f"{REPO}@{COMMIT}")
    assert found.described()["name"] == f"{REPO}@{COMMIT}"
    assert found.card is not None
    assert found.card.read_bytes() == CARD
    assert shown.seen[-1][0] == shown.seen[-1][1] > len(FOLDER["model.safetensors"])
    assert not list(found.path.rglob("*.part"))


def test_the_second_time_nothing_is_fetched_and_a_commit_needs_no_hub(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository(FOLDER)
    first = _find(hub, tmp_path)
    hub.requests.clear()
    assert _find(hub, tmp_path) == first
    assert hub.fetched == []
    assert first.hub is not None
    assert source.find(first.hub, home=tmp_path, environ={"HF_HUB_OFFLINE": "1"}) == first
    with pytest.raises(Unavailable) as caught:
        source.find(REPO, home=tmp_path, environ={"HF_HUB_OFFLINE": "1"})
    assert caught.value.code == "hub_offline"
    assert first.hub in caught.value.hint


def test_a_commit_with_one_gguf_needs_no_hub_either(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository({"toy.Q4_0.gguf": GGUF, "README.md": CARD})
    first = _find(hub, tmp_path)
    offline = {"HF_HUB_OFFLINE": "1"}
    assert source.find(f"{REPO}@{COMMIT}", home=tmp_path, environ=offline) == first
    assert first.hub is not None
    assert source.find(first.hub, home=tmp_path, environ=offline) == first


def test_a_damaged_file_is_fetched_again(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository(FOLDER)
    found = _find(hub, tmp_path)
    for name in ("tokenizer.json", "model.safetensors"):
        content = (found.path / name).read_bytes()
        (found.path / name).write_bytes(content[:-1] + b"?")
    hub.requests.clear()
    assert _find(hub, tmp_path) == found
    assert sorted(hub.fetched) == ["model.safetensors", "tokenizer.json"]
    assert (found.path / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]


def test_shards_are_those_that_the_index_names(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository(SHARDS)
    found = _find(hub, tmp_path)
    assert [file.name for file in found.files if file.suffix == ".safetensors"] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert "consolidated.safetensors" not in hub.fetched


@pytest.mark.parametrize(
    "named", ["model-00003-of-00003.safetensors", "../config.json", "/etc/passwd", "pytorch_model.bin"]
)
def test_an_index_that_names_what_is_not_there_is_refused(hub: ModelHub, tmp_path: Path, named: str) -> None:
    index = json.dumps({"weight_map": {"a": named}}).encode()
    hub.hold_repository({**SHARDS, "model.safetensors.index.json": index, "pytorch_model.bin": b"a pickle"})
    with pytest.raises(Broken) as caught:
        _find(hub, tmp_path)
    assert caught.value.code == "model_file_missing"
    assert not [name for name in hub.fetched if name.endswith(".safetensors")]


def test_a_cut_download_is_resumed(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository(FOLDER)
    hub.cut_after = 150_000
    found = _find(hub, tmp_path)
    assert (found.path / "model.safetensors").read_bytes() == FOLDER["model.safetensors"]
    assert [headers["range"] for path, headers in hub.requests if "range" in headers]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_bytes_that_are_not_the_hubs_never_get_the_name(hub: ModelHub, tmp_path: Path, name: str) -> None:
    hub.hold_repository(FOLDER)
    hub.files[f"/{REPO}/resolve/{COMMIT}/{name}"] = FOLDER[name][:-1] + b"?"
    with pytest.raises(Broken) as caught:
        _find(hub, tmp_path)
    assert caught.value.code == "hub_wrong_bytes"
    assert not list(tmp_path.rglob(name))


def test_the_revision_is_asked_for(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository(FOLDER, revision="v2.0")
    assert _find(hub, tmp_path, f"{REPO}@v2.0").hub == f"{REPO}@{COMMIT}"
    assert hub.requests[0][0] == described_at(revision="v2.0")


def test_one_gguf_of_several_is_named_or_the_choice_is_listed(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository({"toy-q4_k_m.gguf": GGUF, "toy-q8_0.gguf": GGUF + bytes(4), "README.md": CARD})
    with pytest.raises(InvalidRequest) as caught:
        _find(hub, tmp_path)
    assert caught.value.code == "hub_several_files"
    assert "toy-q4_k_m.gguf (0 MB), toy-q8_0.gguf (0 MB)" in caught.value.message
    assert f"{REPO}:toy-q4_k_m.gguf" in caught.value.hint
    found = _find(hub, tmp_path, f"{REPO}:toy-q8_0.gguf")
    assert found.is_gguf
    assert (found.name, found.hub) == ("toy", f"{REPO}@{COMMIT}:toy-q8_0.gguf")
    assert found.card is not None
    assert sorted(hub.fetched) == ["README.md", "toy-q8_0.gguf"]
    assert source.find(str(found.hub), home=tmp_path, environ={"HF_HUB_OFFLINE": "1"}) == found
    with pytest.raises(NotFound) as missing:
        _find(hub, tmp_path, f"{REPO}@main:other.gguf")
    assert missing.value.code == "hub_file_not_found"
    assert "toy-q8_0.gguf" in missing.value.hint


def test_the_only_gguf_needs_no_name_and_a_part_of_one_is_refused(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository({"deep/toy-q8_0.gguf": GGUF})
    assert _find(hub, tmp_path).path.name == "toy-q8_0.gguf"
    hub.hold_repository({"toy-00001-of-00002.gguf": GGUF})
    with pytest.raises(InvalidRequest) as caught:
        _find(hub, tmp_path, f"{REPO}:toy-00001-of-00002.gguf")
    assert caught.value.code == "hub_split_gguf"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"x"}, "pickles"),
        ({"README.md": CARD}, "no model"),
        ({"config.json": b"{}", "model.safetensors": b"x"}, r"no tokenizer\.json"),
    ],
)
def test_a_repository_without_usable_weights_is_refused_unfetched(
    hub: ModelHub, tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    hub.hold_repository(files)
    with pytest.raises(InvalidRequest, match=said) as caught:
        _find(hub, tmp_path)
    assert caught.value.code == "hub_no_weights"
    assert hub.fetched == []


@pytest.mark.parametrize(
    ("refusal", "code", "hint"),
    [
        ((401, "RepoNotFound"), "hub_not_found", "HF_TOKEN"),
        ((404, ""), "hub_not_found", "HF_TOKEN"),
        ((404, "RevisionNotFound"), "hub_revision_not_found", "branch"),
        ((403, "GatedRepo"), "hub_gated", "Accept its terms"),
        ((401, ""), "hub_refused", "HF_TOKEN"),
        ((500, ""), "hub_failed", "again"),
    ],
)
def test_the_hubs_refusals_are_told_apart(
    hub: ModelHub, tmp_path: Path, refusal: tuple[int, str], code: str, hint: str
) -> None:
    hub.refusals[described_at()] = refusal
    with pytest.raises(Problem) as caught:
        _find(hub, tmp_path)
    assert caught.value.code == code
    assert hint in caught.value.hint


def test_a_gated_file_of_a_repository_that_may_be_listed_says_so(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository(FOLDER)
    hub.refusals[f"/{REPO}/resolve/{COMMIT}/config.json"] = (401, "GatedRepo")
    with pytest.raises(NotAllowed, match=r"config\.json") as caught:
        _find(hub, tmp_path)
    assert caught.value.code == "hub_gated"


def test_a_hub_that_does_not_answer_is_told_from_one_that_refuses(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        source.find(REPO, home=tmp_path, environ={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert caught.value.code == "hub_unreachable"
    assert "HF_ENDPOINT" in caught.value.hint


def test_the_token_goes_to_the_hub_alone(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository(FOLDER)
    weights = f"/{REPO}/resolve/{COMMIT}/model.safetensors"
    with _serving() as elsewhere:
        hub.redirects[weights] = f"{elsewhere.url}/blob"
        elsewhere.files["/blob"] = FOLDER["model.safetensors"]
        _find(hub, tmp_path, HF_TOKEN="hf_secret")
    ((_, headers),) = elsewhere.requests
    assert "authorization" not in headers
    assert {headers.get("authorization") for _, headers in hub.requests} == {"Bearer hf_secret"}


@pytest.mark.parametrize("path", [described_at(), f"/{REPO}/resolve/{COMMIT}/model.safetensors"])
def test_a_redirect_to_where_clouds_keep_credentials_is_refused(hub: ModelHub, tmp_path: Path, path: str) -> None:
    hub.hold_repository(FOLDER)
    hub.redirects[path] = "http://169.254.169.254/latest/meta-data"
    with pytest.raises(NotAllowed, match="an address that is not asked") as caught:
        _find(hub, tmp_path)
    assert caught.value.code in {"hub_other_host", "hub_private_address"}


def test_a_private_network_is_not_asked_unless_the_user_named_it(hub: ModelHub, tmp_path: Path) -> None:
    hub.hold_repository(FOLDER)
    with pytest.raises(SourceFailed, match="private_address"):
        Hub(hub.url, {}).describe(REPO, "main")
    assert hub.requests == []


@pytest.mark.parametrize(
    "said",
    [
        [],
        {},
        {"sha": "main", "siblings": []},
        {"sha": "../../..", "siblings": []},
        {"sha": COMMIT, "siblings": [{"rfilename": 7}]},
        {"sha": COMMIT, "siblings": [{"rfilename": "a.gguf", "size": -1}]},
        {"sha": COMMIT, "siblings": [{"rfilename": "a.gguf", "size": 10**30}]},
        {"sha": COMMIT, "siblings": [{"rfilename": "a.gguf", "lfs": {"sha256": "?", "size": 1}}]},
        {"sha": COMMIT, "siblings": "config.json"},
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(hub: ModelHub, tmp_path: Path, said: object) -> None:
    hub.describe(said)
    with pytest.raises(Problem) as caught:
        _find(hub, tmp_path)
    assert caught.value.code in {"hub_answer_unreadable", "hub_failed"}


@pytest.mark.parametrize("name", ["../evil.gguf", "/etc/evil.gguf", "a\\..\\evil.gguf", "evil\0.gguf", ".evil.gguf"])
def test_files_with_names_that_lead_elsewhere_are_not_seen(hub: ModelHub, tmp_path: Path, name: str) -> None:
    entry = {"rfilename": name, "lfs": {"sha256": "0" * 64, "size": 10}}
    hub.describe({"sha": COMMIT, "siblings": [entry]})
    with pytest.raises(InvalidRequest) as caught:
        _find(hub, tmp_path)
    assert caught.value.code == "hub_no_weights"


def test_more_than_the_disk_holds_is_refused_before_it_is_fetched(hub: ModelHub, tmp_path: Path) -> None:
    entry = {"rfilename": "huge.gguf", "lfs": {"sha256": "0" * 64, "size": 1 << 52}}
    hub.describe({"sha": COMMIT, "siblings": [entry]})
    with pytest.raises(Unavailable) as caught:
        _find(hub, tmp_path)
    assert caught.value.code == "not_enough_disk"
    assert hub.fetched == []


def test_what_lies_here_wins_over_the_hub(hub: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = tmp_path / REPO
    here.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (here / name).write_bytes(FOLDER[name])
    found = _find(hub, tmp_path)
    assert (found.path, found.hub) == (here, None)
    assert hub.requests == []


@pytest.mark.parametrize("text", ["nowhere.gguf", "models/nowhere.gguf", "/a/b", "./a/b", "a/b/c", "a/b@../x", "a"])
def test_what_can_only_be_a_path_is_never_asked_of_the_hub(hub: ModelHub, tmp_path: Path, text: str) -> None:
    with pytest.raises(NotFound) as caught:
        _find(hub, tmp_path, text)
    assert caught.value.code == "source_not_found"
    assert "owner/name" in caught.value.hint
    assert hub.requests == []


@given(st.text())
def test_any_text_is_an_id_or_none(text: str) -> None:
    found = HubId.parse(text)
    if found is not None:
        file = f":{found.file}" if found.file else ""
        assert text in {f"{found.repo}@{found.revision}{file}", f"{found.repo}{file}"}


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["sha", "siblings", "rfilename", "size", "lfs", "sha256", "blobId"]), inner
            )
        ),
    )
)
def test_any_answer_is_a_listing_or_refused(said: object) -> None:
    try:
        listing = hub_listing.read(REPO, {"sha": COMMIT, "siblings": said})
    except Broken:
        return
    assert all(file.size >= 0 for file in listing.files.values())
