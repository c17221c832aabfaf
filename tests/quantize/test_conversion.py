"""From a source to a folder, on a model of random weights: what is refused before any work, and what a stop costs."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import toy_gguf
from quantize_command import Run, error_of, made_by

from cloud_bridge.protocol.problems import Conflict, InvalidRequest, Problem, Unavailable
from edge_agent.models.manifest import parse
from edge_agent.models.progress import SILENT
from quantize.comparison.candidates import Limits
from quantize.conversion import Wanted, convert
from quantize.gguf.importance_worker import CHUNK
from quantize.judge.extent import Extent
from quantize.sources import source
from quantize.sources.source import Source
from quantize.stages import Stages, stages_of
from quantize.ways import Target, Ways
from quantize.workshop import Workshop


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    path = tmp_path / "toy.gguf"
    toy_gguf.dense(path)
    return path


class Heard:
    def __init__(self) -> None:
        self.steps: list[str] = []

    def advance(self, done: int, total: int, what: str) -> None:
        self.steps.append(what)


def _refusal(wanted: Wanted, home: Path, heard: Heard) -> Problem:
    with pytest.raises(Problem) as caught:
        convert(wanted, home, heard, lambda *_: None)
    return caught.value


# Before any work


@pytest.mark.parametrize("types", [("Q8_0", "Q6_K"), ()])
def test_a_comparison_is_refused_where_the_id_of_a_candidate_is_taken(
    toy: Path, home: Path, types: tuple[str, ...]
) -> None:
    (home / "models" / "toy-q6_k").mkdir(parents=True)
    heard = Heard()
    problem = _refusal(Wanted(str(toy), Target.GGUF, types, Limits(ram_budget_mb=900)), home, heard)
    assert isinstance(problem, Conflict)
    assert problem.code == "already_exists"
    assert "toy-q6_k" in problem.hint
    assert heard.steps == ["reading the source"]


def test_what_llama_cpp_cannot_load_is_refused_with_its_reason(edge_quantize: Run, toy: Path, home: Path) -> None:
    layers = b"llama.block_count" + struct.pack("<I", 4)
    toy.write_bytes(toy.read_bytes().replace(layers + struct.pack("<I", 1), layers + struct.pack("<I", 2)))
    error = error_of(edge_quantize(toy, "--to", "gguf", "--type", "Q8_0", "--no-judge", "--json"))
    assert error["code"] == "model_unreadable"
    assert "blk.1" in error["message"]
    assert not list((home / "models").glob("[!.]*"))


def test_the_models_folder_takes_only_what_is_installed(toy: Path, home: Path) -> None:
    wanted = Wanted(str(toy), Target.GGUF, ("Q8_0",), out=home / "models" / "qwen2.5-coder-1.5b-instruct-q4_k_m")
    assert _refusal(wanted, home, Heard()).code == "bad_option"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is needed")
def test_a_full_stdout_is_one_clear_line(toy: Path, home: Path) -> None:
    command = [sys.executable, "-m", "quantize.cli", str(toy), "--to", "gguf", "--type", "Q8_0", "--no-judge"]
    environ = {**os.environ, "EDGE_AGENT_HOME": str(home)}
    with Path("/dev/full").open("w") as full:
        finished = subprocess.run(command, env=environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: ")
    assert len(finished.stderr.splitlines()) == 1


def test_what_the_catalog_has_is_compared_only_where_it_is_named(toy: Path, home: Path) -> None:
    model = toy.rename(toy.with_name("qwen2.5-coder-1.5b-instruct.gguf"))
    (home / "models" / "qwen2.5-coder-1.5b-instruct-q6_k").mkdir(parents=True)
    for types, code in (((), "already_exists"), (("Q8_0", "Q4_K_M"), "model_id_taken")):
        wanted = Wanted(str(model), Target.GGUF, types, Limits(ram_budget_mb=900))
        assert _refusal(wanted, home, Heard()).code == code


def test_a_place_where_nothing_can_be_written_is_told_at_once(toy: Path, tmp_path: Path, home: Path) -> None:
    heard = Heard()
    for out in (toy / "made", toy / "deep" / "made"):
        problem = _refusal(Wanted(str(toy), Target.GGUF, ("Q8_0",), out=out), home, heard)
        assert isinstance(problem, Unavailable)
        assert problem.code == "folder_not_writable"
        assert "--out" in problem.hint
    assert _refusal(Wanted(str(toy), Target.GGUF, ("Q8_0",)), toy, heard).code == "folder_not_writable"
    (tmp_path / "link").symlink_to("nowhere")
    wanted = Wanted(str(toy), Target.GGUF, ("Q8_0",), out=tmp_path / "link")
    assert _refusal(wanted, home, heard).code == "already_exists"
    assert heard.steps == []


@pytest.mark.parametrize("option", ["output-type", "embedding-type"])
def test_a_tensor_s_type_that_nobody_knows_is_refused(tmp_path: Path, option: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Ways(**{option.replace("-", "_"): "Q99"}).check(Target.GGUF)
    assert (caught.value.code, caught.value.param) == ("unknown_type", option)
    assert "Q8_0" in caught.value.hint


def test_other_figures_need_no_other_artifact(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("one")
    for ways in (Ways(extent=Extent(tokens=9)), Ways(judging=text)):
        assert ways.made_by == Ways().made_by
        assert ways.judged_by != Ways().judged_by
    for ways in (Ways(calibration=text), Ways(matrix=text), Ways(output_type="F16"), Ways(embedding_type="F16")):
        assert ways.made_by != Ways().made_by
        assert ways.judged_by == Ways().judged_by


@pytest.mark.parametrize("name", ["n" * 300, "nothing\nhere"])
def test_whatever_happens_is_one_error_with_a_way_out(edge_quantize: Run, name: str) -> None:
    assert error_of(edge_quantize(name, "--to", "gguf", "--json"))["code"] in {"system_error", "source_not_found"}


@pytest.mark.skipif(sys.platform != "linux", reason="a file that root, too, cannot read is in /proc")
def test_files_that_cannot_be_read_are_named(edge_quantize: Run, toy: Path) -> None:
    unreadable = "/proc/self/mem"
    for words, code in (((unreadable,), "model_unreadable"), ((toy, "--text", unreadable), "text_unreadable")):
        error = error_of(edge_quantize(*words, "--to", "gguf", "--json"))
        assert (error["code"], "mem cannot be read" in error["message"]) == (code, True)


# What was made before


@contextmanager
def _shop(home: Path, model: Source, ways: Ways) -> Iterator[tuple[Workshop, Stages]]:
    described = model.described()
    with stages_of(home, "gguf", described["files"], SILENT) as stages:
        yield Workshop(model, Target.GGUF, ways, described=described, stages=stages, progress=SILENT), stages


@pytest.mark.slow
def test_only_what_the_same_command_and_files_made_is_the_same(toy: Path, home: Path, tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other" / "text"
    other.parent.mkdir()
    for number, path in enumerate((text, other)):
        path.write_text("".join(chr(97 + step * step % (23 - number)) for step in range(2 * CHUNK)))
    ways = Ways(calibration=text)
    made = convert(
        Wanted(str(toy), Target.GGUF, ("Q3_K_S",), ways=ways, is_judged=False), home, SILENT, lambda *_: None
    )

    def known(ways: Ways, type_name: str = "Q3_K_S") -> object:
        with _shop(home, source.find(str(toy)), ways) as (shop, _):
            return shop.made_before(made.folder, type_name)

    assert known(ways) == known(Ways(calibration=text, extent=Extent(tokens=9))) == made.manifest
    assert known(ways, "Q3_K_M") is None
    for differing in (Ways(), Ways(calibration=other), Ways(calibration=text, output_type="F16"), Ways(matrix=text)):
        assert known(differing) is None
    record = made.folder / "manifest.json"
    sources = [{"kind": "file", "folder_env": "MIRROR"}]
    catalogs = {**made.manifest, "files": [{**file, "sources": sources} for file in made.manifest["files"]]}
    del catalogs["made"]
    parse(catalogs, "manifest.json")
    for content in ("{", "{}", json.dumps(catalogs), "[" * 10**5):
        record.write_text(content)
        assert known(ways) is None


@pytest.mark.slow
def test_a_source_that_was_called_otherwise_goes_on_from_what_was_made_of_it(
    toy: Path, home: Path, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    weights = renamed / "model.safetensors"
    weights.write_bytes(b"the same")

    def converted(folder: Path) -> dict[str, object]:
        shutil.copy(toy, folder / "first-name.gguf")
        return {"tools": {}, "notes": []}

    with _shop(home, Source(renamed, (weights,)), Ways()) as (shop, stages):
        stages.part("gguf", converted)  # as a run that was stopped left it
        assert shop.describe(shop.make("Q8_0"))["id"] == "renamed-q8_0"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs Linux's unshare to make a small disk")
def test_a_disk_that_is_full_at_the_last_step_does_not_cost_the_work(
    edge_quantize: Run, toy: Path, home: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    words = [str(toy), "--to", "gguf", "--type", "Q8_0", "--no-judge", "--json", "--out"]
    script = 'mount -t tmpfs -o size=100k tmpfs "$1" && shift && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(disk), sys.executable, "-m", "quantize.cli"]
    environ = {**os.environ, "EDGE_AGENT_HOME": str(home)}
    full = subprocess.run(
        [*command, *words, str(disk / "made")], env=environ, capture_output=True, text=True, check=False
    )
    if "unshare:" in full.stderr or "mount:" in full.stderr:
        pytest.skip("this system lets nobody make a file system of their own")
    assert error_of(full)["code"] == "not_enough_disk"
    (weights,) = home.rglob("*.gguf")
    kept = weights.read_bytes()
    made = made_by(edge_quantize(*words, "made"))
    (file,) = made["files"]
    assert (Path(made["folder"]) / file["path"]).read_bytes() == kept
    assert list(home.rglob("*.gguf")) == []
