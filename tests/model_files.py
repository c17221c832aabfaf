"""The model files that tests and benchmarks use: pulled or converted once, into folders that survive between runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edge_agent.models.catalog import Catalog
from edge_agent.models.locks.lock import exclusive
from edge_agent.models.store import ModelStore
from quantize import export_environment

SMALL_LLM = "smollm2-135m-instruct-q4_1"
SMALL_MODELS = (SMALL_LLM, "rampart-pii-q4", "spacy-en-core-web-sm")
BIG_MODEL = "qwen2.5-coder-1.5b-instruct-q4_k_m"
ONNX_LLM = "smollm2-135m-instruct-onnx-int8"
MLX_LLM = "smollm2-135m-instruct-mlx-8bit"


class Quiet:
    """A progress display that shows nothing."""

    def advance(self, done: int, total: int, what: str) -> None:
        """Ignore it."""


def _root() -> Path:
    default = Path(__file__).parent.parent / ".venv" / "test-models"
    return Path(os.environ.get("EDGE_AGENT_TEST_MODELS", default))


def _pulled(*model_ids: str) -> Path:
    root = _root()
    _pull(ModelStore(root, Catalog.load()), model_ids)
    return root


def _pull(store: ModelStore, model_ids: Sequence[str]) -> None:
    installed = {entry.manifest.id for entry in store.list() if entry.installed}
    for model_id in model_ids:
        if model_id not in installed:
            store.pull(model_id, Quiet())


def small_models() -> Path:
    """A models folder with every small catalog model in it."""
    return _pulled(*SMALL_MODELS)


def big_models() -> Path:
    """The same folder with the 1.5B model in it, too."""
    return _pulled(*SMALL_MODELS, BIG_MODEL)


def converted_models() -> Path:
    """A models folder with SmolLM2 in all three formats: the GGUF, and ONNX and MLX made of it by `edge-quantize`.

    Blocks, the first time for minutes. Without the mlx extra there is no MLX model. Raises Unavailable code
    "export_environment_failed" where torch cannot be had.
    """
    pulled = _pulled(*SMALL_MODELS)
    root = pulled.with_name(f"{pulled.name}-converted") / "models"
    wanted = {"onnx": ONNX_LLM, **({"mlx": MLX_LLM} if find_spec("mlx_lm") else {})}
    with exclusive(root.parent / ".lock", lambda: None):
        store = ModelStore(root, Catalog.load(), environ={**os.environ, "EDGE_AGENT_MIRROR": str(pulled)})
        _pull(store, SMALL_MODELS)
        for one in store.damaged():
            store.remove(one.model_id)
        missing = [target for target, model_id in wanted.items() if store.find(model_id) is None]
        if missing:
            export_environment.interpreter(Quiet())
            _convert(store.file(SMALL_LLM), missing, home=root.parent)
    return root


def _convert(gguf: Path, targets: Sequence[str], home: Path) -> None:
    """All at once: each keeps hardly more than one core busy."""
    environ = {**os.environ, "EDGE_AGENT_HOME": str(home)}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "quantize.cli", str(gguf), "--to", target, "--no-judge"],
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for target in targets
    ]
    failures = [(process.communicate()[1], process.returncode) for process in running]
    for said, status in failures:
        if status:
            raise RuntimeError(f"edge-quantize failed: {said}")
