"""The process in which llama.cpp reads a model and a text to find which inputs of each matrix matter.

    python -P -m quantize.gguf.importance_worker JOB

JOB is JSON: {"model", "text", "target", "dataset"}. Prints one JSON object a line: {"chunk", "chunks"} as each is read,
and at the end {"made": true, ...} or {"failure": why, ...}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from edge_agent.runtimes.worker.lifeline import die_with
from edge_agent.runtimes.worker.threads import compute_threads
from quantize.gguf.ggml import F32, Ggml, MismatchError, Tensor, at
from quantize.gguf.importance_file import ImportanceMatrix, Numbers, Sums, write
from quantize.gguf.worker import Log, say

CHUNK = 512
"""Tokens that are read together, each chunk from an empty context, as `llama-imatrix` does."""

FEWEST_CHUNKS = 2
_FEWEST_ROWS = 16  # a smaller product is a by-product, such as one over experts


class Collector:
    """llama.cpp's eval callback: sums the squares of what each matrix of a layer is multiplied with.

    The same sums as `IMatrixCollector` of llama.cpp's tools/imatrix/imatrix.cpp.
    """

    def __init__(self, ggml: Ggml) -> None:
        self._ggml = ggml
        self._sums: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self.error: Exception | None = None

    def sums(self) -> dict[str, Sums]:
        """What was summed, by the name of the weights."""
        return {
            name: Sums(squares.astype(np.float32), tokens.astype(np.float32))
            for name, (squares, tokens) in self._sums.items()
        }

    def hear(self, address: int, ask: bool, _data: Any) -> bool:  # C's signature
        """Asked before a step of the graph whether its inputs are wanted, and told of it when it is done."""
        try:
            tensor = at(address)
            if ask:
                return self._wanted(tensor)
            self._add(tensor)
        except Exception as error:  # noqa: BLE001  # it would get lost in C
            self.error = error
            return False
        return True

    def _wanted(self, tensor: Tensor) -> bool:
        kind = self._ggml.op(tensor)
        if kind not in {"MUL_MAT", "MUL_MAT_ID"} or not _name(tensor).startswith("blk."):
            return False
        inputs = at(tensor.src[1])
        return bool(inputs.type == F32 and (kind == "MUL_MAT_ID" or inputs.ne[1] >= _FEWEST_ROWS))

    def _add(self, tensor: Tensor) -> None:
        weights, inputs = at(tensor.src[0]), self._ggml.values(tensor.src[1])
        if self._ggml.op(tensor) == "MUL_MAT_ID":
            squares, tokens = routed(inputs, self._ggml.values(tensor.src[2]), weights.ne[2])
        else:
            squares, tokens = dense(inputs, weights.ne[3], weights.ne[2])
        name = _name(tensor)
        if name in self._sums:
            self._sums[name][0][:] += squares
            self._sums[name][1][:] += tokens
        else:
            self._sums[name] = squares, tokens


def dense(inputs: Numbers, outer: int, inner: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of squares (matrices, columns) and tokens (matrices) of inputs (o, i, rows, columns).

    The weights are outer x inner matrices; inputs beyond their number begin with the first again.
    """
    squares = np.einsum("oirc,oirc->oic", inputs, inputs, dtype=np.float64)
    sums = np.zeros((outer, inner, inputs.shape[3]))
    np.add.at(sums, (np.arange(inputs.shape[0])[:, None] % outer, np.arange(inputs.shape[1])[None] % inner), squares)
    matrices = outer * inner
    rows = inputs.shape[0] * inputs.shape[1] * inputs.shape[2] / matrices
    return sums.reshape(matrices, -1), np.full(matrices, rows)


