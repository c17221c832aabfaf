"""The command as its users run it, and the models it is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from quantize_command import Run

from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore


@pytest.fixture
def edge_quantize(tmp_path: Path) -> Run:
    """Run `edge-quantize` with these arguments in an empty folder."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "quantize.cli", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def smollm2(models_home: Path) -> Path:
    """SmolLM2-135M, a GGUF of type Q4_1."""
    return ModelStore(models_home, Catalog.load()).file("smollm2-135m-instruct-q4_1")
