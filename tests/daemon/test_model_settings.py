"""The keys of `[models]` that say how a model is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.runtimes.sizing import Wishes
from edge_agent.settings import Settings


def test_by_default_the_machine_decides(tmp_path: Path) -> None:
    models = Settings.load(tmp_path, {}).models
    assert Wishes(models.context_length, models.parallel, models.threads, models.max_waiting) == Wishes()


def test_each_can_be_set(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[models]\nthreads = 4\nmax_waiting = 0\nkeep_alive_s = -1\n")
    environ = {"EDGE_AGENT_MODELS__CONTEXT_LENGTH": "4096", "EDGE_AGENT_MODELS__PARALLEL": "2"}
    models = Settings.load(tmp_path, environ).models
    assert (models.threads, models.context_length, models.parallel, models.max_waiting) == (4, 4096, 2, 0)
    assert models.keep_alive_s == -1


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("threads = -1", "models.threads"),
        ("threads = 5000", "models.threads"),
        ("context_length = 10", "models.context_length"),
        ("context_length = -1", "models.context_length"),
        ("context_length = 100000000000", "models.context_length"),
        ("parallel = 0", "models.parallel"),
        ("parallel = 33", "models.parallel"),
        ("max_waiting = -1", "models.max_waiting"),
        ("keep_alive_s = nan", "models.keep_alive_s"),
        ("keep_alive_s = inf", "models.keep_alive_s"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(tmp_path: Path, line: str, key: str) -> None:
    (tmp_path / "config.toml").write_text(f"[models]\n{line}\n")
    with pytest.raises(InvalidRequest) as caught:
        Settings.load(tmp_path, {})
    assert caught.value.param == key
