"""manifest.json: what was made, from what, by which command, in the form that `edge_agent.models` reads."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.catalog import Catalog
from edge_agent.models.digest import sha256_of
from edge_agent.models.formats.hf_files import object_of
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
_CARD_BYTES = 1 << 14
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


@dataclass(frozen=True, slots=True)
class Origin:
    """A source as its artifacts' manifests speak of it: what is stated beside its weights, or known to the catalog.

    `described` is what `Source.described` gave; `licence` is None where nothing says it, `makers` are to be named.
    """

    source: Source
    described: Mapping[str, Any]
    makers: str
    licence: str | None = None
    homepage: str | None = None
    tasks: Sequence[str] | None = None

    @classmethod
    def of(cls, source: Source, described: Mapping[str, Any]) -> Origin:
        """What is known of `source`. What lies beside it may be anything, and counts as far as it makes sense."""
        known = _in_catalog(described) or _beside(source)
        return cls(
            source,
            described,
            makers=plain(known.get("attribution") or described["name"]),
            licence=licence_of(source) or known.get("licence"),
            homepage=known.get("homepage"),
            tasks=known.get("tasks"),
        )


def document(
    origin: Origin,
    made: Made,
    files: Sequence[Mapping[str, Any]],
    *,
    command: str,
    measured: Measured | None,
) -> dict[str, Any]:
    """The manifest of an artifact, whose `files` are as `files_of` gives them, and `command` as `command_of` does.

    Raises Broken code "bad_manifest" where `edge_agent.models` would not read it, as over a file with an odd name.
    """
    licence = origin.licence or spdx(made.licence)
    notes = list(made.notes)
    context_length = made.context_length
    if context_length is None and made.kind == "llm":
        context_length = ASSUMED_CONTEXT
        notes.append(f"The source does not say how much context it has: {ASSUMED_CONTEXT} tokens are assumed.")
    return checked(
        {
            "schema": SCHEMA,
            "id": artifact_id(origin.source, made.quantization, made.format),
            "kind": made.kind,
            "format": made.format,
            "quantization": made.quantization,
            "parameters": made.parameters,
            "context_length": context_length,
            "ram_mb": measured.ram_mb if measured else _ram_mb(files),
            "licence": licence or _UNKNOWN,
            "attribution": origin.makers.removesuffix(_CONVERTED) + _CONVERTED,
            "homepage": origin.homepage,
            "tasks": origin.tasks,
            "files": files,
            "made": {
                "source": {**origin.described, **({"licence": licence} if licence else {})},
                "command": command,
                "tools": dict(made.tools),
                "notes": notes,
                **({"measured": measured.as_dict()} if measured else {}),
            },
        }
    )


def checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of these facts without those that are None. Raises Broken code "bad_manifest"."""
    manifest = {name: value for name, value in facts.items() if value is not None}
    parse(manifest, MANIFEST_NAME)
    return manifest


def save(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write it into the model's folder."""
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def files_of(folder: Path, model_format: str, digest: Callable[[Path], str] = sha256_of) -> list[dict[str, Any]]:
    """Every file of the folder, the one that the runtime is given first, with its sha256 as `digest` tells it.

    Unless `digest` knows better, all of them are read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    paths.sort(key=lambda path: path.suffix != _MAIN_FILE.get(model_format))
    return [
        {"path": path.relative_to(folder).as_posix(), "sha256": digest(path), "size": path.stat().st_size}
        for path in paths
    ]


def command_of(name: str, *words: str) -> str:
    """The command that makes something of the source of that name, as a manifest has it."""
    return plain(shlex.join(["edge-quantize", name, *words]), 2000)


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
        return str(stated)
    found = _CARD_LICENCE.search(_start_of(source.card)) if source.card else None
    return spdx(found[1]) if found else None


def _start_of(card: Path) -> str:
    try:
        with card.open("rb") as file:
            return file.read(_CARD_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


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
    """What the manifest.json beside the source says of it, if that is of our form: others call files so, too."""
    record = (source.path.parent if source.is_gguf else source.path) / MANIFEST_NAME
    try:
        found = object_of(record) if record.is_file() else {}
    except Broken:
        return {}
    files = found.get("files")
    if not isinstance(files, list):
        return {}
    named = {file.get("path") for file in files if isinstance(file, dict) and isinstance(file.get("path"), str)}
    return _sensible(found) if source.path.name in named or not source.is_gguf else {}


def _sensible(found: Mapping[str, Any]) -> dict[str, Any]:
    """Those of its facts that an artifact's manifest may repeat."""
    texts = {name: found.get(name) for name in ("licence", "attribution", "homepage")}
    known: dict[str, Any] = {name: plain(text) for name, text in texts.items() if isinstance(text, str) and text}
    tasks = found.get("tasks")
    if isinstance(tasks, list) and all(isinstance(task, str) for task in tasks):
        known["tasks"] = [plain(task) for task in tasks]
    return known
