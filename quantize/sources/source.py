"""What is to be converted: a GGUF file, a folder of safetensors in Hugging Face form, or a repository of the hub."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound
from edge_agent.home import current_home
from edge_agent.models.digest import sha256_of
from edge_agent.models.formats import gguf_header
from edge_agent.models.formats.safetensors_header import StoredTensor
from edge_agent.models.manifest import plain
from edge_agent.models.progress import SILENT, Progress
from quantize.sources import weight_files
from quantize.sources.weight_files import HINT, INDEX

# "…Q4_K_M", "…-F16" at the end of a name says how the source was quantized, not what it is.
_TYPE_SUFFIX = re.compile(r"[.-](i?q\d\w*|tq\d\w*|b?f16|f32|fp16|fp32|int[48]|\dbit)$", re.IGNORECASE)
_MOST_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """`path` is the GGUF itself or the folder; `files` are those whose bytes decide what comes out.

    `hub` is the id by which a hub gives the same bytes again, "owner/name@commit" or "owner/name@commit:file.gguf";
    `card` the model card, where one speaks of this model.
    """

    path: Path
    files: tuple[Path, ...]
    hub: str | None = None
    card: Path | None = None

    @property
    def is_gguf(self) -> bool:
        """Whether it is one GGUF file, and not a folder."""
        return self.path.is_file()

    @property
    def name(self) -> str:
        """What the model is called, without its quantization: `smollm2-135m-instruct`."""
        if self.is_gguf:
            stem = self.path.stem
        elif self.hub:
            stem = self.hub.partition("@")[0].rpartition("/")[2]
        else:
            stem = self.path.name
        plain = re.sub(r"[^a-z0-9_.-]+", "-", _TYPE_SUFFIX.sub("", stem).lower()).strip("-._")
        return plain or "model"

    def described(self) -> dict[str, Any]:
        """For the manifest: the hub's id, or the file's or folder's own name, and the sha256 and size of each file."""
        files = [
            {"path": plain(file.name), "sha256": sha256_of(file), "size": file.stat().st_size} for file in self.files
        ]
        return {"name": plain(self.hub or self.path.name), "files": files}

    @property
    def plain_bytes(self) -> int:
        """What its weights take at 32 bits, without the tokenizer: the disk that dequantizing it needs.

        Raises what `tensors` raises, and what `gguf_header.check` raises.
        """
        if self.is_gguf:
            layout = gguf_header.check(self.path, with_layout=True).layout
            return 4 * sum(math.prod(tensor.shape) for tensor in layout.values())
        return 4 * sum(tensor.numbers for tensor in self.tensors().values())

    def tensors(self) -> Mapping[str, StoredTensor]:
        """The tensors of a folder's weights by name, none of a GGUF.

        Raises what `weight_files.read_all` raises.
        """
        if self.is_gguf:
            return {}
        files = weight_files.read_all(self.path).values()
        return {name: tensor for file in files for name, tensor in file.items()}


def find(
    text: str, progress: Progress = SILENT, *, home: Path | None = None, environ: Mapping[str, str] | None = None
) -> Source:
    """The source that `text` names: what lies at that path, else the hub's repository, fetched into `home` first.

    Everything that can be known without reading the weights themselves is checked: cut files, missing shards, senseless
    headers. Raises NotFound, InvalidRequest, NotAllowed, Unavailable or Broken, each with what to do.
    """
    path = Path(text).expanduser()
    if path.is_file():
        return _gguf(path.absolute())
    if path.is_dir():
        return _folder(path.resolve())
    return _from_hub(text, home or current_home(), progress, environ)


def _from_hub(text: str, home: Path, progress: Progress, environ: Mapping[str, str] | None) -> Source:
    from quantize.sources.hub import HubId, fetch  # noqa: PLC0415 its HTTP client is slow to import

    wanted = HubId.parse(text)
    if wanted is None and os.path.lexists(Path(text).expanduser()):
        raise InvalidRequest(
            f"{text} is neither a plain file nor a folder.",
            code="not_a_model",
            hint="Name a .gguf file, or a folder with config.json, *.safetensors and tokenizer.json.",
        )
    if wanted is None:
        raise NotFound(
            f"There is no file or folder {text}.",
            code="source_not_found",
            hint="Name a .gguf file, a folder with config.json, *.safetensors and tokenizer.json, or a hub id such as "
            "owner/name, owner/name@revision or owner/name:file.gguf.",
        )
    fetched = fetch(wanted, home, progress, environ)
    found = _gguf(fetched.main) if fetched.main != fetched.folder else _folder(fetched.folder)
    card = fetched.folder / "README.md"
    return Source(found.path, found.files, fetched.name, card if card.is_file() else None)


def _gguf(path: Path) -> Source:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise Broken(
            f"{path.name} cannot be read.",
            code="model_unreadable",
            hint="Give yourself the right to read it, or name another source.",
        ) from error
    if start != b"GGUF":
        raise InvalidRequest(
            f"{path.name} is not a GGUF file.",
            code="not_a_model",
            hint="Name a .gguf file, or a folder with config.json, *.safetensors and tokenizer.json.",
        )
    gguf_header.check(path, hint=HINT)
    return Source(path, (path,))


def _folder(path: Path) -> Source:
    needed = [path / "config.json", path / "tokenizer.json"]
    has_weights = (path / INDEX).is_file() or any(file.is_file() for file in path.glob("*.safetensors"))
    missing = [file.name for file in needed if not file.is_file()] + ([] if has_weights else ["*.safetensors"])
    if missing:
        raise InvalidRequest(
            f"The folder {path.name} has no {', no '.join(missing)}.",
            code="not_a_model",
            hint="A model in Hugging Face form has config.json, *.safetensors and tokenizer.json.",
        )
    weights = weight_files.read_all(path)
    for file in needed:
        _check_json(file)
    card = path / "README.md"
    return Source(path, (*weights, *needed), card=card if card.is_file() else None)


def _check_json(path: Path) -> None:
    try:
        if path.stat().st_size > _MOST_JSON_BYTES or not isinstance(json.loads(path.read_bytes()), dict):
            raise ValueError  # noqa: TRY301  # one place says it
    except (OSError, ValueError, RecursionError) as error:
        raise Broken(f"{path.name} holds no JSON object.", code="model_unreadable", hint=HINT) from error
