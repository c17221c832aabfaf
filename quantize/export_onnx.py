"""The script that runs inside the export environment: torch, transformers, optimum, onnx, and nothing of ours.

    python -I export_onnx.py dequantize MODEL.gguf OUT
    python -I export_onnx.py onnx MODEL_FOLDER OUT --type int8

Prints one JSON object a line: {"step": what is going on}, at the end {"done": facts}, or {"error": {...}} with
exit status 1.
"""

# ruff: noqa: PLC0415  # each step imports only what it needs: torch alone takes seconds

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

MODEL = "model.onnx"
BITS = {"int8": 8, "int4": 4}
TASKS = {
    "ForCausalLM": ("llm", "text-generation-with-past"),
    "ForTokenClassification": ("token_classifier", "token-classification"),
    "Model": ("encoder", "feature-extraction"),
}
# One scale for 32 weights, and for 32 activations at run time: a row's result does not depend on its batch,
# which one scale for a whole activation tensor cannot give (cosine 0.96 to the same text alone; this: 1.0).
BLOCK = 32
INT8_ACTIVATIONS = 4
LICENCE, ADDS_BOS, SPLITTING = "general.license", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.pre"
TOOLS = ("onnxruntime", "optimum-onnx", "torch", "transformers")
# Protocol buffers end at 2 GiB; beyond that the weights go into a file of their own.
ONE_FILE_BYTES = 1_900_000_000


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
    parser.add_argument("--type", choices=["fp32", *BITS], default="int8")
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
    say({"done": facts})
    return 0


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
    stated = {key: fields[key].contents() for key in (LICENCE, ADDS_BOS, SPLITTING) if key in fields}
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
    """Two things of the GGUF's tokenizer that transformers does not carry over."""
    from tokenizers import pre_tokenizers, processors

    inner = tokenizer.backend_tokenizer
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
    from optimum.exporters.onnx import main_export

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
    quantize(raw / MODEL, out / MODEL, type_name)
    for file in sorted(raw.iterdir()):
        if file.suffix in {".json", ".jinja", ".model"}:
            kept = source / file.name
            shutil.copyfile(kept if kept.is_file() else file, out / file.name)
    shutil.rmtree(raw)
    return {
        "kind": kind,
        "context_length": context_length(source, config),
        "tools": {name: version(name) for name in TOOLS},
    }


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


def quantize(raw: Path, made: Path, type_name: str) -> None:
    """Matrices in blocks of `type_name`, embeddings with one 8-bit scale, all else as it was."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(str(raw))
    if type_name not in BITS:
        external = model.ByteSize() > ONE_FILE_BYTES
        onnx.save(model, str(made), save_as_external_data=external, location=f"{made.name}_data")
        return
    blocks = MatMulNBitsQuantizer(
        model, bits=BITS[type_name], block_size=BLOCK, is_symmetric=True, accuracy_level=INT8_ACTIVATIONS
    )
    blocks.process()
    external = blocks.model.model.ByteSize() > ONE_FILE_BYTES
    half_made = raw.with_name("blocks.onnx")
    blocks.model.save_model_to_file(str(half_made), external)
    quantize_dynamic(
        str(half_made),
        str(made),
        op_types_to_quantize=["Gather"],
        weight_type=QuantType.QInt8,
        per_channel=True,
        use_external_data_format=external,
    )


if __name__ == "__main__":
    # Only our own lines may go to stdout; the libraries chat on stderr, which is shown when something fails.
    sys.stdout = sys.stderr
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    sys.exit(main(sys.argv[1:]))
