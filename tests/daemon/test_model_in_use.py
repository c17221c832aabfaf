"""`models rm` and `pull` beside a daemon that has the model loaded, and what a client is told of a damaged one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.model_files import SMALL_LLM, SMALL_MODELS

pytestmark = pytest.mark.slow

CONFIG = 'bridge.mode = "off"\nprivacy.models = ["edge-pii-int8", "rampart-pii-q4"]\n'


@pytest.fixture(scope="module")
def own_models(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon with copies of the small models, which a test may spoil, and a mirror that mends them."""
    place = tmp_path_factory.mktemp("in-use")
    for model_id in SMALL_MODELS:
        shutil.copytree(models_home / model_id, place / "models" / model_id)
    mirror = {"EDGE_AGENT_MIRROR": str(models_home)}
    with daemon(place / "home", place / "models", CONFIG, **mirror) as running:
        yield running


def _gguf(running: RunningDaemon) -> Path:
    return next((running.home / "models" / SMALL_LLM).glob("*.gguf"))


def test_a_damaged_model_is_told_with_what_to_do(own_models: RunningDaemon) -> None:
    with _gguf(own_models).open("r+b") as opened:
        opened.seek(24)
        opened.write(b"\xff" * 64)
    for model in (SMALL_LLM, "local"):
        answer = own_models.chat("Hi", model=model)
        assert answer.status_code == 500
        assert "edge-agent models verify" in answer.json()["error"]["message"]
    listed = own_models.command("models", "list")
    assert "damaged" in listed.stdout
    for told in (listed.stderr, own_models.command("models", "verify", SMALL_LLM).stderr):
        assert f"edge-agent models pull {SMALL_LLM}" in told
    assert own_models.command("models", "pull", SMALL_LLM).returncode == 0
    assert own_models.chat("Hi", model=SMALL_LLM).status_code == 200


def test_what_is_loaded_can_be_mended_and_not_removed(own_models: RunningDaemon) -> None:
    assert own_models.process is not None
    assert own_models.chat("Hi", model=SMALL_LLM).status_code == 200
    with _gguf(own_models).open("r+b") as opened:
        opened.write(b"JUNK")
    # What is loaded keeps the file that it has; the next load takes the new one.
    assert own_models.command("models", "pull", SMALL_LLM).returncode == 0
    assert own_models.chat("Hi", model=SMALL_LLM).status_code == 200
    refused = own_models.command("models", "rm", SMALL_LLM)
    assert refused.returncode == 1
    assert f"in use by process {own_models.process.pid}." in refused.stderr
    assert own_models.chat("Hi", model=SMALL_LLM).status_code == 200


def test_the_models_for_privacy_are_in_use_from_the_first_text_on(own_models: RunningDaemon) -> None:
    found = own_models.http.post("/edge/v1/anonymize", json={"text": "Angela Merkel lives in Berlin."})
    assert found.status_code == 200
    assert "is in use by process" in own_models.command("models", "rm", "rampart-pii-q4").stderr


def test_a_killed_daemon_uses_nothing(own_models: RunningDaemon) -> None:
    assert own_models.process is not None
    own_models.process.kill()
    own_models.process.wait()
    for model_id in ("rampart-pii-q4", SMALL_LLM):
        assert own_models.command("models", "rm", model_id).returncode == 0
