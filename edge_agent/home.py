"""Where all state lives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs


def home_from(environ: Mapping[str, str]) -> Path:
    """`$EDGE_AGENT_HOME`, or the platform's user data folder."""
    chosen = environ.get("EDGE_AGENT_HOME")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("edge-agent", appauthor=False))


def current_home() -> Path:
    """`home_from` this process's environment."""
    return home_from(os.environ)


def device_key_path(home: Path) -> Path:
    """Where the key is that the device signs with."""
    return home / "keys" / "device.key"
