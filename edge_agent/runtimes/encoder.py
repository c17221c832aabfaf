"""Sentence embeddings on onnxruntime: one vector a text, the same whatever it is batched with."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.problems import Broken

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer

MAX_PIECES = 256
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"

_BATCH = 32
# Some ten times what 256 word pieces of ordinary text need: a pasted book is not tokenized to its end for nothing.
_READ_CHARS = 16_384
_HINT = "Reinstall edge-agent, or run: edge-agent models verify"


@dataclass(frozen=True, slots=True)
class _Loaded:
    session: InferenceSession
    tokenizer: Tokenizer
    inputs: frozenset[str]
    dimensions: int


class Encoder:
    """Turns texts into unit vectors. Loads on first use; every method blocks and may be called from any thread.

    `model_dir` holds `model.onnx` and `tokenizer.json`, and may hold the `manifest.json` that knows their sizes.
    Raises `Broken` with code `model_file_missing`, `model_truncated` or `model_unreadable`, from whichever call
    loads the files; a later call tries again.
    """

    def __init__(self, model_dir: Path, *, threads: int | None = None) -> None:
        self._dir = model_dir
        cores = os.cpu_count() or 1
        self._threads = max(1, min(threads or cores, cores))
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def warm(self) -> None:
        """Load the files now."""
        self._ensure_loaded()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One L2-normalised row a text, in order: the mean of its tokens' vectors. Reads 256 word pieces of each."""
        loaded = self._ensure_loaded()
        encodings = _encode(loaded.tokenizer, texts)
        rows = np.zeros((len(encodings), loaded.dimensions), np.float32)
        for batch in _batches(encodings):
            rows[batch] = _pooled(loaded, [encodings[index] for index in batch])
        return rows

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """How many word pieces `embed` reads of each text, the two special ones included: at most 256."""
        return [len(encoding.ids) for encoding in _encode(self._ensure_loaded().tokenizer, texts)]

    def _ensure_loaded(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self._dir, self._threads)
            return self._loaded


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    # One by one: encode_batch starts threads that complain when the daemon later forks a worker.
    # A lone surrogate is legal in a JSON string and not in UTF-8.
    return [tokenizer.encode(text[:_READ_CHARS].encode("utf-8", "replace").decode()) for text in texts]


def _batches(encodings: Sequence[Encoding]) -> Iterator[list[int]]:
    """Indices of texts of similar length, so that little is computed for padding."""
    by_length = sorted(range(len(encodings)), key=lambda index: len(encodings[index].ids))
    for start in range(0, len(by_length), _BATCH):
        yield by_length[start : start + _BATCH]


def _pooled(loaded: _Loaded, batch: Sequence[Encoding]) -> NDArray[np.float32]:
    width = max(len(encoding.ids) for encoding in batch)
    ids = np.zeros((len(batch), width), np.int64)
    mask = np.zeros_like(ids)
    for row, encoding in enumerate(batch):
        ids[row, : len(encoding.ids)] = encoding.ids
        mask[row, : len(encoding.ids)] = 1
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    hidden = loaded.session.run(None, {name: feeds[name] for name in loaded.inputs})[0]
    summed = (hidden * mask[:, :, None]).sum(axis=1, dtype=np.float32)
    pooled = summed / mask.sum(axis=1, keepdims=True)
    norms = np.linalg.norm(pooled, axis=1, keepdims=True)
    rows: NDArray[np.float32] = (pooled / np.maximum(norms, 1e-12)).astype(np.float32)
    return rows


def _load(model_dir: Path, threads: int) -> _Loaded:
    for name in (MODEL_FILE, TOKENIZER_FILE):
        _check_size(model_dir, name)
    tokenizer = _load_tokenizer(model_dir / TOKENIZER_FILE)
    session = _load_session(model_dir / MODEL_FILE, threads)
    inputs = frozenset(tensor.name for tensor in session.get_inputs())
    shape = session.get_outputs()[0].shape
    known = {"input_ids", "attention_mask", "token_type_ids"}
    if not {"input_ids", "attention_mask"} <= inputs <= known or len(shape) != 3 or not isinstance(shape[2], int):
        raise _unreadable(MODEL_FILE, "is an ONNX model, but not a sentence encoder")
    return _Loaded(session, tokenizer, inputs, shape[2])


def _check_size(model_dir: Path, name: str) -> None:
    path = model_dir / name
    if not path.is_file():
        raise Broken(f"The encoder's file {name} is missing.", code="model_file_missing", hint=_HINT)
    expected = _manifest_sizes(model_dir).get(name)
    if expected is not None and path.stat().st_size < expected:
        raise Broken(f"The encoder's file {name} is cut short.", code="model_truncated", hint=_HINT)


def _manifest_sizes(model_dir: Path) -> dict[str, int]:
    try:
        manifest: Any = json.loads((model_dir / "manifest.json").read_text("utf-8"))
        return {entry["path"]: entry["size"] for entry in manifest["files"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _unreadable("manifest.json", "cannot be read") from error


def _load_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer  # noqa: PLC0415  # an engine: the daemon starts without it

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise _unreadable(path.name, "cannot be read") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_PIECES)
    return tokenizer


def _load_session(path: Path, threads: int) -> InferenceSession:
    import onnxruntime  # noqa: PLC0415  # an engine: the daemon starts without it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Idle threads would otherwise spin on cores that the language model needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each of the library's errors derives from bare Exception
        if "External data path" in str(error):
            raise _unreadable(path.name, "names weights outside its own folder, or weights that are missing") from error
        raise _unreadable(path.name, "cannot be read") from error


def _unreadable(name: str, what: str) -> Broken:
    return Broken(f"The encoder's file {name} {what}.", code="model_unreadable", hint=_HINT)
