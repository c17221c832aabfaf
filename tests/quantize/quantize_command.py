"""What `edge-quantize --json` prints."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def made_by(finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The manifest that `--json` printed."""
    assert finished.returncode == 0, finished.stderr
    manifest: dict[str, Any] = json.loads(finished.stdout)
    return manifest


def error_of(finished: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The error that `--json` printed."""
    assert finished.returncode == 1, finished.stdout
    error: dict[str, str] = json.loads(finished.stderr)["error"]
    assert error["hint"]
    return error
