"""The libraries that run language models: which format each one runs, and whether it is installed.

Asks the packaging metadata only: nothing is imported, so the answer costs no memory and no crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

LlmFormat = Literal["gguf", "onnx", "mlx"]
"""How a language model's weights are stored."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A library that runs one format. `packages` are all needed; the first one's version is the engine's.

    `extra` is the extra of edge-agent that installs it, "" for what every installation has.
    """

    name: str
    format: LlmFormat
    packages: tuple[str, ...]
    extra: str = ""

    @property
    def version(self) -> str | None:
        """The installed version, None where a package of it is missing."""
        try:
            versions = [version(package) for package in self.packages]
        except PackageNotFoundError:
            return None
        return versions[0]

    @property
    def install_command(self) -> str:
        """What a person types to get it."""
        return f"pip install 'edge-agent[{self.extra}]'" if self.extra else "pip install --force-reinstall edge-agent"


ENGINES = (
    Engine("llama.cpp", "gguf", ("llama-cpp-python",)),
    Engine("ONNX Runtime", "onnx", ("onnxruntime", "tokenizers")),
    Engine("MLX", "mlx", ("mlx-lm", "mlx", "tokenizers"), extra="mlx"),
)


def engine_for(model_format: str) -> Engine | None:
    """The engine that runs this format, None for a format that no engine runs."""
    return next((engine for engine in ENGINES if engine.format == model_format), None)
