"""Fixtures for the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model_files import big_models, small_models


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def models_home() -> Path:
    """A models folder with every small catalog model in it."""
    return small_models()


@pytest.fixture(scope="session")
def big_models_home() -> Path:
    """The same folder with the 1.5B model in it, too."""
    return big_models()
