"""The model files that tests and benchmarks use: pulled once, into a folder that survives between runs."""

from __future__ import annotations

import os
from pathlib import Path

from edge_agent.models.catalog import Catalog
from edge_agent.models.store import ModelStore

SMALL_MODELS = ("smollm2-135m-instruct-q4_1", "rampart-pii-q4", "spacy-en-core-web-sm")
BIG_MODEL = "qwen2.5-coder-1.5b-instruct-q4_k_m"


class Quiet:
    """A progress display that shows nothing."""

    def advance(self, done: int, total: int, what: str) -> None:
        """Ignore it."""


def _pulled(*model_ids: str) -> Path:
    default = Path(__file__).parent.parent / ".venv" / "test-models"
    root = Path(os.environ.get("EDGE_AGENT_TEST_MODELS", default))
    store = ModelStore(root, Catalog.load())
    installed = {entry.manifest.id for entry in store.list() if entry.installed}
    for model_id in model_ids:
        if model_id not in installed:
            store.pull(model_id, Quiet())
    return root


def small_models() -> Path:
    """A models folder with every small catalog model in it."""
    return _pulled(*SMALL_MODELS)


def big_models() -> Path:
    """The same folder with the 1.5B model in it, too."""
    return _pulled(*SMALL_MODELS, BIG_MODEL)
