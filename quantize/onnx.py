"""To ONNX, for encoders, token classifiers and language models: the work is done in the export environment."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.models.progress import Progress
from quantize import export_environment
from quantize.manifest import Made
from quantize.source import Source

DEFAULT_TYPE = "int8"
TYPES = {
    "int8": "weights in blocks of 32 at 8 bits, activations quantized per block while it runs",
    "int4": "the same with 4 bits",
    "fp32": "as exported",
}


def check_type(type_name: str) -> str:
    """The type's name. Raises InvalidRequest code "unknown_type"."""
    if type_name.lower() not in TYPES:
        raise InvalidRequest(
            f"There is no ONNX type {type_name}.",
            code="unknown_type",
            hint=f"One of: {', '.join(TYPES)}.",
            param="type",
        )
    return type_name.lower()


def convert(source: Source, folder: Path, type_name: str, progress: Progress) -> Made:
    """Write `source` to `folder` as model.onnx with its tokenizer. Blocks, for minutes.

    Raises what `export_environment.run` raises.
    """
    type_name = check_type(type_name)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as scratch:
        facts: dict[str, Any] = {}
        plain = source.path
        if source.is_gguf:
            plain = Path(scratch) / "plain"
            facts |= dequantize(source, plain, progress)
        log = Path(scratch) / "log"
        facts |= export_environment.run(["onnx", str(plain), str(folder), "--type", type_name], progress, log=log)
    return Made(
        kind=facts["kind"],
        format="onnx",
        quantization=type_name,
        tools=facts["tools"],
        context_length=facts["context_length"],
        parameters=facts.get("parameters"),
        licence=facts.get("licence"),
    )


def dequantize(source: Source, folder: Path, progress: Progress) -> dict[str, Any]:
    """Write a GGUF's weights to `folder` as 32-bit safetensors with its tokenizer, and return what is known of them."""
    log = folder.with_suffix(".log")
    return export_environment.run(["dequantize", str(source.path), str(folder)], progress, log=log)
