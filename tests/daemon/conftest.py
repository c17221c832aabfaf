"""Daemons for the tests: one that never escalates, and one in front of a recording upstream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.running_daemon import RunningDaemon, daemon

LOCAL = """
[models]
default = "smollm2-135m-instruct-q4_1"
[bridge]
mode = "off"
"""


@pytest.fixture(scope="session")
def local_daemon(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon with SmolLM2 that has no cloud."""
    with daemon(tmp_path_factory.mktemp("local"), models_home, LOCAL) as running:
        yield running
