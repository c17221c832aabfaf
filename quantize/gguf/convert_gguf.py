"""The script that runs llama.cpp's own converters inside the export environment; nothing of ours is imported.

    python -I convert_gguf.py CONVERTER model FOLDER TARGET.gguf --outtype bf16
    python -I convert_gguf.py CONVERTER lora ADAPTER TARGET.gguf --base FOLDER

Prints one JSON object a line: {"step": what is going on, "at": bytes, "of": bytes}, at the end {"done": facts}, or
{"error": {...}} with exit status 1. CONVERTER is the folder in which llama.cpp's scripts lie.
"""

# ruff: noqa: PLC0415  # what must be set before transformers and the converter are imported is set here

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import logging
import os
import runpy
import signal
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

SCRIPTS = {"model": "convert_hf_to_gguf.py", "lora": "convert_lora_to_gguf.py"}
SITE = "site"
"""The folder beside the scripts with what only they need."""

TOOLS = ("torch", "transformers")
# What llama.cpp's converters say when they give up: they have no error codes. Tests hold these words against them.
UNSUPPORTED = (
    "is not supported", "not supported!", "not yet supported", "pre-tokenizer was not recognized",
    "does not recognize this architecture",
)  # fmt: skip
OWN_CODE = ("trust_remote_code", "custom code")
BESIDE_LORA = ("Unexpected name", "lm_head is present in adapter")


FAILURES = (AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)


class Refused(Exception):
    """A failure that the user can understand; `code` as in the problems of the command."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.hint = code, hint


class Heard(logging.Handler):
    """Keeps the last error that the converter logged: it ends the process after it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """The first of several lines tells the reason."""
        self.last = self.last or record.getMessage()


class Written:
    """Stands in for tqdm's bar: llama.cpp's writer tells it how many bytes it wrote."""

    def __init__(self, *_: Any, total: int = 0, **__: Any) -> None:
        self.at, self.of = 0, int(total or 0)

    def update(self, size: int) -> None:
        """`size` more bytes."""
        self.at += int(size)
        say({"step": "writing", "at": self.at, "of": self.of})

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


def main(arguments: list[str]) -> int:
    """Run one of the two converters."""
    parser = argparse.ArgumentParser()
    parser.add_argument("converter", type=Path)
    parser.add_argument("what", choices=SCRIPTS)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--name")
    parser.add_argument("--outtype", default="f32")
    chosen = parser.parse_args(arguments)
    try:
        say({"step": "converting to GGUF"})
        convert(chosen)
    except Refused as refusal:
        say({"error": {"code": refusal.code, "message": str(refusal), "hint": refusal.hint}})
        return 1
    say({"done": {"tools": {name: version(name) for name in TOOLS}}})
    return 0


def say(line: Mapping[str, Any]) -> None:
    """One line to the command that started this."""
    print(json.dumps(line), file=sys.__stdout__, flush=True)


def convert(chosen: argparse.Namespace) -> None:
    """Run llama.cpp's script as if it had been called from a shell."""
    sys.path.append(str(chosen.converter / SITE))
    forbid_code()
    heard = Heard()
    logging.getLogger().addHandler(heard)
    bars: Any = import_module("tqdm")
    bars.tqdm = Written
    script = chosen.converter / SCRIPTS[chosen.what]
    sys.path.insert(0, str(chosen.converter))
    sys.argv = [str(script), str(chosen.source), "--outfile", str(chosen.target), "--outtype", chosen.outtype]
    sys.argv += ["--base", str(chosen.base)] if chosen.base else []
    sys.argv += ["--model-name", chosen.name] if chosen.name else []
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise refusal(heard.last, chosen.source) from ended
    except FAILURES as error:
        if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
            raise Refused("not_enough_disk", "The disk became full while the GGUF was written", "") from error
        raise refusal(f"{type(error).__name__}: {error}", chosen.source) from error


def forbid_code() -> None:
    """The converters let transformers run the Python files beside a tokenizer, and read pickles. Not here."""
    import torch
    from transformers import AutoConfig, AutoTokenizer

    for loader in (AutoConfig, AutoTokenizer):
        loader.from_pretrained = without_code(loader.from_pretrained)
    torch.load = no_pickles


def no_pickles(*_: Any, **__: Any) -> None:
    """In place of torch.load, to which the converters turn where there are no safetensors of the name they expect."""
    raise ValueError("its weights are in no file named model*.safetensors")


def without_code(from_pretrained: Any) -> Any:
    """The same function, which trusts nobody."""

    def trusting_nobody(*positional: Any, **named: Any) -> Any:
        return from_pretrained(*positional, **{**named, "trust_remote_code": False, "local_files_only": True})

    return trusting_nobody


def refusal(said: str, source: Path) -> Refused:
    """What the converter's last words mean: the first line of them."""
    said = said.partition("\n")[0][:300].rstrip(" .")
    if any(words in said for words in OWN_CODE):
        return Refused(
            "unsupported_tokenizer",
            f"{source.name} needs Python code of its own, which is never run",
            "Take a GGUF of this model instead.",
        )
    if any(words in said for words in BESIDE_LORA):
        return Refused(
            "unsupported_adapter",
            f"{source.name} changes more than llama.cpp's LoRA adapters can: {said}",
            "Train it without new tokens and modules to save.",
        )
    if any(words in said for words in UNSUPPORTED):
        return Refused(
            "unsupported_architecture",
            f"llama.cpp's converter does not know {source.name}'s architecture or tokenizer: {said}",
            "Take a GGUF of this model if there is one, or try --to mlx or --to onnx.",
        )
    return Refused(
        "converter_failed",
        f"llama.cpp's converter could not read {source.name}: {said}",
        "Fetch the source again and compare its sha256, or take a GGUF of this model.",
    )


def end_with_parent() -> None:
    """Ask Linux to end this process when the command that started it ends, in whatever way."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    end_with_parent()
    # Only our own lines may go to stdout; the libraries chat on stderr, which is shown when something fails.
    sys.stdout = sys.stderr
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
