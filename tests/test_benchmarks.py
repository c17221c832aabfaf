"""The benchmarks run, on a small model and for one round; what they measure here says nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_the_benchmarks_run_to_their_figures() -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--json"]
    done = subprocess.run(
        [*command, "--only", "generate", "--only", "remember"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, second_turn = json.loads(done.stdout)
    assert "llama_cpp.Llama" in one["is_baseline"]
    assert one["ratio"] > 0
    assert 0 < second_turn["ratio"] < 1
