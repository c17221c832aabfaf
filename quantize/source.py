"""What is to be converted: a GGUF file, or a folder of safetensors in Hugging Face form."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound
from edge_agent.models import gguf_header
from edge_agent.models.manifest import plain

# "…Q4_K_M", "…-F16" at the end of a name says how the source was quantized, not what it is.
_TYPE_SUFFIX = re.compile(r"[.-](i?q\d\w*|tq\d\w*|b?f16|f32|fp16|fp32|int[48]|\dbit)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """`path` is the GGUF itself or the folder; `files` are those whose bytes decide what comes out."""

    path: Path
    files: tuple[Path, ...]

    @property
    def is_gguf(self) -> bool:
        """Whether it is one GGUF file, and not a folder."""
        return self.path.is_file()

    @property
    def name(self) -> str:
        """What the model is called, without its quantization: `smollm2-135m-instruct`."""
        stem = self.path.stem if self.is_gguf else self.path.name
        plain = re.sub(r"[^a-z0-9_.-]+", "-", _TYPE_SUFFIX.sub("", stem).lower()).strip("-._")
        return plain or "model"

    def described(self) -> dict[str, Any]:
        """Name, and the sha256 and size of each file, for the manifest."""
        files = [{"path": plain(file.name), "sha256": sha256(file), "size": file.stat().st_size} for file in self.files]
        return {"name": plain(self.path.name), "files": files}


def find(text: str) -> Source:
    """The source that `text` names. Raises NotFound, InvalidRequest or Broken, each with what to do."""
    path = Path(text).expanduser()
    if path.is_file():
        _check_magic(path)
        gguf_header.check(path)
        return Source(path.absolute(), (path.absolute(),))
    if path.is_dir():
        return _folder(path.resolve())
    raise NotFound(
        f"There is no file or folder {text}.",
        code="source_not_found",
        hint="Name a .gguf file, or a folder with config.json, *.safetensors and tokenizer.json.",
    )


def sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    if start != b"GGUF":
        raise InvalidRequest(
            f"{path.name} is not a GGUF file.",
            code="not_a_model",
            hint="Name a .gguf file, or a folder with config.json, *.safetensors and tokenizer.json.",
        )


def _folder(path: Path) -> Source:
    weights = sorted(path.glob("*.safetensors"))
    needed = [path / "config.json", path / "tokenizer.json"]
    missing = [file.name for file in needed if not file.is_file()] + ([] if weights else ["*.safetensors"])
    if missing:
        raise InvalidRequest(
            f"The folder {path.name} has no {', no '.join(missing)}.",
            code="not_a_model",
            hint="A model in Hugging Face form has config.json, *.safetensors and tokenizer.json.",
        )
    for file in weights:
        _check_safetensors(file)
    return Source(path, (*weights, *needed))


def _check_safetensors(path: Path) -> None:
    """The format: 8 bytes with the header's length, a JSON header with each tensor's place, then the tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            if length > size:
                raise ValueError  # noqa: TRY301  # one place says what a damaged header means
            header = json.loads(file.read(length))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _cut_short(path, "model_unreadable", "is damaged") from error
    if 8 + length + end > size:
        raise _cut_short(path, "model_truncated", "is cut short")


def _cut_short(path: Path, code: str, what: str) -> Broken:
    return Broken(f"{path.name} {what}.", code=code, hint="Fetch the source again and compare its sha256.")