def routed(inputs: Numbers, chosen: NDArray[Any], experts: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of squares (experts, columns) and tokens (experts).

    Of inputs (1, tokens, slots or 1, columns), the token's row for each of the experts in chosen (1, 1, tokens, slots).
    """
    squares = np.square(inputs[0], dtype=np.float64)
    indices = chosen[0, 0]
    sums, tokens = np.zeros((experts, squares.shape[2])), np.zeros(experts)
    for slot in range(indices.shape[1]):
        rows = squares[:, slot % squares.shape[1]]
        for expert in np.unique(indices[:, slot]):
            here = indices[:, slot] == expert
            sums[expert] += rows[here].sum(axis=0)
            tokens[expert] += here.sum()
    return sums, tokens


def _name(tensor: Tensor) -> str:
    """The weights' name, without what a second device adds: CUDA0#blk.0.attn_k.weight#0."""
    name = at(tensor.src[0]).name.decode("utf-8", "replace")
    return str(name.split("#")[1] if "#" in name else name)


class Refused(Exception):
    """No matrix can be had. `facts` say why."""

    def __init__(self, failure: str, **facts: Any) -> None:
        super().__init__(failure)
        self.facts = {"failure": failure, **facts}


def main(model: str, text: str, target: str, dataset: str, most_chunks: int | None) -> None:
    """Read `text`, or `most_chunks` pieces of it, with the model file `model` and write the matrix to `target`."""
    log = Log()
    callback = log.listen()  # named here, so that it outlives every call below
    try:
        ggml = Ggml()
        handle = _loaded(model)
        tokens, size = _chunks(handle, Path(text).read_text("utf-8"))
        tokens = spread(tokens, most_chunks or len(tokens))
        matrix = ImportanceMatrix(_sums(ggml, handle, tokens), [dataset], len(tokens))
        write(ggml, Path(target), matrix, size)
    except MismatchError as error:
        say(failure="layout", words=str(error))
    except OSError:
        say(failure="disk")
    except Refused as refused:
        say(**{"words": log.last_words, **refused.facts})
    else:
        say(made=True, tokens=len(tokens) * size, tensors=len(matrix.sums))
    del callback


def _loaded(path: str) -> Any:
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), llama_cpp.llama_model_default_params())
    if model is None:
        raise Refused("load")
    if llama_cpp.llama_model_has_encoder(model) or not llama_cpp.llama_model_has_decoder(model):
        raise Refused("encoder")
    return model


def _chunks(model: Any, text: str) -> tuple[list[list[int]], int]:
    """The text's tokens in pieces of equal length, each with the token that begins a text where the model has one."""
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    size = min(CHUNK, llama_cpp.llama_model_n_ctx_train(model))
    tokens = tokenized(vocabulary, text)
    if size < _FEWEST_ROWS or len(tokens) < FEWEST_CHUNKS * size:
        raise Refused("short", tokens=len(tokens), needed=FEWEST_CHUNKS * size)
    chunks = [tokens[start : start + size] for start in range(0, len(tokens) - size + 1, size)]
    if llama_cpp.llama_vocab_get_add_bos(vocabulary):
        first = llama_cpp.llama_vocab_bos(vocabulary)
        chunks = [[first, *chunk[1:]] for chunk in chunks]
    return chunks, size


def _sums(ggml: Ggml, model: Any, chunks: list[list[int]]) -> dict[str, Sums]:
    collector = Collector(ggml)
    listener = llama_cpp.ggml_backend_sched_eval_callback(collector.hear)  # must outlive the context
    context = _context(model, len(chunks[0]), listener)
    if context is None:
        raise Refused("evaluate")
    for done, chunk in enumerate(chunks, 1):
        read = _read(context, chunk)
        if collector.error is not None:
            raise Refused("evaluate", words=repr(collector.error))
        if not read:
            raise Refused("evaluate")
        say(chunk=done, chunks=len(chunks))
    sums = collector.sums()
    if not sums or not all(np.isfinite(entry.squares).all() for entry in sums.values()):
        raise Refused("senseless")
    return sums


def spread(chunks: list[list[int]], most: int) -> list[list[int]]:
    """At most so many of them, from all over the text."""
    kept = min(most, len(chunks))
    return [chunks[number * len(chunks) // kept] for number in range(kept)]


def tokenized(vocabulary: Any, text: str) -> list[int]:
    """The text's tokens. Special ones are text like any other: it is not ours to say where a turn ends."""
    encoded = text.encode()
    room = len(encoded)
    while True:
        buffer = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(vocabulary, encoded, len(encoded), buffer, room, True, False)  # noqa: FBT003
        if count >= 0:
            return list(buffer[:count])
        room = -count  # how many there are


def _context(model: Any, size: int, listener: Any) -> Any:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = size
    params.n_threads = params.n_threads_batch = compute_threads()
    params.cb_eval = listener
    return llama_cpp.llama_init_from_model(model, params)


def _read(context: Any, tokens: list[int]) -> bool:
    """Read one chunk. All its tokens ask for logits: of others the last layer's matrices see nothing."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)  # noqa: FBT003
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    try:
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index], batch.pos[index], batch.logits[index] = token, index, True
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
        return bool(llama_cpp.llama_decode(context, batch) == 0)
    finally:
        llama_cpp.llama_batch_free(batch)


if __name__ == "__main__":
    die_with(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main(**json.loads(sys.argv[1]))
