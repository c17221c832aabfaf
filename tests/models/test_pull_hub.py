"""Pulling from a hub over real HTTP: resume, redirects, refusals."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from edge_agent.models.catalog import Catalog
from edge_agent.models.disk import disk_errors
from edge_agent.models.download.addresses import Reach
from edge_agent.models.download.stream import SourceFailed
from edge_agent.models.progress import SILENT
from edge_agent.models.store import ModelStore
from tests.models.toys import CONTENT, FILE_SOURCE, HUB_PATH, HUB_SOURCE, LoopbackHub, Recorder, catalog_text

StoreOf = Callable[..., ModelStore]


def _ranges(hub: LoopbackHub) -> list[str | None]:
    return [headers.get("range") for _, headers in hub.requests]


def test_a_file_is_pulled_and_progress_only_grows(hub: LoopbackHub, store_of: StoreOf) -> None:
    hub.files[HUB_PATH] = CONTENT
    store, shown = store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url}), Recorder()
    folder = store.pull("toy", shown)
    assert (folder / "weights.bin").read_bytes() == CONTENT
    assert store.file("toy") == folder / "weights.bin"
    assert not list(folder.glob("*.part"))
    done = [step[0] for step in shown.seen]
    assert done == sorted(done)
    assert shown.seen[-1][:2] == (len(CONTENT), len(CONTENT))


def test_a_cut_within_a_pull_is_resumed_where_it_was(hub: LoopbackHub, store_of: StoreOf) -> None:
    hub.files[HUB_PATH], hub.cut_after = CONTENT, 400_000
    store = store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url})
    folder = store.pull("toy", Recorder())
    assert (folder / "weights.bin").read_bytes() == CONTENT
    first, second, *_ = _ranges(hub)
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").removesuffix("-")) > 0


def test_a_pull_that_was_cut_for_good_is_resumed_by_the_next(hub: LoopbackHub, store_of: StoreOf) -> None:
    hub.files[HUB_PATH], hub.cut_after = CONTENT, 100_000
    with pytest.raises(Unavailable, match="cut") as caught:
        store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url}).pull("toy", Recorder())
    assert caught.value.code == "model_unavailable"
    store = store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url})
    assert not store.list()[0].installed
    assert store.list()[0].size_on_disk > 300_000
    hub.cut_after = None
    hub.requests.clear()
    assert (store.pull("toy", Recorder()) / "weights.bin").read_bytes() == CONTENT
    (only,) = _ranges(hub)
    assert only is not None


def test_a_server_without_ranges_starts_again(hub: LoopbackHub, store_of: StoreOf) -> None:
    hub.files[HUB_PATH], hub.cut_after = CONTENT, 100_000
    store = store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url})
    with pytest.raises(Unavailable):
        store.pull("toy", Recorder())
    hub.cut_after, hub.ranges = None, False
    assert (store.pull("toy", Recorder()) / "weights.bin").read_bytes() == CONTENT


def test_wrong_bytes_never_get_the_name_and_the_next_source_is_tried(
    hub: LoopbackHub, store_of: StoreOf, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror" / "toy"
    mirror.mkdir(parents=True)
    (mirror / "weights.bin").write_bytes(CONTENT)
    environ = {"HF_ENDPOINT": hub.url, "EDGE_AGENT_MIRROR": str(mirror.parent)}
    for wrong in (CONTENT[:-1] + b"?", CONTENT + b"more"):
        hub.files[HUB_PATH] = wrong
        with pytest.raises(Unavailable):
            store_of([HUB_SOURCE], environ).pull("toy", Recorder())
        assert not (tmp_path / "models" / "toy" / "weights.bin").exists()
    store = store_of([HUB_SOURCE, FILE_SOURCE], environ)
    assert (store.pull("toy", Recorder()) / "weights.bin").read_bytes() == CONTENT


def test_bytes_left_by_another_source_do_not_spoil_a_good_one(
    hub: LoopbackHub, store_of: StoreOf, tmp_path: Path
) -> None:
    hub.files[HUB_PATH] = CONTENT
    store = store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url})
    file = store.catalog.get("toy").files[0]
    folder = tmp_path / "models" / "toy"
    folder.mkdir(parents=True)
    (folder / f"weights.bin.{file.sha256[:12]}.part").write_bytes(b"x" * 1000)
    assert (store.pull("toy", Recorder()) / "weights.bin").read_bytes() == CONTENT


def test_the_token_goes_to_the_hub_and_not_where_it_redirects(
    start_hub: Callable[[], LoopbackHub], store_of: StoreOf
) -> None:
    hub, elsewhere = start_hub(), start_hub()
    hub.redirects[HUB_PATH] = f"{elsewhere.url}/blob"
    elsewhere.files["/blob"] = CONTENT
    store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_secret"}).pull("toy", Recorder())
    assert hub.requests[0][1]["authorization"] == "Bearer hf_secret"
    assert "authorization" not in elsewhere.requests[0][1]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("HF_ENDPOINT", "https://secret@hub:80a", "bad_endpoint"),
        ("HF_ENDPOINT", "hub.example.org", "bad_endpoint"),
        ("HF_ENDPOINT", "ftp://hub.example.org", "bad_endpoint"),
        ("HF_ENDPOINT", "https://", "bad_endpoint"),
        ("HF_ENDPOINT", "https://hub.example.org\x07", "bad_endpoint"),
        ("HF_ENDPOINT", "https://hub\udcff.example.org", "bad_endpoint"),
        ("HF_TOKEN", "\u201chf_secret\u201d", "bad_token"),
        ("HF_TOKEN", "hf_secret\nHost: x", "bad_token"),
    ],
)
def test_a_mistyped_variable_is_named(store_of: StoreOf, name: str, value: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store_of([HUB_SOURCE], {name: value}).pull("toy", Recorder())
    assert caught.value.code == code
    assert f"${name}" in caught.value.message
    assert name in caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "cause"),
    [
        ("http://169.254.169.254/latest/meta-data", "other_host"),
        ("http://[::ffff:169.254.169.254]/", "other_host"),
        ("http://localhost:1/x", "other_host"),
        ("http://127.0.0.1.example.org/x", "other_host"),
        ("http://127.0.0.1@example.org/x", "other_host"),
        ("//example.org/x", "other_host"),
        ("ftp://127.0.0.1/x", "bad_redirect"),
        ("file:///etc/passwd", "bad_redirect"),
        ("http://127.0.0.1:99999/", "bad_redirect"),
        ("http://127.0.0.1:x/", "cut"),
        (HUB_PATH, "bad_redirect"),
    ],
)
def test_a_redirect_that_leads_astray_is_refused(
    hub: LoopbackHub, store_of: StoreOf, location: str, cause: str
) -> None:
    hub.redirects[HUB_PATH] = location
    with pytest.raises(Unavailable, match=cause):
        store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url}).pull("toy", Recorder())


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("https://hub.example/x", None),
        ("https://cdn.hub.example/x", None),
        ("https://storage.hf.co/x", None),
        ("https://hub.example.evil/x", "other_host"),
        ("https://evilhf.co/x", "other_host"),
        ("https://evil-hub.example/x", "other_host"),
        ("http://hub.example/x", "bad_redirect"),
    ],
)
def test_only_the_hub_and_its_own_storage_may_be_led_to(url: str, cause: str | None) -> None:
    reach = Reach(httpx.URL("https://hub.example"), chosen=False, unreachable={httpx.URL(url).host})
    with pytest.raises(SourceFailed) as caught:
        reach.check(httpx.URL(url))
    assert caught.value.cause == (cause or "unreachable")  # which is looked up last, so that nothing is asked here


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "[::1]", "[fe80::1]",  # noqa: S104
     "[fd00::1]", "[::ffff:10.1.2.3]", "[64:ff9b::a01:203]", "[2002:a01:203::1]", "2130706433", "0x7f.1", "127.1"],
)  # fmt: skip
def test_no_spelling_of_a_private_address_is_reached(address: str) -> None:
    with pytest.raises(SourceFailed) as caught:
        Reach(httpx.URL(f"https://{address}"), chosen=False).check(httpx.URL(f"https://{address}/x"))
    assert caught.value.cause in {"private_address", "unreachable"}


def test_a_private_address_is_refused_unless_the_user_chose_it(hub: LoopbackHub, store_of: StoreOf) -> None:
    hub.files[HUB_PATH] = CONTENT
    with pytest.raises(Unavailable, match="private_address"):
        store_of([HUB_SOURCE], {"HF_ENDPOINT": ""}, hub=hub.url).pull("toy", Recorder())
    assert hub.requests == []


def test_a_hub_that_does_not_answer_is_asked_once(start_hub: Callable[[], LoopbackHub], store_of: StoreOf) -> None:
    store = store_of([HUB_SOURCE], {"HF_ENDPOINT": "http://127.0.0.1:9"})
    with pytest.raises(Unavailable, match="unreachable"):
        store.pull("toy", Recorder())
    with pytest.raises(Unavailable, match="unreachable"):
        store.pull("toy", Recorder())


@pytest.mark.parametrize(
    ("environ", "cause"), [({"HF_HUB_OFFLINE": "1"}, "offline"), ({"HF_ENDPOINT": "{hub}"}, "not_found")]
)
def test_when_every_source_fails_each_is_named_with_its_cause(
    hub: LoopbackHub, store_of: StoreOf, environ: dict[str, str], cause: str
) -> None:
    environ = {name: value.format(hub=hub.url) for name, value in environ.items()}
    with pytest.raises(Unavailable) as caught:
        store_of([FILE_SOURCE, HUB_SOURCE], {**environ, "EDGE_AGENT_MIRROR": ""}).pull("toy", Recorder())
    assert caught.value.code == "model_unavailable"
    assert "file $EDGE_AGENT_MIRROR: not_set" in caught.value.message
    assert f"hub someone/something@abc: {cause}" in caught.value.message
    assert "EDGE_AGENT_MIRROR" in caught.value.hint
    assert "127.0.0.1" not in str(caught.value)


def test_two_pulls_at_once_fetch_once(hub: LoopbackHub, store_of: StoreOf) -> None:
    hub.files[HUB_PATH], hub.hold = CONTENT, threading.Event()
    shown = [Recorder(), Recorder()]
    stores = [store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url}) for _ in shown]
    threads = [
        threading.Thread(target=store.pull, args=("toy", recorder))
        for store, recorder in zip(stores, shown, strict=True)
    ]
    for thread in threads:
        thread.start()
    while not any(step[2] == "waiting for another pull" for recorder in shown for step in recorder.seen):
        threads[0].join(0.01)
    hub.hold.set()
    for thread in threads:
        thread.join(20)
    assert len(hub.requests) == 1
    assert stores[0].file("toy").read_bytes() == CONTENT


PULL = (
    "import sys; from pathlib import Path; from edge_agent.models.catalog import Catalog\n"
    "from edge_agent.models.store import ModelStore; from edge_agent.models.progress import SILENT\n"
    "ModelStore(Path(sys.argv[1]) / 'models', Catalog.load(Path(sys.argv[1]) / 'data')).pull('toy', SILENT)\n"
)


@pytest.mark.slow
def test_two_processes_that_pull_at_once_fetch_once(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.files[HUB_PATH], hub.hold = CONTENT, threading.Event()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.toml").write_text(catalog_text(CONTENT, hub.url), encoding="utf-8")
    environ = {**os.environ, "HF_ENDPOINT": hub.url}
    children = [subprocess.Popen([sys.executable, "-c", PULL, str(tmp_path)], env=environ) for _ in range(3)]
    deadline = time.monotonic() + 30
    while not hub.requests and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)  # the others come to the lock in the meantime, or find the work done
    hub.hold.set()
    assert [child.wait(30) for child in children] == [0, 0, 0]
    assert len(hub.requests) == 1
    ModelStore(tmp_path / "models", Catalog.load(tmp_path / "data")).verify("toy")


@pytest.mark.slow
def test_a_pull_killed_in_another_process_frees_its_lock_and_is_resumed(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.files[HUB_PATH], hub.pause = CONTENT, threading.Event()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog.toml").write_text(catalog_text(CONTENT, hub.url), encoding="utf-8")
    environ = {**os.environ, "HF_ENDPOINT": hub.url}
    child = subprocess.Popen([sys.executable, "-c", PULL, str(tmp_path)], env=environ)
    while not any(path.stat().st_size for path in (tmp_path / "models").glob("toy/*.part")):
        assert child.poll() is None
        time.sleep(0.05)
    child.kill()
    child.wait()
    hub.pause.set()
    store = ModelStore(tmp_path / "models", Catalog.load(tmp_path / "data"), environ=environ)
    assert (store.pull("toy", Recorder()) / "weights.bin").read_bytes() == CONTENT
    assert _ranges(hub)[-1] is not None


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(hub: LoopbackHub, store_of: StoreOf) -> None:
    hub.files[HUB_PATH] = CONTENT
    store = store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url}, free_disk=lambda _: 1_000_000)
    with pytest.raises(Unavailable) as caught:
        store.pull("toy", Recorder())
    assert caught.value.code == "not_enough_disk"
    assert "EDGE_AGENT_HOME" in caught.value.hint
    assert hub.requests == []


def test_room_is_needed_only_for_what_is_still_to_come(hub: LoopbackHub, store_of: StoreOf) -> None:
    spare = 64 * 2**20
    hub.files[HUB_PATH] = CONTENT
    with pytest.raises(Unavailable) as caught:
        store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url}, free_disk=lambda _: spare + len(CONTENT) - 1).pull(
            "toy", SILENT
        )
    assert caught.value.code == "not_enough_disk"
    hub.cut_after = 100_000
    with pytest.raises(Unavailable, match="cut"):
        store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url}, free_disk=lambda _: spare + len(CONTENT)).pull("toy", SILENT)
    hub.cut_after = None
    left = store_of([HUB_SOURCE], {"HF_ENDPOINT": hub.url}, free_disk=lambda _: spare + len(CONTENT) - 100_000)
    left.pull("toy", SILENT)
    left.verify("toy")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_disk_that_becomes_full_while_it_is_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught, disk_errors(tmp_path), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
    assert caught.value.code == "not_enough_disk"
