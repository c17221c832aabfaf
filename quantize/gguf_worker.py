"""The process in which llama.cpp reads a stranger's file: it may crash, and Ctrl-C ends it at once.

    python -P -m quantize.gguf_worker SOURCE TARGET TYPE

Prints one JSON object a line: the model's facts and the size to come, each tensor as it is begun, and at the end
{"made": true} or {"failure": llama.cpp's last words}.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import llama_cpp

from quantize.gguf import types

_TENSOR = re.compile(r"\[ *(\d+)/ *(\d+)\]")
_SIZE = re.compile(r"(model|quant) size *= *([\d.]+) MiB")
_FALLBACKS = re.compile(r"(\d+) of \d+ tensor\(s\) required fallback")
_ERROR = 4  # ggml's level for errors


class Log:
    """What llama.cpp says while it works: the only way to hear of its progress and its reasons."""

    def __init__(self) -> None:
        self.fallbacks = 0
        self.last_words = ""
        self.mib = {"model": 0.0, "quant": 0.0}
        self.final_size: int | None = None

    def hear(self, level: int, text: bytes, _data: Any) -> None:
        """llama.cpp's log callback."""
        line = text.decode("utf-8", "replace")
        if level == _ERROR:
            self.last_words = f"{self.last_words} {' '.join(line.split())}"[-500:].strip()
        elif size := _SIZE.search(line):
            self.mib[size[1]] = float(size[2])
        elif fallbacks := _FALLBACKS.search(line):
            self.fallbacks = int(fallbacks[1])
        elif self.final_size is not None and (tensor := _TENSOR.match(line)):
            say(tensor=int(tensor[1]), tensors=int(tensor[2]), size=self.final_size)


def say(**facts: Any) -> None:
    """One line to the command that started this."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main(source: str, target: str, type_name: str) -> None:
    """Foretell the size and describe `source`, then quantize."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log = Log()
    callback = llama_cpp.llama_log_callback(log.hear)  # named here, so that it outlives every call below
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    if not quantized(source, target, type_name, dry_run=True):
        say(failure=log.last_words)
        return
    # llama.cpp's figures are the tensors'; the vocabulary and other metadata are copied as they are.
    log.final_size = Path(source).stat().st_size + int((log.mib["quant"] - log.mib["model"]) * 2**20)
    say(size=log.final_size, fallbacks=log.fallbacks, **facts_of(source))
    say(made=True) if quantized(source, target, type_name, dry_run=False) else say(failure=log.last_words)


def quantized(source: str, target: str, type_name: str, *, dry_run: bool) -> bool:
    """Call llama.cpp; False where it failed. A dry run writes nothing and only says what would come out."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = types()[type_name]
    params.nthread = os.cpu_count() or 1
    params.allow_requantize = True
    params.dry_run = dry_run
    return not llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))


def facts_of(source: str) -> dict[str, Any]:
    """What the GGUF says of itself. Its tensors are mapped, not read."""
    model = llama_cpp.llama_model_load_from_file(os.fsencode(source), llama_cpp.llama_model_default_params())
    if model is None:
        return {"context_length": None, "parameters": None, "licence": None}
    facts = {
        "context_length": llama_cpp.llama_model_n_ctx_train(model),
        "parameters": llama_cpp.llama_model_n_params(model),
        "licence": _metadata(model, b"general.license"),
    }
    llama_cpp.llama_model_free(model)
    return facts


def _metadata(model: Any, key: bytes) -> str | None:
    buffer = ctypes.create_string_buffer(256)
    length = llama_cpp.llama_model_meta_val_str(model, key, buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if length > 0 else None


if __name__ == "__main__":
    main(*sys.argv[1:])
