"""Whether the weights of a folder are whole and sane, by their headers alone, before any long work."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloud_bridge.protocol.problems import Broken, NotAllowed
from edge_agent.models.formats.safetensors_header import StoredTensor, safetensors_header
from edge_agent.models.manifest import plain
from edge_agent.models.names import check_relative

INDEX = "model.safetensors.index.json"

_MOST_INDEX_BYTES = 64 * 2**20
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")
HINT = "Fetch the source again and compare its sha256."


def read_all(folder: Path) -> Mapping[Path, Mapping[str, StoredTensor]]:
    """The tensors of each file of weights: those that the folder's index names, or all where it has none.

    Raises what `safetensors_header` raises, Broken code "model_file_missing" where a shard is not there or lacks a
    tensor that the index puts into it, and NotAllowed code "unsafe_path" where the index names a file elsewhere.
    """
    index = _index(folder)
    found = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if index is None:
        _check_shards(found)
        return {path: safetensors_header(path, HINT) for path in found}
    tensors: dict[Path, Mapping[str, StoredTensor]] = {}
    for name in sorted(set(index.values())):
        path = folder / name
        if not path.is_file():
            raise _broken(path, "model_file_missing", f"is missing, and {INDEX} names it")
        tensors[path] = safetensors_header(path, HINT)
    for tensor, name in index.items():
        if tensor not in tensors[folder / name]:
            raise _broken(folder / name, "model_file_missing", f"lacks a tensor that {INDEX} puts into it")
    return tensors


def _index(folder: Path) -> Mapping[str, str] | None:
    """The file of each tensor, as the index says."""
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MOST_INDEX_BYTES:
            raise ValueError  # noqa: TRY301  # one place says it
        found: Mapping[str, str] = json.loads(path.read_bytes())["weight_map"]
        if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
            raise ValueError  # noqa: TRY301
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise _broken(path, "model_unreadable", "cannot be read as an index of weights") from error
    for name in set(found.values()):
        _check_name(path, name)
    return found


def _check_name(index: Path, name: str) -> None:
    try:
        check_relative(name)
        if "/" in name or not name.endswith(".safetensors"):
            raise ValueError  # noqa: TRY301  # one place says it
    except ValueError as error:
        raise NotAllowed(
            f"{index.name} names a file that is not safetensors beside it: {plain(name, 100)}.",
            code="unsafe_path",
            hint="A model's weights lie in its own folder. Take this model from elsewhere.",
        ) from error


def _check_shards(found: Sequence[Path]) -> None:
    """Files named 00001-of-00003 say how many there are, even without an index."""
    for path in found:
        if (shard := _SHARD.fullmatch(path.name)) is None:
            continue
        for n in range(1, int(shard[3]) + 1):
            other = path.with_name(f"{shard[1]}-{n:05}-of-{shard[3]}.safetensors")
            if other not in found:
                raise _broken(other, "model_file_missing", f"is missing, and {path.name} says it exists")


def _broken(path: Path, code: str, what: str) -> Broken:
    return Broken(f"{plain(path.name)} {what}.", code=code, hint=HINT)
