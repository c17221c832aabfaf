"""`edge-quantize` with several types: each judged, the best that fits installed, a stopped run taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from quantize_command import Run, error_of, made_by

from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore
from quantize.calibration import BUNDLED_TEXT

pytestmark = pytest.mark.slow

TYPES = ("--type", "Q8_0", "--type", "Q6_K")


def test_under_each_of_three_budgets_the_truest_that_fits_is_installed(
    edge_quantize: Run, smollm2: Path, home: Path
) -> None:
    first = made_by(edge_quantize(smollm2, "--to", "gguf", *TYPES, "--quick", "--ram-budget", "4000", "--json"))
    tried = {one["type"]: one for one in first["comparison"]["candidates"]}
    assert set(tried) == {"Q8_0", "Q6_K"}
    assert tried["Q8_0"]["kl_divergence"] < tried["Q6_K"]["kl_divergence"]
    assert tried["Q8_0"]["needs_mb"] > tried["Q6_K"]["needs_mb"]
    assert first["comparison"]["chosen"] == first["quantization"] == "Q8_0"
    assert first["made"]["measured"]["top1_agreement"] > 0.9
    assert "Q8_0 (chosen)" in Path(first["picture"]).read_text("utf-8")

    between = (tried["Q8_0"]["needs_mb"] + tried["Q6_K"]["needs_mb"]) / 2
    second = made_by(edge_quantize(smollm2, "--to", "gguf", *TYPES, "--quick", "--ram-budget", str(between), "--json"))
    assert second["comparison"]["chosen"] == second["quantization"] == "Q6_K"
    # What was measured is not measured again: the figures are the very same.
    again = {one["type"]: one for one in second["comparison"]["candidates"]}
    assert again["Q8_0"]["kl_divergence_error"] == tried["Q8_0"]["kl_divergence_error"]
    assert again["Q8_0"]["prompt_tokens_per_s"] == tried["Q8_0"]["prompt_tokens_per_s"]

    third = edge_quantize(smollm2, "--to", "gguf", *TYPES, "--quick", "--ram-budget", "20", "--json")
    assert error_of(third)["code"] == "nothing_fits"
    assert "Q6_K" in error_of(third)["message"]

    installed = {entry.id for entry in ModelStore(home / "models", Catalog.load()).installed_llms()}
    assert installed == {first["id"], second["id"]}
    assert {entry.name for entry in (home / "models").iterdir() if not entry.name.startswith(".")} == installed


def test_a_stopped_run_is_taken_up_where_it_was(smollm2: Path, home: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text(BUNDLED_TEXT.read_text("utf-8")[:5000], "utf-8")  # of the whole, the matrix takes minutes
    command = [sys.executable, "-m", "quantize.cli", str(smollm2), "--to", "gguf", "--type", "Q3_K_S", "--no-judge"]
    command += ["--calibration", str(text), "--json"]
    environ = {**os.environ, "EDGE_AGENT_HOME": str(home)}
    parts = home / "quantize" / "work"
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 300
        while not list(parts.glob("*/importance-*/facts.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert not (home / "models").exists() or not list((home / "models").iterdir())
    (matrix,) = parts.glob("*/importance-*/imatrix.gguf")
    written = matrix.stat().st_mtime_ns

    seen = set()
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as going_on:
        while going_on.poll() is None:
            with suppress(FileNotFoundError):  # it goes when all is done
                seen.add(matrix.stat().st_mtime_ns)
            time.sleep(0.02)
        said, errors = going_on.communicate()
    assert going_on.returncode == 0, errors
    assert seen == {written}
    assert json.loads(said)["quantization"] == "Q3_K_S"
    assert not list(parts.glob("*/*-*")), "what is no longer needed stays on the disk"
