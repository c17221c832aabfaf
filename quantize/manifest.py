"""manifest.json: what was made, from what, by which command."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from quantize.source import Source, sha256

MANIFEST = "manifest.json"
SCHEMA = 1

_CARD_LICENCE = re.compile(r"^license:\s*['\"]?([\w.+-]+)", re.MULTILINE)
_SPDX = {"apache-2.0": "Apache-2.0", "mit": "MIT", "cc-by-4.0": "CC-BY-4.0", "bsd-3-clause": "BSD-3-Clause"}


@dataclass(frozen=True, slots=True)
class Made:
    """What a conversion says of its result.

    `kind` as in the catalog; `tools` with their versions; `licence` where the weights themselves name one.
    """

    kind: str
    format: str
    quantization: str
    tools: Mapping[str, str]
    context_length: int | None = None
    parameters: int | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()


def write(folder: Path, source: Source, made: Made) -> dict[str, Any]:
    """Describe the files of `folder` in its manifest.json, and return what was written."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "schema": SCHEMA,
        "id": artifact_id(source, made.quantization),
        "kind": made.kind,
        "format": made.format,
        "quantization": made.quantization,
        "parameters": made.parameters,
        "context_length": made.context_length,
        "licence": licence_of(source) or spdx(made.licence),
        "files": [
            {"path": path.relative_to(folder).as_posix(), "sha256": sha256(path), "size": path.stat().st_size}
            for path in paths
        ],
        "source": source.described(),
        "command": shlex.join(["edge-quantize", source.path.name, "--to", made.format, "--type", made.quantization]),
        "tools": dict(made.tools),
        "notes": list(made.notes),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return manifest


def artifact_id(source: Source, quantization: str) -> str:
    """`smollm2-135m-instruct-q4_k_m`."""
    return f"{source.name}-{quantization.lower()}"


def spdx(licence: str | None) -> str | None:
    """The licence's name as SPDX writes it."""
    return _SPDX.get(licence.lower(), licence) if licence else None


def licence_of(source: Source) -> str | None:
    """The licence that lies beside the weights: in a manifest.json of ours, else in the model card."""
    folder = source.path.parent if source.is_gguf else source.path
    record = folder / MANIFEST
    if record.is_file():
        try:
            known = json.loads(record.read_text("utf-8"))
            mine = source.path.name in {file["path"] for file in known["files"]} or not source.is_gguf
        except (ValueError, LookupError, TypeError) as error:
            raise Broken(
                f"{record.name} beside the source is damaged.",
                code="model_unreadable",
                hint="Repair it, or remove it if the model has none.",
            ) from error
        if mine and known.get("licence"):
            return str(known["licence"])
    card = source.path / "README.md"
    found = _CARD_LICENCE.search(card.read_text("utf-8")[:4096]) if card.is_file() else None
    return spdx(found[1]) if found else None
