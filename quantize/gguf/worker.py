"""The process in which llama.cpp reads a stranger's file: it may crash, and Ctrl-C ends it at once.

    python -P -m quantize.gguf.worker JOB

JOB is JSON: the arguments of `main`. Prints one JSON object a line: the model's facts and the size to come, each tensor
as it is begun, and at the end {"made": true} or {"failure": llama.cpp's last words}.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import sys
from itertools import starmap
from pathlib import Path
from typing import Any

import llama_cpp

from edge_agent.runtimes.worker.lifeline import die_with
from quantize.gguf.ggml import Ggml, MismatchError
from quantize.gguf.importance_file import NoMatrixError, read
from quantize.gguf.to_gguf import types

_TENSOR = re.compile(r"\[ *(\d+)/ *(\d+)\]")
_SIZE = re.compile(r"(model|quant) size *= *([\d.]+) MiB")
_FALLBACKS = re.compile(r"(\d+) of \d+ tensor\(s\) required fallback")
_UNWEIGHTED = re.compile(r"did not find weights for (\S+)")
_NEVER_WEIGHTED = {"token_embd.weight", "per_layer_token_embd.weight", "output.weight"}
_ERROR = 4  # ggml's level for errors


class Log:
    """What llama.cpp says while it works: the only way to hear of its progress and its reasons."""

    def __init__(self) -> None:
        self.fallbacks = 0
        self.unweighted = 0
        self.last_words = ""
        self.mib = {"model": 0.0, "quant": 0.0}
        self.final_size: int | None = None

    def listen(self) -> Any:
        """Have llama.cpp talk to this, as long as the caller keeps what it gets."""
        callback = llama_cpp.llama_log_callback(self.hear)
        llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
        return callback

    def hear(self, level: int, text: bytes, _data: Any) -> None:
        """llama.cpp's log callback."""
        line = text.decode("utf-8", "replace")
        if level == _ERROR:
            self.last_words = f"{self.last_words} {' '.join(line.split())}"[-500:].strip()
        elif size := _SIZE.search(line):
            self.mib[size[1]] = float(size[2])
        elif fallbacks := _FALLBACKS.search(line):
            self.fallbacks = int(fallbacks[1])
        elif unweighted := _UNWEIGHTED.search(line):
            self.unweighted += unweighted[1] not in _NEVER_WEIGHTED
        elif self.final_size is not None and (tensor := _TENSOR.match(line)):
            say(tensor=int(tensor[1]), tensors=int(tensor[2]), size=self.final_size)


def say(**facts: Any) -> None:
    """One line to the command that started this."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main(
    source: str,
    target: str,
    type_name: str,
    *,
    matrix: str | None = None,
    output_type: str | None = None,
    embedding_type: str | None = None,
    dry_run: bool = False,
) -> None:
    """Foretell the size and describe `source`; then, unless it is a `dry_run`, quantize."""
    log = Log()
    callback = log.listen()  # named here, so that it outlives every call below
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = types()[type_name]
    params.nthread = os.cpu_count() or 1
    params.allow_requantize = True
    if output_type:
        params.output_tensor_type = tensor_type(output_type)
    if embedding_type:
        params.token_embedding_type = tensor_type(embedding_type)
    try:
        weights = Weights(Path(matrix)) if matrix else None
    except (MismatchError, NoMatrixError) as error:
        say(failure="", bad_matrix=str(error))
        return
    if weights:
        weights.put_into(params)
        say(datasets=weights.datasets)
    params.dry_run = True
    if not quantized(source, target, params):
        say(failure=log.last_words)
        return
    # llama.cpp's figures are the tensors'; the vocabulary and other metadata are copied as they are.
    log.final_size = Path(source).stat().st_size + int((log.mib["quant"] - log.mib["model"]) * 2**20)
    facts = facts_of(source)
    if facts is None:
        say(failure=log.last_words, cannot_load=True)
        return
    say(size=log.final_size, fallbacks=log.fallbacks, **facts)
    params.dry_run = dry_run
    if dry_run or quantized(source, target, params):
        say(made=True, unweighted=log.unweighted)
    else:
        say(failure=log.last_words)
    del callback


def quantized(source: str, target: str, params: Any) -> bool:
    """Call llama.cpp; False where it failed. A dry run writes nothing and only says what would come out."""
    return not llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))


def tensor_type(name: str) -> int:
    """The number that ggml has for a tensor's type."""
    return int(getattr(llama_cpp, f"GGML_TYPE_{name}"))


class Weights:
    """An importance matrix as `llama_model_quantize` takes it; must outlive the call. Raises NoMatrixError."""

    def __init__(self, path: Path) -> None:
        matrix = read(Ggml(), path)
        self.datasets = ", ".join(matrix.datasets)
        means = {name.encode(): sums.means() for name, sums in matrix.sums.items()}
        entries = [
            llama_cpp.llama_model_imatrix_data(name, array.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), array.size)
            for name, array in means.items()
        ]
        # Both lists end with an entry without a name.
        self._entries = (llama_cpp.llama_model_imatrix_data * (len(entries) + 1))(*entries)
        self._means = means
        facts = {
            b"quantize.imatrix.dataset": self.datasets.encode()[:127],
            b"quantize.imatrix.entries_count": len(entries),
            b"quantize.imatrix.chunks_count": matrix.chunks,
        }
        self._facts = (llama_cpp.llama_model_kv_override * (len(facts) + 1))(*starmap(fact, facts.items()))

    def put_into(self, params: Any) -> None:
        """Have it used, and have the file made say so under the keys that llama.cpp's own tool writes."""
        params.imatrix = self._entries
        params.kv_overrides = self._facts


def fact(key: bytes, value: bytes | int) -> Any:
    """A key of the file to be written."""
    override = llama_cpp.llama_model_kv_override(key=key)
    if isinstance(value, bytes):
        override.tag, override.value.val_str = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR, value
    else:
        override.tag, override.value.val_i64 = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_INT, value
    return override


def facts_of(source: str) -> dict[str, Any] | None:
    """What the GGUF says of itself, None where llama.cpp cannot load it. Its tensors are mapped, not read."""
    model = llama_cpp.llama_model_load_from_file(os.fsencode(source), llama_cpp.llama_model_default_params())
    if model is None:
        return None
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
    die_with(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main(**json.loads(sys.argv[1]))
