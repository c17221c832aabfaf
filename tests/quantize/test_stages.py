"""What is kept between runs, and what killed runs left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_agent.models.locks.lock import open_lock, try_lock
from edge_agent.models.progress import SILENT
from quantize import export_environment
from quantize.artifact import building
from quantize.stages import Stages, stages_of

FILES = [{"sha256": "a" * 64}]


def test_a_part_is_made_once_and_what_is_remembered_outlives_it(tmp_path: Path) -> None:
    stages, made = Stages(tmp_path), []

    def make(folder: Path) -> dict[str, int]:
        (folder / "weights").write_text("w")
        made.append(folder)
        return {"tensors": 7}

    for _ in range(2):
        folder, facts = stages.part("plain", make)
        assert ((folder / "weights").read_text(), facts) == ("w", {"tensors": 7})
    assert len(made) == 1
    stages.remember("figures", {"loss": 0.5})
    stages.clear()
    assert not folder.exists()
    assert stages.remembered("figures") == {"loss": 0.5}


@pytest.mark.parametrize("left", ["", '{"tensors": ', "[]", "\xff"])
def test_records_that_a_power_cut_spoiled_are_made_again(tmp_path: Path, left: str) -> None:
    stages = Stages(tmp_path)
    folder, _ = stages.part("plain", lambda _: {"tensors": 7})
    stages.remember("figures", {"loss": 0.5})
    for record in (folder / "facts.json", tmp_path / "kept" / "figures.json"):
        record.write_text(left, "latin-1")
    assert stages.remembered("figures") is None
    assert stages.part("plain", lambda _: {"tensors": 8}) == (folder, {"tensors": 8})


@pytest.mark.parametrize("damage", [b"", b"weighty", b"Weights"])
def test_a_part_that_is_not_as_it_was_written_is_made_again(tmp_path: Path, damage: bytes) -> None:
    def make(folder: Path) -> dict[str, int]:
        (folder / "model").mkdir()
        (folder / "model" / "weights").write_bytes(b"weights")
        return {"tensors": 7}

    folder, _ = Stages(tmp_path).part("plain", make)
    (folder / "model" / "weights").write_bytes(damage)
    assert Stages(tmp_path).part("plain", make) == (folder, {"tensors": 7})
    assert (folder / "model" / "weights").read_bytes() == b"weights"


def test_what_was_made_with_other_tools_does_not_count_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what in ("onnx", "mlx"):
        with stages_of(tmp_path, what, FILES, SILENT) as stages:
            stages.remember("figures", {"loss": 0.5})
    with stages_of(tmp_path, "onnx", FILES, SILENT) as stages:
        assert stages.remembered("figures") == {"loss": 0.5}
    monkeypatch.setattr(export_environment, "TORCH", "torch==99")
    work = tmp_path / "quantize" / "work"
    lock = open_lock(next(work.glob("onnx-*")) / "lock")
    assert try_lock(lock)  # as another run holds it
    with stages_of(tmp_path, "onnx", FILES, SILENT) as stages:
        assert stages.remembered("figures") is None
        assert len(list(work.glob("onnx-*"))) == 2
    os.close(lock)
    with stages_of(tmp_path, "onnx", FILES, SILENT):
        assert [len(list(work.glob(f"{what}-*"))) for what in ("onnx", "mlx")] == [1, 1]


def test_what_a_killed_run_left_goes_and_what_another_makes_stays(tmp_path: Path) -> None:
    for name in (".model.dead", ".model.busy", ".other.dead"):
        (tmp_path / name / "made").mkdir(parents=True)
        (tmp_path / name / "being-made").touch()
    (tmp_path / ".model.use").touch()
    lock = open_lock(tmp_path / ".model.busy" / "being-made")
    assert try_lock(lock)
    with building(tmp_path / "model") as folder:
        (folder / "weights").write_text("w")
    os.close(lock)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".model.busy", ".model.use", ".other.dead", "model"]
