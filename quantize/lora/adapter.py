"""LoRA adapters that were trained elsewhere, in the form that a runtime takes: PEFT's, mlx-lm's and llama.cpp's.

from a folder of PEFT        to gguf by llama.cpp's own converter, to mlx by renaming
from a folder of mlx-lm      to gguf by way of PEFT's form, to mlx by renaming
from a GGUF of llama.cpp     to gguf as it is
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound
from edge_agent.models import lora
from edge_agent.models.formats import gguf_header
from edge_agent.models.formats.hf_files import text_of
from edge_agent.models.lora import AdapterFormat
from edge_agent.models.lora import mlx as lora_mlx
from edge_agent.models.lora.facts import LoraFacts, unsupported_by_onnx
from edge_agent.models.made_here import MANIFEST_NAME
from edge_agent.models.manifest import SCHEMA, plain
from edge_agent.models.progress import Progress
from edge_agent.models.store import ModelStore
from quantize.gguf import llama_converter
from quantize.lora import weights as lora_weights
from quantize.manifest import artifact_id, checked, command_of, files_of, licence_of, save
from quantize.sources.source import Source

TYPE = "lora"
"""What stands in the place of a quantization type: `NAME-lora`, and for mlx `NAME-mlx-lora`."""

_UNKNOWN = "unknown"
_ARCHITECTURES = {
    "gemma2": "Gemma2ForCausalLM",
    "llama": "LlamaForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""GGUF's names of architectures whose converters need no more of a model than its dimensions."""


@dataclass(frozen=True, slots=True)
class Converted:
    """The adapter that `convert` wrote; `base` is what it says it was trained on."""

    format: AdapterFormat
    facts: LoraFacts
    base: str | None
    tools: Mapping[str, str]


def find(text: str) -> Source | None:
    """The adapter that `text` names, None where there is none at that path. Raises Broken for a damaged GGUF."""
    path = Path(text).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        header = gguf_header.check(path)
        return Source(path.absolute(), (path.absolute(),)) if header.facts.get("general.type") == "adapter" else None
    config, weights = path / lora_weights.CONFIG_FILE, _weights_of(path)
    if not config.is_file() or weights is None:
        return None
    folder = path.resolve()
    return Source(folder, (folder / weights.name, folder / config.name))


def check_format(source: Source, to: str) -> AdapterFormat:
    """`to`, if an adapter can be made so. Raises InvalidRequest code "adapter_unsupported" | "unsupported_source"."""
    if to not in lora.FORMATS:
        raise unsupported_by_onnx()
    if source.is_gguf and to != "gguf":
        raise InvalidRequest(
            "An adapter in llama.cpp's form stays in it.",
            code="unsupported_source",
            hint="Take --to gguf, or name the folder that the adapter was trained into.",
        )
    return "gguf" if to == "gguf" else "mlx"


def base_of(text: str, store: ModelStore) -> Path:
    """The model that an adapter was trained on: a .gguf, a folder with config.json, or the id of an installed model.

    Raises NotFound code "base_not_found", and what `ModelStore.file` raises.
    """
    path = Path(text).expanduser()
    if path.is_file() or (path / "config.json").is_file():
        return path.resolve()
    if store.find(text) is None:
        raise NotFound(
            f"There is no model {text}.",
            code="base_not_found",
            hint="Name a .gguf, a folder with config.json, or an id that `edge-agent models list` shows.",
        )
    main = store.file(text)
    return main if main.suffix == ".gguf" else main.parent


def convert(source: Source, folder: Path, to: str, progress: Progress, *, base: Path | None = None) -> Converted:
    """Write the adapter `source` to `folder` in the form of `to`, and look at what was written. Blocks.

    `base`, as `base_of` gives it, is needed where a folder is to become a GGUF; wherever it has the form of the result,
    the adapter must fit it. Raises InvalidRequest code "adapter_unsupported" | "adapter_mismatch" | "base_needed" |
    "unsupported_source", Broken code "model_file_missing" | "model_truncated" | "model_unreadable", and what
    `llama_converter.lora_to_gguf` raises.
    """
    target = check_format(source, to)
    main = folder / (f"{artifact_id(source, TYPE, target)}.gguf" if target == "gguf" else lora_mlx.WEIGHTS_FILE)
    tools: Mapping[str, str] = {}
    stated: str | None = None
    if source.is_gguf:
        lora.read(source.path, "gguf")
        shutil.copyfile(source.path, main)
    else:
        weights = _read(source)
        stated = weights.base
        if target == "mlx":
            lora_weights.write_mlx(weights, folder)
        else:
            tools = _to_gguf(weights, base, main, progress)
    facts = lora.read(main, target)
    if base is not None and (model := _of_same_form(base, target)) is not None:
        lora.check_made_for(facts, lora.base(model, target))
    return Converted(target, facts, stated, tools)


