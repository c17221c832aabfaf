"""A crowd of clients for a short while. For longer: python -m tests.daemon.soak --seconds 120 --clients 64."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.conftest import LOCAL
from tests.daemon.running_daemon import daemon
from tests.daemon.soak import soak

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


CLIENTS = 96
"""More than may be answered and may wait, so that some are told to come again."""


async def test_a_crowd_loses_no_request_mixes_no_answers_and_leaves_nothing_behind(
    models_home: Path, tmp_path: Path
) -> None:
    with daemon(tmp_path / "home", models_home, LOCAL) as running:
        report = await soak(running, clients=CLIENTS, seconds=20)
    assert report.wrong == []
    assert report.outcomes["number"] >= CLIENTS / 4
    assert report.outcomes["leaves"]
    assert report.refused
