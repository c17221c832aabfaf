"""To ONNX, for encoders, token classifiers and language models: the work is done in the export environment."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.models.disk import check_room
from edge_agent.models.progress import Progress
from quantize import export_environment
from quantize.manifest import Made
from quantize.sources.source import Source

DEFAULT_TYPE = "int8"
TYPES = {
    "int8": "blocks of 32 weights at 8 bits, rounded to nearest; activations are quantized per block while it runs",
    "int4": "the same with 4 bits",
    "int4-hqq": "4 bits, each block with an offset of its own, fitted by half-quadratic quantization",
    "fp16": "stored at 16 bits, computed at 32",
    "fp32": "as exported",
}
"""Of language models, the output head and the embeddings have 8 bits in the first three."""

_BYTES = {"int8": 1.2, "int4": 0.8, "int4-hqq": 0.9, "fp16": 2, "fp32": 4}
"""A weight's part of the artifact; while it is made, the exporter's 32 bits lie beside it."""


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


def convert(source: Source, folder: Path, type_name: str, progress: Progress, *, plain: Path) -> Made:
    """Write `source` to `folder` as model.onnx with its tokenizer. Blocks, for minutes.

    `plain`: the source itself where it is a folder, else where it was `dequantize`d to. Raises what
    `export_environment.run` raises, and Unavailable code "not_enough_disk".
    """
    type_name = check_type(type_name)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as scratch:
        check_room(folder, int(source.plain_bytes * (1 + _BYTES[type_name] / 4)))
        log = Path(scratch) / "log"
        facts = export_environment.run(["onnx", str(plain), str(folder), "--type", type_name], progress, log=log)
    return Made(
        kind=facts["kind"],
        format="onnx",
        quantization=type_name,
        tools=facts["tools"],
        context_length=facts["context_length"],
        notes=tuple(facts["notes"]),
    )


def dequantize(source: Source, folder: Path, progress: Progress) -> dict[str, Any]:
    """Write a GGUF's weights to `folder` as 32-bit safetensors with its tokenizer, and return what is known of them."""
    log = folder.with_suffix(".log")
    return export_environment.run(["dequantize", str(source.path), str(folder)], progress, log=log)
