"""A small trained head on disk: `manifest.json` says what it is and how it was made, `head.npz` holds its arrays."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.problems import Broken

MANIFEST = "manifest.json"
ARRAYS = "head.npz"
_HINT = "Install edge-agent again; the heads come with it."

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """`parameters` are the manifest's: what running needs besides the arrays."""

    parameters: Mapping[str, Any]
    arrays: Mapping[str, Floats]
    manifest: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Head:
        """Read a head. Raises Broken code "model_file_missing" or "model_unreadable"."""
        try:
            manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
            # numpy leaves a file open that it opened itself and cannot read.
            with (folder / ARRAYS).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name].astype(np.float32) for name in stored.files}
            return cls(manifest["parameters"], arrays, manifest)
        except FileNotFoundError as error:
            raise Broken(
                f"The trained head {folder.name} is missing.", code="model_file_missing", hint=_HINT
            ) from error
        except (OSError, ValueError, LookupError, TypeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise unreadable(folder.name) from error


def unreadable(name: str) -> Broken:
    """A head whose files are there, and are not what they should be."""
    return Broken(f"The trained head {name} cannot be read.", code="model_unreadable", hint=_HINT)
