"""Makes and judges artifacts of one source; what several of them need is made once, and kept between runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.models.digest import sha256_of
from edge_agent.models.disk import check_room
from edge_agent.models.made_here import MANIFEST_NAME
from edge_agent.models.manifest import Measured, parse
from edge_agent.models.progress import Progress
from quantize import calibration, manifest
from quantize.gguf import importance, llama_converter, to_gguf
from quantize.judge import text
from quantize.judge.extent import Extent
from quantize.judge.judgement import judge
from quantize.judge.reference import reference
from quantize.manifest import Made
from quantize.mlx import to_mlx
from quantize.onnx import to_onnx
from quantize.sources.source import Source
from quantize.stages import Facts, Stages


class Target(StrEnum):
    """The three runtimes' formats."""

    GGUF = "gguf"
    MLX = "mlx"
    ONNX = "onnx"


_MODEL = "model"
_MATRIX = "imatrix.gguf"

FORMATS = {Target.GGUF: to_gguf, Target.MLX: to_mlx, Target.ONNX: to_onnx}


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
        """Raises Problem: a file is missing or cannot serve, or an option is for another format."""
        for_gguf = {"imatrix": self.matrix, "output-type": self.output_type, "embedding-type": self.embedding_type}
        for option, value in for_gguf.items():
            if value is not None and target is not Target.GGUF:
                raise _useless(option, "gguf")
        if self.calibration is not None:
            if target is Target.ONNX:
                raise _useless("calibration", "gguf or mlx")
            calibration.check_text(self.calibration)
        if self.matrix is not None:
            importance.check_file(self.matrix)
        text.read(self.judging)

    @property
    def recipe(self) -> str:
        """A digest of all that decides what an artifact of a type becomes, or what is measured of it."""
        read = [sha256_of(file) if file else None for file in (self.calibration, self.matrix, self.judging)]
        said = json.dumps([read, self.output_type, self.embedding_type, asdict(self.extent)])
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    @property
    def options(self) -> tuple[str, ...]:
        """Those that are not None, as words of the command; of files the name."""
        named = {
            "--calibration": self.calibration and self.calibration.name,
            "--imatrix": self.matrix and self.matrix.name,
            "--output-type": self.output_type,
            "--embedding-type": self.embedding_type,
        }
        return tuple(word for option, value in named.items() if value for word in (option, value))


def _useless(option: str, formats: str) -> InvalidRequest:
    return InvalidRequest(f"--{option} is for --to {formats}.", code="bad_option", hint="Leave it out.", param=option)


