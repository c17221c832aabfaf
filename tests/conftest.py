"""Fixtures for the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import Unavailable
from tests import model_files

# Nothing that is tested, in this process or another, writes into the keyring of whoever runs the tests.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def models_home() -> Path:
    """A models folder with every small catalog model in it."""
    return model_files.small_models()


@pytest.fixture(scope="session")
def big_models_home() -> Path:
    """The same folder with the 1.5B model in it, too."""
    return model_files.big_models()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that wants the converted models waits until they are made: minutes, once."""
    for item in items:
        if "converted_models" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def converted_models() -> Path:
    """A models folder with SmolLM2 as GGUF, ONNX and, where mlx-lm is installed, MLX."""
    try:
        return model_files.converted_models()
    except Unavailable as problem:
        if problem.code != "export_environment_failed":
            raise
        pytest.skip(f"no torch for this Python here: {problem.message}")
