"""A model that was made on this machine, as a person gets it: made while the daemon runs, listed, asked, removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.model_files import SMALL_LLM

pytestmark = pytest.mark.slow

MADE = "smollm2-135m-instruct-q8_0"


@pytest.fixture(scope="module")
def empty_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon without a cloud and without a model, but for a folder that is none."""
    home = tmp_path_factory.mktemp("made-here")
    (home / "models" / "junk").mkdir(parents=True)
    (home / "models" / "junk" / "manifest.json").write_text("junk")
    with daemon(home, home / "models", '[models]\nkeep_alive_s = 2\n[bridge]\nmode = "off"\n') as running:
        yield running


def _ids(running: RunningDaemon) -> set[str]:
    return {model["id"] for model in running.http.get("/v1/models").json()["data"]}


def _made_here(running: RunningDaemon) -> list[dict[str, object]]:
    listed = json.loads(running.command("models", "list", "--json").stdout)["models"]
    return [model for model in listed if model["made_here"]]


def test_it_is_there_as_soon_as_it_is_made_and_gone_when_it_is_removed(
    empty_daemon: RunningDaemon, models_home: Path
) -> None:
    assert _made_here(empty_daemon) == []
    gguf = ModelStore(models_home, Catalog.load()).file(SMALL_LLM)
    command = [sys.executable, "-m", "quantize.cli", str(gguf), "--to", "gguf", "--type", "Q8_0", "--no-judge"]
    made = subprocess.run(command, env={**os.environ, **empty_daemon.environ}, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    assert MADE.encode() in made.stdout
    (listed,) = _made_here(empty_daemon)
    assert (listed["id"], listed["installed"], listed["licence"]) == (MADE, True, "Apache-2.0")
    assert MADE in _ids(empty_daemon)
    for model in (MADE, "local"):  # nothing else is installed, so that `local` means it, too
        answer = empty_daemon.chat("What is the capital of France? One word.", model=model, temperature=0).json()
        assert "Paris" in answer["choices"][0]["message"]["content"]
        assert answer["edge"]["model"] == MADE
    assert "all as they should be" in empty_daemon.command("models", "verify", MADE).stdout
    while (removed := empty_daemon.command("models", "rm", MADE)).returncode != 0:  # while it is loaded
        assert "is in use by" in removed.stderr
    assert MADE not in _ids(empty_daemon)
    assert empty_daemon.chat("Hello", model=MADE).status_code == 404


def test_a_damaged_one_is_reported_and_hinders_nothing(empty_daemon: RunningDaemon) -> None:
    for words in (("models", "list"), ("doctor",)):
        told = empty_daemon.command(*words)
        assert "junk" in told.stdout + told.stderr
        assert "edge-agent models rm junk" in " ".join((told.stdout + told.stderr).split())
    assert "junk" not in _ids(empty_daemon)
    assert empty_daemon.chat("Hello", model="junk").status_code == 404


def test_a_daemon_starts_though_its_configured_model_is_damaged(empty_daemon: RunningDaemon, tmp_path: Path) -> None:
    config = '[models]\ndefault = "junk"\n[bridge]\nmode = "off"\n'
    with daemon(tmp_path, empty_daemon.home / "models", config) as running:
        assert running.http.get("/healthz").status_code == 200
        assert "junk" not in _ids(running)
        assert running.chat("Hello", model="local").status_code >= 400
