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
class RuntimeLibrary:
    """A library that runs one format. `packages` are all needed; the first one's version is the library's.

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


LIBRARIES = (
    RuntimeLibrary("llama.cpp", "gguf", ("llama-cpp-python",)),
    RuntimeLibrary("ONNX Runtime", "onnx", ("onnxruntime", "tokenizers")),
    RuntimeLibrary("MLX", "mlx", ("mlx-lm", "mlx", "tokenizers"), extra="mlx"),
)


def library_for(model_format: str) -> RuntimeLibrary | None:
    """The library that runs this format, None for a format that no library runs."""
    return next((library for library in LIBRARIES if library.format == model_format), None)
