"""What `edge-agent status` and `edge-agent doctor` say of calibrations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.cli.client import DaemonClient
from edge_agent.cli.main import build
from edge_agent.routing.calibration.store import NAME
from tests.daemon.running_daemon import daemon

ONE = {"model": "smol", "task": "classify", "target_error": 0.05, "threshold": 0.7, "state": "holds", "evidence": 1.0}


class Answering:
    """Stands in for the client of a daemon."""

    def __init__(self, promise: dict[str, object]) -> None:
        self._promise = promise

    def get(self, _path: str) -> dict[str, object]:
        return {"pid": 7, "promise": self._promise}


@pytest.mark.parametrize(
    ("promise", "shown"),
    [
        ({"state": "holds", "problem": None, "calibrations": [ONE]}, "smol (classify): at most 5% wrong, holds"),
        ({"state": "unknown", "problem": None, "calibrations": []}, "none: nothing is calibrated"),
        ({"state": "unknown", "problem": "It is damaged.", "calibrations": []}, "It is damaged."),
    ],
)
def test_the_promise_is_told_in_a_few_words(
    monkeypatch: pytest.MonkeyPatch, promise: dict[str, object], shown: str
) -> None:
    monkeypatch.setattr(DaemonClient, "from_home", lambda _home: Answering(promise))
    said = CliRunner().invoke(build(("status",)), ["status"], env={"COLUMNS": "200"}).stdout
    assert shown in " ".join(said.split())
    assert "evidence" not in said


@pytest.mark.slow
def test_a_default_model_that_is_not_there_is_no_model(models_home: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with daemon(tmp_path, models_home, '[models]\ndefault = "smollm2-135m-instruct-q4_1"\n') as running:
        ready = running.http.get("/readyz")
        assert (ready.status_code, ready.json()["parts"]["model"]) == (503, False)
        status = running.http.get("/edge/v1/status").json()
        assert (status["ready"], status["lacks"]) == (False, ["model"])


def test_a_bad_setting_does_not_keep_the_doctor_from_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text("[server]\nport = 'much'\n")
    (tmp_path / NAME).write_text("{")
    found = CliRunner().invoke(build(("doctor",)), ["doctor", "--json"])
    assert found.exit_code == 1
    findings = {each["what"]: each for each in json.loads(found.stdout)["findings"]}
    assert "server.port" in findings["settings"]["detail"]
    assert findings["calibration"]["verdict"] == "bad"
    assert findings["the rest"]["verdict"] == "note"
    assert {"language models", "token", "daemon", "llama.cpp"} <= findings.keys()
    assert "your intents" not in findings, "nobody knows which those are"


def test_a_damaged_calibration_is_found_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AGENT_HOME", str(tmp_path))
    (tmp_path / NAME).write_text("{")
    found = CliRunner().invoke(build(("doctor",)), ["doctor"], env={"COLUMNS": "400"})
    assert found.exit_code == 1
    assert f"{NAME} is damaged" in found.stdout
    assert "edge-agent calibrate" in found.stdout
