"""Makes and judges artifacts of one source; what several of them need is made once, and kept between runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.digest import sha256_of
from edge_agent.models.disk import check_room
from edge_agent.models.formats.hf_files import object_of
from edge_agent.models.made_here import MANIFEST_NAME
from edge_agent.models.manifest import Measured, parse
from edge_agent.models.progress import Progress
from quantize import manifest
from quantize.gguf import importance, llama_converter, to_gguf
from quantize.judge.judgement import judge
from quantize.judge.reference import Reference, reference
from quantize.manifest import Made, Origin
from quantize.mlx import to_mlx
from quantize.onnx import to_onnx
from quantize.sources.source import Source
from quantize.stages import Facts, Stages
from quantize.ways import Target, Ways

_MODEL = "model"
_MATRIX = "imatrix.gguf"

FORMATS = {Target.GGUF: to_gguf, Target.MLX: to_mlx, Target.ONNX: to_onnx}


@dataclass(frozen=True, slots=True)
class Artifact:
    """What was made, in a `folder` among the stages; `files` as the manifest has them."""

    folder: Path
    made: Made
    files: Sequence[Mapping[str, Any]]


class Workshop:
    """For one source and one format. All its methods block, for seconds to minutes, and raise Problem."""

    def __init__(
        self, source: Source, target: Target, ways: Ways, *, described: Facts, stages: Stages, progress: Progress
    ) -> None:
        """`described` is what `source.described()` gave, which reads all of it."""
        self._source = source
        self._origin = Origin.of(source, described)
        self._target = target
        self._ways = ways
        self._made_by = ways.made_by
        self._judged_by = ways.judged_by
        self._stages = stages
        self._progress = progress
        self._reference: Reference | None = None

    def make(self, type_name: str) -> Artifact:
        """The artifact of this type, by this run or an earlier one that was stopped."""

        def convert(scratch: Path) -> Facts:
            model = scratch / _MODEL
            model.mkdir()
            return asdict(self._convert(type_name, model))

        name = self._artifact(type_name)
        folder, facts = self._stages.part(name, convert)
        made = Made(**{**facts, "notes": tuple(facts["notes"])})
        known = self._stages.digests(name)
        files = manifest.files_of(folder / _MODEL, made.format, lambda path: known[path.relative_to(folder).as_posix()])
        return Artifact(folder / _MODEL, made, files)

    def describe(self, artifact: Artifact, measured: Measured | None = None) -> dict[str, Any]:
        """Its manifest. Raises Broken code "bad_manifest" where `edge_agent.models` would not read it."""
        made = artifact.made
        command = self._command(made.quantization)
        return manifest.document(self._origin, made, artifact.files, command=command, measured=measured)

    def judge(self, type_name: str) -> Measured | None:
        """What the artifact of this type is worth, by this run or an earlier one; None if it is no language model."""
        key = f"measured-{self._artifact(type_name)}-{self._judged_by}"
        if (known := self._figures(key)) is not None:
            return known
        artifact = self.make(type_name)
        if artifact.made.kind != "llm":
            return None
        described = parse(self.describe(artifact), MANIFEST_NAME)
        measured = judge(artifact.folder, described, self._beside(), self._progress)
        self._stages.remember(key, measured.as_dict())
        return measured

    def made_before(self, folder: Path, type_name: str) -> dict[str, Any] | None:
        """The manifest in `folder`, if it is of the same artifact: of these sources, by this command and its files."""
        try:
            found = object_of(folder / MANIFEST_NAME)
            made = parse(found, MANIFEST_NAME).made
        except Broken:
            return None
        if made is None or found["made"]["source"]["files"] != self._origin.described["files"]:
            return None
        same = made.command == self._command(type_name) and self._ways.agree_with(made.notes)
        return found if same else None

    def drop(self, type_name: str) -> None:
        """Make room: the artifact of this type is not wanted now."""
        self._stages.drop(self._artifact(type_name))

    def _artifact(self, type_name: str) -> str:
        return f"{self._target}-{type_name}-{self._made_by}"

    def _command(self, type_name: str) -> str:
        name = self._origin.described["name"]
        return manifest.command_of(name, "--to", self._target, "--type", type_name, *self._ways.options)

    def _figures(self, key: str) -> Measured | None:
        known = self._stages.remembered(key)
        try:
            return None if known is None else Measured(**known)
        except ValueError:  # those of another form are taken anew
            return None

    def _beside(self) -> Reference:
        """What all artifacts are held against; to find the one that is kept, the source is read whole."""
        if self._reference is None:
            ways, gguf = self._ways, self._as_gguf().path
            self._reference = reference(gguf, ways.judging, self._stages.path, self._progress, ways.extent)
        return self._reference

    def _convert(self, type_name: str, folder: Path) -> Made:
        if self._target is Target.GGUF:
            return self._to_gguf(type_name, folder)
        plain, known = self._plain()
        if self._target is Target.MLX:
            text = self._ways.calibration
            made = to_mlx.convert(self._source, folder, type_name, self._progress, plain=plain, calibration=text)
        else:
            made = to_onnx.convert(self._source, folder, type_name, self._progress, plain=plain)
        return replace(made, parameters=known.get("parameters"), licence=known.get("licence"))

    def _to_gguf(self, type_name: str, folder: Path) -> Made:
        source, ways = self._as_gguf(), self._ways
        matrix = ways.matrix
        if matrix is None and to_gguf.gains(type_name):
            matrix = self._importance(source, type_name)
        made = to_gguf.convert(
            source,
            folder,
            type_name,
            self._progress,
            matrix=matrix,
            output_type=ways.output_type,
            embedding_type=ways.embedding_type,
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
        (path,) = folder.glob("*.gguf")  # the same weights may have been called otherwise when it was made
        return path, facts

    def _importance(self, source: Source, type_name: str) -> Path:
        """One matrix serves all types."""
        ways = self._ways

        def compute(scratch: Path) -> Facts:
            # First a look at what will come: a damaged source or a full disk should not cost minutes of reading.
            output, embedding = ways.output_type, ways.embedding_type
            to_gguf.check(source, scratch, type_name, self._progress, output_type=output, embedding_type=embedding)
            return asdict(importance.compute(source.path, scratch / _MATRIX, self._progress, ways.calibration))

        digest = sha256_of(ways.calibration)[:12] if ways.calibration else "bundled"
        folder, _ = self._stages.part(f"importance-{digest}", compute)
        return folder / _MATRIX
