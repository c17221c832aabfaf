"""The command as its users run it, and the models it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from quantize_command import Run

from edge_agent.models.catalog import Catalog
from edge_agent.models.progress import SILENT
from edge_agent.models.store import ModelStore
from quantize.calibration import BUNDLED_TEXT
from quantize.gguf import importance


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home into whose models folder the command installs what it makes."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def edge_quantize(tmp_path: Path, home: Path) -> Run:
    """Run `edge-quantize` with these arguments in an empty folder."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "quantize.cli", *map(str, arguments)]
        environ = {**os.environ, "EDGE_AGENT_HOME": str(home)}
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def smollm2(models_home: Path) -> Path:
    """SmolLM2-135M, a GGUF of type Q4_1."""
    return ModelStore(models_home, Catalog.load()).file("smollm2-135m-instruct-q4_1")


@pytest.fixture(scope="session")
def small_matrix(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2's importance matrix from a tenth of the bundled text: in seconds, and nearly as good."""
    folder = tmp_path_factory.mktemp("matrix")
    text = folder / "text.txt"
    text.write_text(BUNDLED_TEXT.read_text("utf-8")[:5200], "utf-8")
    importance.compute(smollm2, folder / "imatrix.gguf", SILENT, text)
    return folder / "imatrix.gguf"
