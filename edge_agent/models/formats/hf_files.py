"""The small files of a model in Hugging Face form. They may come from anywhere, so they are bounded and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.damage import CHECK_HINT

HINT = CHECK_HINT
MAX_SMALL_BYTES = 16 * 1024 * 1024


def text_of(path: Path, most: int = MAX_SMALL_BYTES) -> str | None:
    """The file's text, None where there is no such file. Raises Broken code "model_unreadable"."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise unreadable(path, f"is larger than {most // 2**20} MB")
        return data.decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, "cannot be read") from error


def object_of(path: Path) -> dict[str, Any]:
    """The file's JSON object, empty where there is no such file. Raises Broken code "model_unreadable"."""
    source = text_of(path)
    return {} if source is None else parsed(path, source)


def parsed(path: Path, source: str) -> dict[str, Any]:
    """The JSON object that `source`, the text of `path`, spells. Raises Broken code "model_unreadable"."""
    try:
        found = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise unreadable(path, "is not valid JSON") from error
    if not isinstance(found, dict):
        raise unreadable(path, "holds no JSON object")
    return found


def missing(path: Path) -> Broken:
    """A file that a model needs is not there."""
    return Broken(f"The model's file {path.name} is missing.", code="model_file_missing", hint=HINT)


def unreadable(path: Path, what: str) -> Broken:
    """A file is there and of no use."""
    return Broken(f"The model's file {path.name} {what}.", code="model_unreadable", hint=HINT)
