"""To MLX, with mlx-lm's own conversion in a process of its own; needs the `mlx` extra."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem, Unavailable
from edge_agent.models.digest import sha256_of
from edge_agent.models.disk import check_room
from edge_agent.models.formats.hf_config import HfConfig
from edge_agent.models.progress import Progress
from quantize.calibration import BUNDLED_TEXT, check_text
from quantize.manifest import Made
from quantize.native_process import working
from quantize.sources.source import Source

DEFAULT_TYPE = "8bit"
"""Four bits spoil what was quantized before, but for `4bit-minmax`; eight do not."""

_HEAD_BITS = 8
"""The most that any recipe gives a weight."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """`mixed`: mlx-lm's name of a recipe that gives some matrices more bits; `method`: how the levels are chosen."""

    bits: int
    group_size: int = 64
    mixed: str | None = None
    method: str | None = None


def _recipes() -> dict[str, Recipe]:
    plain = {f"{bits}bit": Recipe(bits) for bits in (2, 3, 4, 5, 6, 8)}
    groups = {f"{name}-g{size}": Recipe(recipe.bits, size) for name, recipe in plain.items() for size in (32, 128)}
    mixed = {
        f"mixed_{low}_{high}": Recipe(low, mixed=f"mixed_{low}_{high}")
        for low, high in ((2, 6), (3, 4), (3, 6), (4, 6))
    }
    return {
        **plain,
        **groups,
        **mixed,
        "4bit-minmax": Recipe(4, 32, method="minmax"),
        **{
            f"{bits}bit-{method}": Recipe(bits, method=method) for method, bits in (("gptq", 4), ("awq", 4), ("dwq", 4))
        },
    }


TYPES = _recipes()


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


def learns(type_name: str) -> bool:
    """Whether a type's levels are learned from a calibration text, which takes long."""
    return TYPES[check_type(type_name)].method in {"awq", "dwq", "gptq"}


def convert(
    source: Source,
    folder: Path,
    type_name: str,
    progress: Progress,
    *,
    plain: Path,
    calibration: Path | None = None,
) -> Made:
    """Write `source` to `folder` in MLX's form. Blocks, for seconds; for minutes to hours where a text is learned from.

    `plain`: the source itself where it is a folder, else where it was dequantized to. `calibration` is the text that
    the learned methods read, None for the bundled one.
    Raises what `check_type`, `check_text` and `HfConfig.read` raise, InvalidRequest code "unsupported_architecture" |
    "unsupported_type" | "calibration_too_short", Broken code "quantizer_crashed" and Unavailable code
    "not_enough_disk".
    """
    type_name = check_type(type_name)
    recipe, text = TYPES[type_name], calibration or BUNDLED_TEXT
    if learns(type_name):
        check_text(text)
    context_length = HfConfig.read(plain).context_length
    check_room(folder, source.plain_bytes * (_HEAD_BITS + 2) // 32)
    facts: dict[str, Any] = {}
    job = {"plain": str(plain), "made": str(folder), "recipe": asdict(recipe), "text": str(text)}
    with working("quantize.mlx.worker", job) as said:
        for line in said:
            facts |= line
            if "step" in line:
                progress.advance(0, 0, f"{line['step']} to {type_name}")
    if not facts.get("made"):
        raise _failure(source.path.name, type_name, facts)
    return Made(
        kind="llm",
        format="mlx",
        quantization=type_name,
        tools={name: version(name) for name in ("mlx", "mlx-lm")},
        context_length=context_length,
        notes=_notes(type_name, text, facts),
    )


def _notes(type_name: str, text: Path, facts: dict[str, Any]) -> tuple[str, ...]:
    notes = []
    if learns(type_name):
        notes.append(f"Learned from {facts['tokens']} tokens of a text with sha256 {sha256_of(text)}.")
    if facts["whole"]:
        notes.append(
            f"{facts['whole']} matrices have rows that do not fit groups of {TYPES[type_name].group_size}, "
            "and are not quantized."
        )
    if facts["is_wide"]:
        notes.append(
            "Scales have 32 bits: on a CPU, MLX is many times slower with 16. Made beside a GPU, they have 16."
        )
    return tuple(notes)


def _failure(name: str, type_name: str, facts: dict[str, Any]) -> Problem:
    """What the worker's last words mean."""
    match facts.get("failure"):
        case "unsupported_architecture":
            return InvalidRequest(
                f"mlx-lm does not know the architecture of {name}.",
                code="unsupported_architecture",
                hint="GGUF may still work: --to gguf.",
            )
        case "unsupported_type":
            return InvalidRequest(
                f"mlx-lm cannot make {name} as {type_name}: {facts['reason']}.",
                code="unsupported_type",
                hint="Choose another type, such as 4bit or 8bit.",
                param="type",
            )
        case "calibration_too_short":
            return InvalidRequest(
                f"The calibration text has {facts['tokens']} tokens; {type_name} needs {facts['needed']}.",
                code="calibration_too_short",
                hint="Name a longer text with --calibration, or leave that out for the bundled one.",
                param="calibration",
            )
        case _:
            return Broken(
                f"MLX crashed over {name}.",
                code="quantizer_crashed",
                hint="Fetch the source again and compare its sha256; it may also need more memory.",
            )