def write_manifest(folder: Path, source: Source, made: Converted, base: str | None = None) -> dict[str, Any]:
    """Describe the files of `folder` in its manifest.json, and return what was written. `base`: as it was named."""
    files = files_of(folder, made.format)
    described = source.described()
    licence = licence_of(source) or _UNKNOWN
    trained_on = base or made.base
    command = command_of(described["name"], "--to", made.format, *(("--base", base) if base else ()))
    stated = {
        "rank": made.facts.rank,
        "scale": made.facts.scale,
        "architecture": made.facts.architecture,
        "base": plain(trained_on) if trained_on else None,
    }
    facts = {
        "schema": SCHEMA,
        "id": artifact_id(source, TYPE, made.format),
        "kind": "adapter",
        "format": made.format,
        "quantization": TYPE,
        "ram_mb": lora.ram_mb(folder / files[0]["path"]),
        "licence": licence,
        "attribution": f"{described['name']}; converted here with edge-quantize",
        "files": files,
        "adapter": {name: value for name, value in stated.items() if value is not None},
        "made": {
            "source": described,
            "command": command,
            "tools": dict(made.tools),
            "notes": [],
        },
    }
    manifest = checked(facts)
    save(folder, manifest)
    return manifest


def _weights_of(folder: Path) -> Path | None:
    names = (lora_weights.PEFT_FILE, lora_mlx.WEIGHTS_FILE)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(source: Source) -> lora_weights.LoraWeights:
    is_peft = (source.path / lora_weights.PEFT_FILE).is_file()
    return lora_weights.read_peft(source.path) if is_peft else lora_weights.read_mlx(source.path)


def _to_gguf(
    weights: lora_weights.LoraWeights, base: Path | None, target: Path, progress: Progress
) -> Mapping[str, str]:
    """By way of a plain PEFT folder: llama.cpp's converter knows neither other scalings nor several ranks."""
    if base is None:
        raise InvalidRequest(
            "To become a GGUF, an adapter needs the dimensions of its model.",
            code="base_needed",
            hint="Name the model it was trained on with --base: an installed one's id, a .gguf, or a folder.",
            param="base",
        )
    with tempfile.TemporaryDirectory(prefix=".lora-", dir=target.parent.parent) as scratch:
        plain_form, model = Path(scratch) / "adapter", Path(scratch) / "base"
        plain_form.mkdir()
        model.mkdir()
        lora_weights.write_peft(weights, plain_form)
        config = _config_of_gguf(base) if base.is_file() else text_of(base / "config.json")
        if config is None:
            raise Broken(f"{base.name} has no config.json.", code="model_file_missing", hint="Name another --base.")
        (model / "config.json").write_text(config, "utf-8")
        tools: Mapping[str, str] = llama_converter.lora_to_gguf(plain_form, model, target, progress)["tools"]
    return tools


def _config_of_gguf(path: Path) -> str:
    """A config.json with the dimensions of a GGUF. Raises InvalidRequest code "unsupported_architecture"."""
    header = gguf_header.check(path)
    name, has = str(header.facts.get("general.architecture")), header.dimensions
    needed = ("block_count", "embedding_length", "attention.head_count", "feed_forward_length")
    if name not in _ARCHITECTURES or not all(has.get(each) for each in needed):
        raise InvalidRequest(
            f"The dimensions of {path.name} are not enough to convert an adapter for it.",
            code="unsupported_architecture",
            hint="Name a folder with the model's config.json as --base.",
            param="base",
        )
    heads = has["attention.head_count"][0]
    return json.dumps(
        {
            "architectures": [_ARCHITECTURES[name]],
            "model_type": name,
            "num_hidden_layers": has["block_count"][0],
            "hidden_size": has["embedding_length"][0],
            "intermediate_size": has["feed_forward_length"][0],
            "num_attention_heads": heads,
            "num_key_value_heads": (has.get("attention.head_count_kv") or (heads,))[0],
            "head_dim": (has.get("attention.key_length") or (has["embedding_length"][0] // heads,))[0],
            "max_position_embeddings": (has.get("context_length") or (2048,))[0],
            "vocab_size": header.vocabulary,
        }
    )


def _of_same_form(base: Path, target: AdapterFormat) -> Path | None:
    """The main file of a base that names its layers as the result does: others are checked when they are asked for."""
    if target == "gguf":
        return base if base.is_file() else None
    weights = base / "model.safetensors"
    return weights if weights.is_file() and (base / MANIFEST_NAME).is_file() else None
