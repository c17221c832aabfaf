"""The script that runs inside the export environment: torch, transformers, optimum, onnx, and our modules for graphs.

    python -I export_onnx.py dequantize MODEL.gguf OUT
    python -I export_onnx.py onnx MODEL_FOLDER OUT --type int8

Prints one JSON object a line: {"step": what is going on}, at the end {"done": facts}, or {"error": {...}} with
exit status 1.
"""

# ruff: noqa: PLC0415  # each step imports only what it needs: torch alone takes seconds

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import logging
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

MODEL = "model.onnx"
TYPES = ("int8", "int4", "int4-hqq", "fp16", "fp32")
TASKS = {
    "ForCausalLM": ("llm", "text-generation-with-past"),
    "ForTokenClassification": ("token_classifier", "token-classification"),
    "Model": ("encoder", "feature-extraction"),
}
LICENCE, ADDS_BOS, SPLITTING = "general.license", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.pre"
TOKENIZER = "tokenizer.ggml.model"
SPECIAL = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
}
STATED = (LICENCE, ADDS_BOS, SPLITTING, TOKENIZER, *SPECIAL.values())
TOOLS = ("onnxruntime", "optimum-onnx", "torch", "transformers")


class Refused(Exception):
    """A failure that the user can understand; `code` as in the problems of the command."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def main(arguments: list[str]) -> int:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=["dequantize", "onnx"])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", choices=TYPES, default="int8")
    chosen = parser.parse_args(arguments)
    try:
        facts = (
            dequantize(chosen.source, chosen.out)
            if chosen.step == "dequantize"
            else export(chosen.source, chosen.out, chosen.type)
        )
    except Refused as refusal:
        say({"error": {"code": refusal.code, "message": str(refusal)}})
        return 1
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        say({"error": {"code": "not_enough_disk", "message": "The disk is full"}})
        return 1
    say({"done": facts})
    return 0


def end_with_parent() -> None:
    """Ask Linux to end this process when the command that started it ends, in whatever way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG


def say(line: Mapping[str, Any]) -> None:
    """One line to the command that started this."""
    print(json.dumps(line), file=sys.__stdout__, flush=True)


def dequantize(gguf: Path, folder: Path) -> dict[str, Any]:
    """Write the weights of a GGUF as a folder of 32-bit safetensors with its tokenizer."""
    say({"step": "dequantizing"})
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fields = GGUFReader(gguf).fields
    stated = {key: fields[key].contents() for key in STATED if key in fields}
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name, "local_files_only": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    except (ValueError, NotImplementedError, KeyError) as error:
        if "not supported" in str(error):
            raise Refused(
                "unsupported_architecture", f"{gguf.name} has an architecture that cannot be exported"
            ) from error
        raise Refused("model_unreadable", f"{gguf.name} cannot be dequantized") from error
    say({"step": "writing"})
    model.save_pretrained(folder)
    mend_tokenizer(tokenizer, stated)
    tokenizer.save_pretrained(folder)
    return {"parameters": model.num_parameters(), "licence": stated.get(LICENCE)}


def mend_tokenizer(tokenizer: Any, stated: Mapping[str, Any]) -> None:
    """What transformers does not carry over of the GGUF's tokenizer, or takes from other models of its family."""
    from tokenizers import decoders, pre_tokenizers, processors

    inner = tokenizer.backend_tokenizer
    for name, key in SPECIAL.items():
        if key in stated:
            setattr(tokenizer, name, inner.id_to_token(int(stated[key])))
    if stated.get(TOKENIZER) == "gpt2":
        # Byte-level, whatever its family's usual tokenizer does with the bytes that it does not know.
        inner.model.byte_fallback = False
        inner.decoder = decoders.ByteLevel()
    if stated.get(ADDS_BOS) is False:
        # It would put <|im_start|> before every text.
        inner.post_processor = processors.ByteLevel(trim_offsets=False)
        tokenizer.add_bos_token = False
    if stated.get(SPLITTING) == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        inner.pre_tokenizer = pre_tokenizers.Sequence([digits, inner.pre_tokenizer])


def export(source: Path, out: Path, type_name: str) -> dict[str, Any]:
    """Write `source`, a folder in Hugging Face form, to `out` as one ONNX model with its tokenizer."""
    config = json.loads((source / "config.json").read_text("utf-8"))
    kind, task = task_of(config)
    say({"step": "exporting"})
    import torch
    from optimum.exporters.onnx import main_export

    torch.load = no_pickles
    raw = out / "raw"
    try:
        main_export(
            str(source),
            raw,
            task=task,
            library_name="transformers",
            framework="pt",
            dtype="fp32",
            do_validation=False,
            local_files_only=True,
        )
    except (ValueError, KeyError, NotImplementedError) as error:
        name = config.get("model_type", "this")
        raise Refused("unsupported_architecture", f"optimum has no ONNX export for {name} models") from error
    say({"step": f"quantizing to {type_name}"})
    notes = write_as(type_name, raw / MODEL, out / MODEL, kind, config)
    for file in sorted(raw.iterdir()):
        if file.suffix in {".json", ".jinja", ".model"}:
            kept = source / file.name
            shutil.copyfile(kept if kept.is_file() else file, out / file.name)
    shutil.rmtree(raw)
    return {
        "kind": kind,
        "context_length": context_length(source, config),
        "tools": {name: version(name) for name in TOOLS},
        "notes": notes,
    }


def no_pickles(*_: Any, **__: Any) -> None:
    """In place of torch.load, to which transformers turns where there are no safetensors of the name it expects."""
    raise ValueError("its weights are in no file named model*.safetensors")


def context_length(source: Path, config: Mapping[str, Any]) -> int | None:
    """What the model was trained to read: sentence encoders say less than they have positions for."""
    sentences = source / "sentence_bert_config.json"
    stated = json.loads(sentences.read_text("utf-8")).get("max_seq_length") if sentences.is_file() else None
    return stated or config.get("max_position_embeddings")


def task_of(config: Mapping[str, Any]) -> tuple[str, str]:
    """The kind of model, and the exporter's word for what it does."""
    for architecture in config.get("architectures") or ():
        for ending, found in TASKS.items():
            if architecture.endswith(ending):
                return found
    raise Refused("unsupported_architecture", "config.json names no causal language model, encoder or token classifier")


def write_as(type_name: str, raw: Path, made: Path, kind: str, config: Mapping[str, Any]) -> list[str]:
    """Write the exported model `raw` as `made`, and return what the user should know of it."""
    from quantize.onnx import attention, encoder, layers, weights

    def tell(done: int, count: int) -> None:
        say({"step": f"quantizing to {type_name}", "at": done, "of": count})

    if kind != "llm" and type_name in encoder.TYPES:
        encoder.quantize(raw, made, type_name)
        return []
    graph = weights.Graph.read(raw)
    notes = []
    if kind == "llm":
        try:
            attention.fuse(graph, config)
        except layers.OtherGraphError as reason:
            notes.append(f"Attention stays in many operators, which is slower: {reason}.")
    weights.write(graph, made, type_name, tell)
    return notes


if __name__ == "__main__":
    # For `import quantize` alone: what else lies there belongs to another environment.
    sys.path.append(str(Path(__file__).parents[2]))
    import quantize  # noqa: F401  # its modules are found from now on

    sys.path.pop()
    end_with_parent()
    # Only our own lines may go to stdout; the libraries chat on stderr, which is shown when something fails.
    sys.stdout = sys.stderr
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    sys.exit(main(sys.argv[1:]))
