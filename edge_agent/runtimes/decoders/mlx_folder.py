"""Is a folder a model that MLX may read? Asked before MLX opens any of its files, since native code trusts them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.formats.hf_config import HfConfig
from edge_agent.models.formats.hf_files import HINT, missing, object_of, unreadable
from edge_agent.models.formats.hf_folder import safetensors_files

INDEX_FILE = "model.safetensors.index.json"

_ARCHITECTURE = re.compile(r"[A-Za-z0-9_-]+")


def check(path: Path) -> HfConfig:
    """The model's config, where `path`, its main file of weights, and all that belongs to it can be trusted.

    Raises Broken code "model_file_missing", "model_truncated" or "model_unreadable": no config, one that brings code
    of its own or has senseless dimensions; weights outside the folder; weights that lie about their sizes.
    """
    folder = path.parent
    config = HfConfig.read(folder)
    _check_architecture(config)
    weights = safetensors_files(folder)
    if path not in weights:
        raise missing(path)
    for name in _indexed(folder / INDEX_FILE):
        if Path(name).name != name or not (folder / name).is_file():
            raise unreadable(folder / INDEX_FILE, "names weights outside its own folder, or weights that are missing")
    for file in weights:
        check_weights(file)
    return config


def architecture(config: HfConfig) -> str:
    """The name that mlx-lm chooses its program by, as `check` has found it."""
    return str(config.parts[0].get("model_type"))


def _check_architecture(config: HfConfig) -> None:
    for part in config.parts:
        if part.get("model_file") is not None:
            raise unreadable(config.path, "asks for a program of the model's own to be run, which is not done")
        name = part.get("model_type")
        if name is not None and not _is_architecture(name):
            raise unreadable(config.path, "names no architecture")
    if config.parts[0].get("model_type") is None:
        raise unreadable(config.path, "names no architecture")


def _is_architecture(name: Any) -> bool:
    # It becomes a part of the name of a module to import.
    return isinstance(name, str) and _ARCHITECTURE.fullmatch(name) is not None


def _indexed(path: Path) -> list[str]:
    names = object_of(path).get("weight_map", {})
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise unreadable(path, "is no index of weights")
    return sorted(set(names.values()))


def check_weights(path: Path) -> None:
    """Raises Broken where MLX may not read this file: code "model_truncated" | "model_unreadable".

    The safetensors library checks that the header's places cover the file exactly, and each fits its shape.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415  # comes with the mlx extra

    if path.resolve().parent != path.parent.resolve() or not path.is_file():
        raise unreadable(path, "is a link that leads out of its folder, or no file")
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        if "incomplete metadata" in str(error) or "header too small" in str(error):
            raise Broken(
                f"The model's file {path.name} is cut short, or its header lies about its size.",
                code="model_truncated",
                hint=HINT,
            ) from error
        raise unreadable(path, "is damaged") from error
    except OSError as error:
        raise unreadable(path, "cannot be read") from error
