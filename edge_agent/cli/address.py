"""Where a running daemon writes its URL, since `--port` may differ from the configuration."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit


def address_file(home: Path) -> Path:
    """The file: JSON with `url` and `pid`, there as long as the daemon listens."""
    return home / "daemon.json"


def write_address(home: Path, url: str) -> None:
    """Say that this process serves `url`."""
    address_file(home).write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")


def read_address(home: Path) -> str | None:
    """The URL of the home's daemon, or None where none has written a sound one."""
    try:
        url = str(json.loads(address_file(home).read_text(encoding="utf-8"))["url"])
        address = urlsplit(url)
        return url if address.hostname and address.port else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
