"""GGUF to GGUF: every quantization type of llama.cpp, run in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem
from edge_agent.models.progress import Progress
from quantize.artifact import check_space, disk_full
from quantize.manifest import Made, artifact_id
from quantize.source import Source

DEFAULT_TYPE = "Q4_K_M"


def types() -> dict[str, int]:
    """The name and number of every type the library knows, such as "Q4_K_M" and "F16"."""
    import llama_cpp  # noqa: PLC0415  # an engine: half a second

    prefixes = ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")
    return {
        name.removeprefix(prefix): number
        for prefix in prefixes
        for name, number in sorted(vars(llama_cpp).items())
        if name.startswith(prefix)
    }


def check_type(type_name: str) -> str:
    """The type's name as the library writes it. Raises InvalidRequest code "unknown_type"."""
    known = types()
    if type_name.upper() not in known:
        raise InvalidRequest(
            f"llama.cpp has no quantization type {type_name}.",
            code="unknown_type",
            hint=f"One of: {', '.join(sorted(known))}.",
            param="type",
        )
    return type_name.upper()


def convert(source: Source, folder: Path, type_name: str, progress: Progress) -> Made:
    """Write `source`, a GGUF, to `folder` as another GGUF of `type_name`.

    Raises Broken ("model_truncated", "model_unreadable", "quantizer_crashed", "quantizer_failed"), InvalidRequest
    ("unsupported_type", "needs_importance_matrix") and Unavailable ("disk_full"). Blocks.
    """
    if not source.is_gguf:
        raise InvalidRequest(
            "GGUF is made from a GGUF, and this source is a folder of safetensors.",
            code="unsupported_source",
            hint="Name a .gguf file; an F16 or Q8_0 one loses least.",
        )
    type_name = check_type(type_name)
    target = folder / f"{artifact_id(source, type_name)}.gguf"
    facts: dict[str, Any] = {}
    # -P: the present folder may hold a file named like one of our imports.
    worker = [sys.executable, "-P", "-m", "quantize.gguf_worker", str(source.path), str(target), type_name]
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}  # a crash would otherwise start a debugger
    with subprocess.Popen(
        worker,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        # A terminal's Ctrl-C would reach the worker, too, and its death would look like a crash.
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout or ():
                facts |= json.loads(line)
                if "tensor" in facts:
                    size = facts["size"]
                    progress.advance(size * facts["tensor"] // facts["tensors"], size, type_name)
                elif "size" in facts:
                    check_space(folder, facts["size"])
        finally:
            process.kill()
    if facts.get("made"):
        return _made(type_name, facts)
    raise _failure(source, folder, type_name, facts.get("failure"))


def _made(type_name: str, facts: dict[str, Any]) -> Made:
    notes = []
    if facts["fallbacks"]:
        notes.append(
            f"{facts['fallbacks']} of {facts['tensors']} tensors have rows that do not fit {type_name}'s blocks: "
            "llama.cpp gave them the nearest type that does."
        )
    return Made(
        kind="llm",
        format="gguf",
        quantization=type_name,
        tools={"llama-cpp-python": version("llama-cpp-python")},
        context_length=facts["context_length"],
        parameters=facts["parameters"],
        licence=facts["licence"],
        notes=tuple(notes),
    )


def _failure(source: Source, folder: Path, type_name: str, said: str | None) -> Problem:
    """What llama.cpp's last words mean: it has no error codes. Tests hold these words against the locked version."""
    name = source.path.name
    again = "Fetch the source again and compare its sha256."
    if said is None:
        return Broken(f"llama.cpp crashed over {name}.", code="quantizer_crashed", hint=again)
    if "not within the file bounds" in said:
        return Broken(f"{name} is cut short.", code="model_truncated", hint=again)
    if "failed to load model" in said:
        return Broken(f"{name} cannot be read as a GGUF.", code="model_unreadable", hint=again)
    if "importance matrix" in said:
        return InvalidRequest(
            f"{type_name} needs an importance matrix, which this command does not compute.",
            code="needs_importance_matrix",
            hint="Choose a type of three bits or more, such as IQ3_XS or Q3_K_M.",
            param="type",
        )
    if "invalid output file type" in said or "no tensor type fallback" in said:
        return InvalidRequest(
            f"llama.cpp cannot write {name} as {type_name}.",
            code="unsupported_type",
            hint="Choose another type, such as Q4_K_M.",
            param="type",
        )
    if "iostream error" in said:
        return disk_full(folder)
    return Broken(f"llama.cpp could not quantize {name}: {said}", code="quantizer_failed", hint="Try another type.")
