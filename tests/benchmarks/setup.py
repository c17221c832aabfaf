"""What every benchmark is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_agent.runtimes.worker.threads import compute_threads
from tests.model_files import BIG_MODEL

CONTEXT_LENGTH = 8192
"""Tokens of context that the daemon gives a model; the baselines get as much."""

QUICK_MODEL = "smollm2-135m-instruct-q4_1"


@dataclass(frozen=True, slots=True)
class Setup:
    """Where the models are, a folder of the benchmark's own, and how much is done.

    `tokens` in an answer, `rounds` of which the median counts, `history_tokens` in a long conversation;
    `llama_server`: a compiled llama.cpp server to measure against instead of the one in the xllamacpp package.
    """

    models: Path
    scratch: Path
    model: str = BIG_MODEL
    tokens: int = 96
    rounds: int = 5
    history_tokens: int = 2000
    llama_server: Path | None = None

    @property
    def name(self) -> str:
        """The model, short enough for a table."""
        return "1.5B" if self.model == BIG_MODEL else self.model.split("-instruct")[0]

    @property
    def path(self) -> Path:
        """The model's file."""
        (path,) = (self.models / self.model).glob("*.gguf")
        return path

    @property
    def threads(self) -> int:
        """What the daemon would compute with; the baselines do, too."""
        return compute_threads()

    @property
    def config(self) -> str:
        """A daemon with this model that never escalates."""
        return f'[models]\ndefault = "{self.model}"\n[bridge]\nmode = "off"\n'