class Workshop:
    """For one source and one format. All its methods block, for seconds to minutes, and raise Problem."""

    def __init__(
        self, source: Source, target: Target, ways: Ways, *, described: Facts, stages: Stages, progress: Progress
    ) -> None:
        """`described` is what `source.described()` gave, which reads all of it."""
        self._source = source
        self._described = described
        self._target = target
        self._ways = ways
        self._recipe = ways.recipe
        self._stages = stages
        self._progress = progress

    def make(self, type_name: str) -> tuple[Path, Made]:
        """The folder with the artifact of this type, among the stages, and what is said of it."""

        def convert(scratch: Path) -> Facts:
            model = scratch / _MODEL
            model.mkdir()
            return asdict(self._convert(type_name, model))

        folder, facts = self._stages.part(self._artifact(type_name), convert)
        return folder / _MODEL, Made(**{**facts, "notes": tuple(facts["notes"])})

    def describe(self, folder: Path, made: Made, measured: Measured | None = None) -> dict[str, Any]:
        """Write the manifest into the artifact's folder, and return it."""
        return manifest.write(
            folder,
            self._source,
            made,
            described=self._described,
            options=self._ways.options,
            measured=measured,
        )

    def judge(self, type_name: str) -> Measured | None:
        """What the artifact of this type is worth, by this run or an earlier one; None if it is no language model."""
        key = f"measured-{self._artifact(type_name)}"
        if (known := self._stages.remembered(key)) is not None:
            return Measured(**known)
        folder, made = self.make(type_name)
        if made.kind != "llm":
            return None
        described = parse(self.describe(folder, made), MANIFEST_NAME)
        ways = self._ways
        kept = reference(self._as_gguf().path, ways.judging, self._stages.path, self._progress, ways.extent)
        measured = judge(folder, described, kept, self._progress)
        self._stages.remember(key, measured.as_dict())
        return measured

    def made_before(self, folder: Path, type_name: str) -> dict[str, Any] | None:
        """The manifest in `folder`, if it is of the same artifact."""
        record = folder / MANIFEST_NAME
        if not record.is_file():
            return None
        found: dict[str, Any] = json.loads(record.read_text("utf-8"))
        parse(found, MANIFEST_NAME)
        same = found["made"]["source"]["files"] == self._described["files"] and found["quantization"] == type_name
        return found if same else None

    def drop(self, type_name: str) -> None:
        """Make room: the artifact of this type is not wanted now."""
        self._stages.drop(self._artifact(type_name))

    def _artifact(self, type_name: str) -> str:
        return f"{self._target}-{type_name}-{self._recipe}"

    def _convert(self, type_name: str, folder: Path) -> Made:
        if self._target is Target.GGUF:
            return self._to_gguf(type_name, folder)
        plain, known = self._plain()
        if self._target is Target.MLX:
            made = to_mlx.convert(
                self._source, folder, type_name, self._progress, plain=plain, calibration=self._ways.calibration
            )
        else:
            made = to_onnx.convert(self._source, folder, type_name, self._progress, plain=plain)
        return replace(
            made, parameters=made.parameters or known.get("parameters"), licence=made.licence or known.get("licence")
        )

    def _to_gguf(self, type_name: str, folder: Path) -> Made:
        source, ways = self._as_gguf(), self._ways
        output, embedding = ways.output_type, ways.embedding_type
        to_gguf.check(source, folder, type_name, self._progress, output_type=output, embedding_type=embedding)
        matrix = ways.matrix
        if matrix is None and to_gguf.gains(type_name):
            matrix = self._importance(source)
        made = to_gguf.convert(
            source,
            folder,
            type_name,
            self._progress,
            matrix=matrix,
            output_type=output,
            embedding_type=embedding,
        )
        if self._source.is_gguf:
            return made
        _, known = self._lossless()
        return replace(made, tools={**made.tools, **known["tools"]}, notes=(*made.notes, *known["notes"]))

    def _plain(self) -> tuple[Path, Facts]:
        """The weights in Hugging Face form."""
        if not self._source.is_gguf:
            return self._source.path, {}

        def dequantize(scratch: Path) -> Facts:
            check_room(scratch, self._source.plain_bytes)
            return to_onnx.dequantize(self._source, scratch / _MODEL, self._progress)

        folder, facts = self._stages.part("plain", dequantize)
        return folder / _MODEL, facts

    def _as_gguf(self) -> Source:
        """The source as a GGUF that loses nothing."""
        if self._source.is_gguf:
            return self._source
        path, _ = self._lossless()
        return Source(path, (path,), self._source.hub, self._source.card)

    def _lossless(self) -> tuple[Path, Facts]:
        name = f"{self._source.name}.gguf"
        folder, facts = self._stages.part(
            "gguf", lambda scratch: llama_converter.to_gguf(self._source, scratch / name, self._progress)
        )
        return folder / name, facts

    def _importance(self, source: Source) -> Path:
        """One matrix serves all types."""
        file = self._ways.calibration
        folder, _ = self._stages.part(
            f"importance-{sha256_of(file)[:12] if file else 'bundled'}",
            lambda scratch: asdict(importance.compute(source.path, scratch / _MATRIX, self._progress, file)),
        )
        return folder / _MATRIX
