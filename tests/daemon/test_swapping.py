"""Models that take turns. For longer: python -m tests.daemon.swapping --requests 200 --every 10."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.running_daemon import daemon
from tests.daemon.swapping import config_for, swap, two_models

pytestmark = pytest.mark.slow


def test_models_that_take_turns_leave_no_memory_and_no_process_behind(models_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    ids = two_models(home)
    with daemon(home, home / "models", config_for(home, ids)) as running:
        report = swap(running, ids, requests=48, every=8)
    assert report.wrong == []
    assert report.swaps == 5
