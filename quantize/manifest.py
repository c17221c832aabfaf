"""manifest.json: what was made, from what, by which command, in the form that `edge_agent.models` reads."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.catalog import Catalog
from edge_agent.models.digest import sha256_of
from edge_agent.models.made_here import MANIFEST_NAME
from edge_agent.models.manifest import SCHEMA, Measured, parse, plain
from edge_agent.models.names import is_device
from quantize.sources.source import Source

LONGEST_ID = 100
ASSUMED_CONTEXT = 2048
RAM_BESIDE_WEIGHTS_MB = 256
"""For the cache of keys and values, buffers and the process: an estimate until a daemon has read the header."""

_MAIN_FILE = {"gguf": ".gguf", "onnx": ".onnx", "mlx": ".safetensors"}
_CARD_LICENCE = re.compile(r"^license:\s*['\"]?([\w.+-]+)", re.MULTILINE)
_SPDX = {"apache-2.0": "Apache-2.0", "mit": "MIT", "cc-by-4.0": "CC-BY-4.0", "bsd-3-clause": "BSD-3-Clause"}
_UNKNOWN = "unknown"
_CONVERTED = "; converted here with edge-quantize"


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


def write(
    folder: Path,
    source: Source,
    made: Made,
    *,
    described: Mapping[str, Any],
    options: Sequence[str],
    measured: Measured | None,
) -> dict[str, Any]:
    """Describe the files of `folder` in its manifest.json, and return what was written.

    `described` is what `source.described()` gave, which reads all of it; `options` more words of the command that
    made it.

    Raises Broken code "bad_manifest" where `edge_agent.models` would not read it, as over a file with an odd name.
    """
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    files: list[dict[str, Any]] = [
        {"path": path.relative_to(folder).as_posix(), "sha256": sha256_of(path), "size": path.stat().st_size}
        for path in _main_first(folder, made.format)
    ]
    known = _in_catalog(described) or _beside(source)
    makers = plain(str(known.get("attribution") or described["name"]))
    licence = licence_of(source) or known.get("licence") or spdx(made.licence)
    notes = list(made.notes)
    context_length = made.context_length
    if context_length is None and made.kind == "llm":
        context_length = ASSUMED_CONTEXT
        notes.append(f"The source does not say how much context it has: {ASSUMED_CONTEXT} tokens are assumed.")
    command = ["edge-quantize", described["name"], "--to", made.format, "--type", made.quantization, *options]
    facts = {
        "schema": SCHEMA,
        "id": artifact_id(source, made.quantization, made.format),
        "kind": made.kind,
        "format": made.format,
        "quantization": made.quantization,
        "parameters": made.parameters,
        "context_length": context_length,
        "ram_mb": measured.ram_mb if measured else _ram_mb(files),
        "licence": licence or _UNKNOWN,
        "attribution": makers.removesuffix(_CONVERTED) + _CONVERTED,
        "homepage": known.get("homepage"),
        "tasks": known.get("tasks"),
        "files": files,
        "made": {
            "source": {**described, **({"licence": licence} if licence else {})},
            "command": plain(shlex.join(command), 2000),
            "tools": dict(made.tools),
            "notes": notes,
            **({"measured": measured.as_dict()} if measured else {}),
        },
    }
    manifest = {name: value for name, value in facts.items() if value is not None}
    parse(manifest, MANIFEST_NAME)
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    return manifest


def _ram_mb(files: Sequence[Mapping[str, Any]]) -> int:
    return int(sum(file["size"] for file in files)) // 2**20 + RAM_BESIDE_WEIGHTS_MB


def artifact_id(source: Source, quantization: str, model_format: str = "gguf") -> str:
    """`smollm2-135m-instruct-q4_k_m`, and with the format in it where that is not GGUF: `…-onnx-int8`.

    A valid id whatever the source is called.
    """
    ending = f"-{quantization.lower()}" if model_format == "gguf" else f"-{model_format}-{quantization.lower()}"
    name = re.sub(r"\.{2,}", ".", source.name)
    name = f"model-{name}" if is_device(name) else name
    return name[: LONGEST_ID - len(ending)].rstrip("-._") + ending


def spdx(licence: str | None) -> str | None:
    """The licence's name as SPDX writes it."""
    return _SPDX.get(licence.lower(), plain(licence)) if licence else None


def licence_of(source: Source) -> str | None:
    """The licence that lies beside the weights: in a manifest.json of ours, else in the model card."""
    stated = _beside(source).get("licence")
    if stated and stated != _UNKNOWN:
        return plain(str(stated))
    found = _CARD_LICENCE.search(source.card.read_text("utf-8")[:4096]) if source.card else None
    return spdx(found[1]) if found else None


def _main_first(folder: Path, model_format: str) -> list[Path]:
    """Every file, the one that the runtime is given first."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return sorted(paths, key=lambda path: path.suffix != _MAIN_FILE.get(model_format))


def _in_catalog(described: Mapping[str, Any]) -> dict[str, Any]:
    """What the catalog says of the source, whose makers want to be named wherever it came from."""
    catalog = Catalog.load()
    for file in described["files"]:
        if (model := catalog.find_file(file["sha256"])) is not None:
            return {
                "licence": model.licence,
                "attribution": model.attribution,
                "homepage": model.homepage,
                "tasks": list(model.tasks),
            }
    return {}


def _beside(source: Source) -> dict[str, Any]:
    """The manifest.json that lies beside the source, if it speaks of it."""
    record = (source.path.parent if source.is_gguf else source.path) / MANIFEST_NAME
    if not record.is_file():
        return {}
    try:
        known: dict[str, Any] = json.loads(record.read_text("utf-8"))
        mine = source.path.name in {file["path"] for file in known["files"]} or not source.is_gguf
    except (ValueError, LookupError, TypeError) as error:
        raise Broken(
            f"{record.name} beside the source is damaged.",
            code="model_unreadable",
            hint="Repair it, or remove it if the model has none.",
        ) from error
    return known if mine else {}
