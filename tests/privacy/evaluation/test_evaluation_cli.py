"""`edge-agent privacy eval`, as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.cli import privacy_eval
from edge_agent.privacy.evaluation.figure import Figure

pytestmark = pytest.mark.slow

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


def test_missing_data_and_unknown_parts_are_told_before_anything_is_measured(home: Path, tmp_path: Path):
    (tmp_path / "data").mkdir()
    missing = evaluate(home, "--data", str(tmp_path / "data"))
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: ")
    assert "tab_gold_dev.jsonl" in missing.stderr
    with pytest.raises(InvalidRequest, match="tabs") as raised:
        privacy_eval.evaluate(DATA, only=["wl1", "tabs"])
    assert "presidio_research" in (raised.value.hint or "")
