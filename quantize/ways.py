"""How a person wants artifacts made and judged, beside their type."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.models.digest import sha256_of
from quantize import calibration
from quantize.gguf import importance, to_gguf
from quantize.judge import text
from quantize.judge.extent import Extent


class Target(StrEnum):
    """The three runtimes' formats."""

    GGUF = "gguf"
    MLX = "mlx"
    ONNX = "onnx"


@dataclass(frozen=True, slots=True)
class Ways:
    """How artifacts are made and judged, beside their type. None: the bundled text, llama.cpp's choice.

    `calibration` is read for importance matrices and learned methods, `judging` for the figures, as much of it as
    `extent` says; `matrix` is the file of an importance matrix; the types are llama.cpp's, of these two tensors.
    """

    calibration: Path | None = None
    matrix: Path | None = None
    output_type: str | None = None
    embedding_type: str | None = None
    judging: Path | None = None
    extent: Extent = field(default_factory=Extent)

    def check(self, target: Target) -> None:
        """Raises Problem: a file is missing or cannot serve, a type is unknown, or an option is for another format."""
        for_gguf = {"imatrix": self.matrix, "output-type": self.output_type, "embedding-type": self.embedding_type}
        for option, value in for_gguf.items():
            if value is not None and target is not Target.GGUF:
                raise _useless(option, "gguf")
        to_gguf.check_tensor_type(self.output_type, "output-type")
        to_gguf.check_tensor_type(self.embedding_type, "embedding-type")
        if self.calibration is not None:
            if target is Target.ONNX:
                raise _useless("calibration", "gguf or mlx")
            calibration.check_text(self.calibration)
        if self.matrix is not None:
            importance.check_file(self.matrix)
        text.read(self.judging)

    @property
    def made_by(self) -> str:
        """A digest of all that decides, beside its type, what an artifact becomes. Reads the files."""
        return _digest(_sha256(self.calibration), _sha256(self.matrix), self.output_type, self.embedding_type)

    @property
    def judged_by(self) -> str:
        """A digest of all that decides what is measured of an artifact. Reads the file."""
        return _digest(_sha256(self.judging), asdict(self.extent))

    @property
    def options(self) -> Sequence[str]:
        """Those that are not None, as words of the command; of files the name."""
        named = {
            "--calibration": self.calibration and self.calibration.name,
            "--imatrix": self.matrix and self.matrix.name,
            "--output-type": self.output_type,
            "--embedding-type": self.embedding_type,
        }
        return tuple(word for option, value in named.items() if value for word in (option, value))

    def agree_with(self, notes: Sequence[str]) -> bool:
        """Whether an artifact with these notes read the file that is meant here, if it read any: they have its sha256.

        The command names files only by name.
        """
        file, said = self.matrix or self.calibration, " ".join(notes)
        return file is None or "sha256" not in said or sha256_of(file) in said


def _sha256(file: Path | None) -> str | None:
    return sha256_of(file) if file else None


def _digest(*facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def _useless(option: str, formats: str) -> InvalidRequest:
    return InvalidRequest(f"--{option} is for --to {formats}.", code="bad_option", hint="Leave it out.", param=option)
