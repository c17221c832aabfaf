"""The `models` commands, as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound
from edge_agent.cli.models import app

SPACY = "spacy-en-core-web-sm"


def _run(home: Path, *arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"EDGE_AGENT_HOME": str(home), **environ})


def test_list_pull_verify_and_rm(models_home: Path, tmp_path: Path) -> None:
    listed = json.loads(_run(tmp_path, "list", "--json").stdout)["models"]
    assert {model["id"]: model["installed"] for model in listed}[SPACY] is False
    mirror = {"EDGE_AGENT_MIRROR": str(models_home)}
    pulled = json.loads(_run(tmp_path, "pull", SPACY, "--json", **mirror).stdout)["pulled"]
    assert pulled[0]["path"] == str(tmp_path / "models" / SPACY)
    assert "installed" in _run(tmp_path, "list").stdout
    (verified,) = [
        one for one in json.loads(_run(tmp_path, "verify", "--json").stdout)["verified"] if one["id"] == SPACY
    ]
    assert verified["files"] > 20
    assert "all as they should be" in _run(tmp_path, "verify", SPACY).stdout
    assert json.loads(_run(tmp_path, "rm", SPACY, "--json").stdout)["freed"] > 10_000_000


def test_default_pulls_what_fits_and_what_privacy_needs(models_home: Path, tmp_path: Path) -> None:
    result = _run(
        tmp_path, "pull", "--default", "--json",
        EDGE_AGENT_MIRROR=str(models_home), EDGE_AGENT_MODELS__RAM_BUDGET_MB="400",
        EDGE_AGENT_PRIVACY__MODELS="edge-pii-int8,rampart-pii-q4",
    )  # fmt: skip
    ids = [one["id"] for one in json.loads(result.stdout)["pulled"]]
    assert ids == ["smollm2-135m-instruct-q4_1", "rampart-pii-q4"]


def test_problems_say_what_to_do(models_home: Path, tmp_path: Path) -> None:
    assert isinstance(_run(tmp_path, "pull").exception, InvalidRequest)
    assert isinstance(_run(tmp_path, "pull", "x", "--default").exception, InvalidRequest)
    assert isinstance(_run(tmp_path, "pull", "../../etc").exception, NotFound)
    assert isinstance(_run(tmp_path, "rm", SPACY).exception, NotFound)
    shutil.copytree(models_home / SPACY, tmp_path / "models" / SPACY)
    with (tmp_path / "models" / SPACY / "ner" / "model").open("r+b") as opened:
        opened.write(b"?")
    broken = _run(tmp_path, "verify", SPACY)
    assert broken.exit_code != 0
    assert isinstance(broken.exception, Broken)
    assert "ner/model" in str(broken.exception)
    assert f"edge-agent models pull {SPACY}" in str(broken.exception)


@pytest.mark.parametrize("command", ["list", "pull", "rm", "verify"])
def test_every_command_has_json(command: str, tmp_path: Path) -> None:
    assert "--json" in _run(tmp_path, command, "--help").stdout
