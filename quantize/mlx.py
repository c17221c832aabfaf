"""To MLX, with mlx-lm's own conversion; needs the `mlx` extra."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from edge_agent.models.progress import Progress
from quantize.manifest import Made
from quantize.onnx import dequantize
from quantize.source import Source

# Four bits spoil what was quantized before; eight do not.
DEFAULT_TYPE = "8bit"
TYPES = {f"{bits}bit": bits for bits in (2, 3, 4, 5, 6, 8)}
GROUP_SIZE = 64


def check_type(type_name: str) -> str:
    """The type's name. Raises InvalidRequest code "unknown_type", or Unavailable code "extra_missing"."""
    if type_name.lower() not in TYPES:
        raise InvalidRequest(
            f"There is no MLX type {type_name}.", code="unknown_type", hint=f"One of: {', '.join(TYPES)}.", param="type"
        )
    if importlib.util.find_spec("mlx_lm") is None:
        raise Unavailable(
            "MLX is not installed.", code="extra_missing", hint="Install the extra: pip install 'edge-agent[mlx]'"
        )
    return type_name.lower()


def convert(source: Source, folder: Path, type_name: str, progress: Progress) -> Made:
    """Write `source` to `folder` in MLX's form. Blocks; a GGUF is dequantized first, in the export environment.

    Raises as `check_type` and `quantize.onnx.dequantize` do, and InvalidRequest code "unsupported_architecture".
    """
    type_name = check_type(type_name)
    with tempfile.TemporaryDirectory(prefix=".mlx-", dir=folder.parent) as scratch:
        plain = source.path
        facts: dict[str, Any] = {}
        if source.is_gguf:
            plain = Path(scratch) / "plain"
            facts = dequantize(source, plain, progress)
        progress.advance(0, 0, f"quantizing to {type_name}")
        made = Path(scratch) / "made"
        _convert(plain, made, TYPES[type_name])
        for file in made.iterdir():
            file.rename(folder / file.name)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return Made(
        kind="llm",
        format="mlx",
        quantization=type_name,
        tools={name: version(name) for name in ("mlx", "mlx-lm")},
        context_length=config.get("max_position_embeddings"),
        parameters=facts.get("parameters"),
        licence=facts.get("licence"),
    )


def _convert(plain: Path, made: Path, bits: int) -> None:
    import mlx_lm  # noqa: PLC0415  # an optional engine

    logging.getLogger("transformers").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints; stdout is ours
        try:
            mlx_lm.convert(str(plain), str(made), quantize=True, q_bits=bits, q_group_size=GROUP_SIZE)
        except ValueError as error:
            if "not supported" not in str(error):
                raise
            raise InvalidRequest(
                f"mlx-lm does not know the architecture of {plain.name}.",
                code="unsupported_architecture",
                hint="GGUF may still work: --to gguf.",
            ) from error
