"""A model that somebody uses is not removed under them, and one that is removed is gone at once."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import Conflict, NotFound, Unavailable
from edge_agent.models.catalog import Catalog
from edge_agent.models.locks import in_use, lock
from edge_agent.models.locks.in_use import unused
from edge_agent.models.store import ModelStore
from edge_agent.runtimes.runtime import ModelSpec
from edge_agent.runtimes.worker_runtime import WorkerRuntime
from tests.models.toys import CONTENT, make_here

HOLDER = (
    "import sys; from pathlib import Path; from edge_agent.models.locks.in_use import hold\n"
    "held = hold(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()\n"
)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    made = ModelStore(tmp_path / "models", Catalog.load(), environ={})
    make_here(made.root, "mine")
    return made


@contextmanager
def _another_process(lock: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


def test_a_model_in_use_is_not_removed_and_who_uses_it_is_told(store: ModelStore) -> None:
    place = store.place("mine")
    with place.hold(), place.hold(), pytest.raises(Conflict) as caught:
        store.remove("mine")
    assert caught.value.code == "model_in_use"
    assert f"process {os.getpid()}." in caught.value.message
    assert "keep_alive_s" in caught.value.hint
    assert store.file("mine").read_bytes() == CONTENT
    assert store.remove("mine") > len(CONTENT)
    assert not [path for path in store.root.iterdir() if path.suffix not in {".lock", ".use"}]


def test_the_system_takes_the_lock_back_from_a_killed_process(store: ModelStore) -> None:
    with _another_process(store.place("mine").use_lock) as child:
        with pytest.raises(Conflict, match=f"process {child.pid}"):
            store.remove("mine")
        child.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
        child.wait()
        store.remove("mine")
    with pytest.raises(NotFound):
        store.path("mine")


def test_whoever_removes_and_whoever_loads_at_once_never_both_succeed(store: ModelStore) -> None:
    """A loader that found the files keeps them as long as it holds the model."""
    spoiled: list[str] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            with store.place("mine").hold(), suppress(NotFound):
                path = store.file("mine")
                time.sleep(0.001)
                if not path.is_file():
                    spoiled.append("removed under its user")
            time.sleep(0.001)  # others want it, too

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    removed = 0
    end = time.monotonic() + 20
    while removed < 5 and time.monotonic() < end:
        with suppress(Conflict, NotFound):
            store.remove("mine")
            removed += 1
            make_here(store.root, ".new")
            (store.root / ".new" / "manifest.json").write_text(
                (store.root / ".new" / "manifest.json").read_text().replace('".new"', '"mine"')
            )
            (store.root / ".new").rename(store.root / "mine")
    done.set()
    for thread in threads:
        thread.join(10)
    assert spoiled == []
    assert removed == 5


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_process_that_comes_too_late_says_that_the_model_is_gone(store: ModelStore) -> None:
    path, use_lock = store.file("mine"), store.place("mine").use_lock
    store.remove("mine")
    runtime = WorkerRuntime(ModelSpec("mine", path, "gguf", 512, 1, 0, 1, in_use=use_lock))
    with pytest.raises(NotFound) as caught:
        await runtime.ensure_ready()
    assert caught.value.code == "model_not_installed"
    await runtime.close()


def test_two_removals_at_once(store: ModelStore) -> None:
    outcomes: list[object] = []

    def remove() -> None:
        try:
            outcomes.append(ModelStore(store.root, store.catalog).remove("mine"))
        except NotFound as problem:
            outcomes.append(problem.code)

    threads = [threading.Thread(target=remove) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(map(str, outcomes))[1:] == ["unknown_model", "unknown_model"]


def test_a_removal_that_was_killed_half_way_is_finished_by_the_next(store: ModelStore) -> None:
    left = store.root / ".mine.removed"
    shutil.copytree(store.root / "mine", left)
    store.remove("mine")
    assert not left.exists()


def test_the_names_of_users_do_not_pile_up(store: ModelStore) -> None:
    place = store.place("mine")
    for _ in range(1000):
        place.hold().release()
    assert place.use_lock.stat().st_size < 5000
    with place.hold(), pytest.raises(Conflict, match=rf"process {os.getpid()}\."):
        store.remove("mine")


def test_a_file_system_without_locks_is_said_and_its_models_can_be_used(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: int, *, shared: bool = False) -> bool:
        raise OSError(errno.EOPNOTSUPP if shared else errno.ENOLCK, "no locks")

    monkeypatch.setattr(lock, "try_lock", refused)
    monkeypatch.setattr(in_use, "try_lock", refused)
    with pytest.raises(Unavailable) as caught:
        store.remove("mine")
    assert caught.value.code == "models_folder_not_writable"
    assert "EDGE_AGENT_HOME" in caught.value.hint
    with pytest.raises(Unavailable, match="cannot be locked"), unused(store.place("mine").use_lock, "mine"):
        pass
    with store.place("mine").hold():
        assert store.file("mine").read_bytes() == CONTENT


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_models_folder_that_may_only_be_read_can_be_used(store: ModelStore) -> None:
    store.root.chmod(0o500)
    try:
        with store.place("mine").hold():
            assert store.file("mine").is_file()
    finally:
        store.root.chmod(0o700)


def test_ids_that_are_paths_make_no_files(store: ModelStore, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    for name in ("../../x", "/etc/x", "a/b", "..", ""):
        with pytest.raises(NotFound):
            store.remove(name)
    assert sorted(tmp_path.rglob("*")) == before
