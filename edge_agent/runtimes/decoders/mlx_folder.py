"""Is a folder a model that MLX may read? Asked before MLX opens any of its files, since native code trusts them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.runtimes.decoders.hf_files import HINT, missing, object_of, unreadable

CONFIG_FILE = "config.json"
INDEX_FILE = "model.safetensors.index.json"
WEIGHTS = "model*.safetensors"
"""Every such file of the folder is read by mlx-lm, whatever the index says."""

_ARCHITECTURE = re.compile(r"[A-Za-z0-9_-]+")
_LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
_MAX_LAYERS = 1024


def check(path: Path) -> dict[str, Any]:
    """The model's config, where `path`, its main file of weights, and all that belongs to it can be trusted.

    Raises Broken code "model_file_missing", "model_truncated" or "model_unreadable": no config, one that brings code
    of its own or has more layers than any model; weights outside the folder; weights that lie about their sizes.
    """
    folder = path.parent
    config = _config(folder / CONFIG_FILE)
    weights = sorted(folder.glob(WEIGHTS))
    if path not in weights:
        raise missing(path)
    for name in _indexed(folder / INDEX_FILE):
        if Path(name).name != name or not (folder / name).is_file():
            raise unreadable(folder / INDEX_FILE, "names weights outside its own folder, or weights that are missing")
    for file in weights:
        _check_weights(file)
    return config


def context_length(config: dict[str, Any]) -> int | None:
    """How many tokens the model was trained to read, if its config says so."""
    for part in _parts(config):
        length = part.get("max_position_embeddings")
        if isinstance(length, int) and length > 0:
            return length
    return None


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise missing(path)
    config = object_of(path)
    for part in _parts(config):
        if part.get("model_file") is not None:
            raise unreadable(path, "asks for a program of the model's own to be run, which is not done")
        layers = [part.get(key) for key in _LAYERS]
        if any(isinstance(count, int) and count > _MAX_LAYERS for count in layers):
            raise unreadable(path, f"speaks of more than {_MAX_LAYERS} layers")
        architecture = part.get("model_type")
        if architecture is not None and not _is_architecture(architecture):
            raise unreadable(path, "names no architecture")
    if config.get("model_type") is None:
        raise unreadable(path, "names no architecture")
    return config


def _is_architecture(name: Any) -> bool:
    # It becomes a part of the name of a module to import.
    return isinstance(name, str) and _ARCHITECTURE.fullmatch(name) is not None


def _parts(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The config, and the language model's own where other parts stand beside it."""
    yield config
    inner = config.get("text_config")
    if isinstance(inner, dict):
        yield inner


def _indexed(path: Path) -> list[str]:
    names = object_of(path).get("weight_map", {})
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise unreadable(path, "is no index of weights")
    return sorted(set(names.values()))


def _check_weights(path: Path) -> None:
    """The safetensors library checks that the header's places cover the file exactly, and each fits its shape."""
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
