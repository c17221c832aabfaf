"""`edge-agent privacy eval`, as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import InvalidRequest, NotFound
from edge_agent.cli import privacy_eval, privacy_figures
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.evaluation.figure import Figure

DATA = Path(__file__).parent / "data"


def evaluate(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_agent.cli.main", "privacy", "eval", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "EDGE_AGENT_HOME": str(home)},
    )


@pytest.fixture
def home(tmp_path: Path, models_home: Path) -> Path:
    (tmp_path / "models").symlink_to(models_home)
    return tmp_path


@pytest.mark.slow
def test_figures_of_the_parts_asked_for(home: Path):
    asked = ("--only", "wl3", "--only", "wl1", "--only", "payloads", "--payloads", "3", "--no-stock")
    done = evaluate(home, "--data", str(DATA), *asked, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    parts = list(dict.fromkeys(figure["data"] for figure in figures))
    assert parts == [
        *("llm_redactor wl1, 5 prompts", "llm_redactor wl3, 2 prompts", "llm_redactor wl1", "generated payloads"),
    ]
    assert figures[0]["target"] == 0.02
    assert figures[0]["reached"] in {True, False}
    assert "Thornbury" not in done.stdout


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]):
    figures = [
        Figure("TAB dev", "mention recall", 0.91, 0.64, "stock Presidio", 0.9),
        Figure("speed", "cold", 1.5, unit="s"),
    ]
    privacy_eval._show(figures, as_json=False)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["data", "what", "ours", "stock", "or", "published", "target", "reached"]
    assert " ".join(rows[0].split()) == "TAB dev mention recall 0.910 0.640 stock Presidio at least 0.900 yes"
    assert rows[1].split() == ["speed", "cold", "1.5", "s"]


@pytest.mark.slow
def test_missing_data_and_unknown_parts_are_told_before_anything_is_measured(home: Path, tmp_path: Path):
    (tmp_path / "data").mkdir()
    missing = evaluate(home, "--data", str(tmp_path / "data"))
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: ")
    assert "tab_gold_dev.jsonl" in missing.stderr
    with pytest.raises(InvalidRequest, match="tabs") as raised:
        privacy_eval.evaluate(DATA, only=["wl1", "tabs"])
    assert "presidio_research" in (raised.value.hint or "")


@pytest.mark.slow
def test_what_is_generated_needs_no_data(home: Path):
    done = evaluate(home, "--only", "payloads", "--payloads", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert {figure["data"] for figure in json.loads(done.stdout)} == {"generated payloads"}


def test_a_part_that_reads_data_asks_for_them():
    with pytest.raises(InvalidRequest, match="wl1") as raised:
        privacy_eval.evaluate(only=["wl1", "payloads"])
    assert raised.value.param == "data"
    assert "--data" in (raised.value.hint or "")


def trained(home: Path, models: str, fold: Path) -> Detector:
    (fold / privacy_figures.MODEL_FILE).touch()
    asked = privacy_figures.Asked(DATA, ("tab",), 1, 1, None, 1, stock=False, folds=fold.parent)
    run = privacy_figures._Run(home, {"EDGE_AGENT_PRIVACY__MODELS": models}, asked, lambda items, _: items)
    return run._trained(fold)


def test_a_fold_stands_for_the_model_that_it_is_of_and_no_other(tmp_path: Path):
    (fold := tmp_path / "fold-1").mkdir()
    detector = trained(tmp_path, "edge-pii-int8,rampart-int8", fold)
    assert detector._folder_of("edge-pii-int8") == fold
    with pytest.raises(NotFound, match="rampart-int8"):
        detector._folder_of("rampart-int8")
    with pytest.raises(InvalidRequest, match="edge-pii-int8"):
        trained(tmp_path, "rampart-int8", fold)
