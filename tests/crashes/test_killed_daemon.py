"""SIGKILL in a busy life. 150 times, also with a bridge that lives on: python -m tests.crashes.killed_daemon."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.crashes.killed_daemon import kill_daemons

pytestmark = pytest.mark.slow
KILLS = 3


def test_nothing_told_is_lost_and_nothing_is_sent_twice(models_home: Path, tmp_path: Path) -> None:
    report = kill_daemons(tmp_path, KILLS, Random(3), bridge="embedded", light=True)  # noqa: S311 - moments, not secrets
    assert report.wrong == []
    assert report.kills == KILLS
    assert report.answers > KILLS
    assert report.provider_calls > KILLS
