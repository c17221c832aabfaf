"""A folder in Hugging Face form to GGUF, and a LoRA adapter of PEFT, with llama.cpp's own converters.

They are no package: they come from the source distribution of the llama-cpp-python that we run, fetched once with pip
and the user's own pip settings, and lie under the export environment, in which they run. Only they are taken out of it.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Unavailable
from edge_agent.models.digest import sha256_of
from edge_agent.models.disk import check_room
from edge_agent.models.formats import gguf_header
from edge_agent.models.formats.safetensors_header import StoredTensor, safetensors_header
from edge_agent.models.progress import Progress
from quantize import export_environment
from quantize.gguf import tokenizer_check
from quantize.sources.source import Source

VERSION = "0.3.36"
SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
"""Of llama_cpp_python-VERSION.tar.gz: both as in the lock, which a test compares."""

SCRIPT = Path(__file__).with_name("convert_gguf.py")
REQUIREMENTS = export_environment.requirements("convert")
"""What only the converters need: beside it, transformers would write other files when it dequantizes a GGUF."""

SITE = "site"

_DOWNLOAD_BYTES = 80_000_000
_BESIDE_WEIGHTS_BYTES = 64 * 2**20
_MOST_MEMBER_BYTES = 4 * 2**20
_VENDORED = PurePosixPath("vendor/llama.cpp")
_WANTED = re.compile(r"(convert_hf_to_gguf|convert_lora_to_gguf|conversion/\w+|gguf-py/gguf/\w+)\.py|LICENSE")
_NEEDED = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion/__init__.py", "gguf-py/gguf/__init__.py")
_BYTES = {"bf16": 2, "f16": 2, "f32": 4}


def to_gguf(source: Source, target: Path, progress: Progress) -> dict[str, Any]:
    """Write `source`, a folder, to the file `target` as a GGUF that loses nothing: of 16 bits, or of 32. Blocks.

    Returns {"type": "BF16", "parameters": the numbers in its weights, "tools": {name: version}, "notes": [sentences]}.
    Raises InvalidRequest code "unsupported_architecture" | "unsupported_tokenizer", Broken code "converter_failed",
    Unavailable code "not_enough_disk" | "converter_unavailable", and what `export_environment.run` raises.
    """
    tensors = source.tensors()
    kind = lossless_type(tensors.values())
    sizes = (tensor.numbers * (_BYTES[kind] if len(tensor.shape) > 1 else 4) for tensor in tensors.values())
    check_room(target.parent, sum(sizes) + _BESIDE_WEIGHTS_BYTES)
    named = ["--name", source.hub.partition("@")[0].rpartition("/")[2]] if source.hub else []
    facts = _run("model", source.path, target, ["--outtype", kind, *named], progress)
    parameters = sum(tensor.numbers for tensor in tensors.values())
    return {"type": kind.upper(), "parameters": parameters, "tools": facts["tools"], "notes": facts["notes"]}


def lora_to_gguf(adapter: Path, base: Path, target: Path, progress: Progress) -> dict[str, Any]:
    """Write a LoRA adapter in PEFT's form to the file `target` as llama.cpp's, at 32 bits. Blocks.

    `adapter` is a folder with adapter_config.json and adapter_model.safetensors; `base` one with the config.json of the
    model that it belongs to, whose weights are not needed. Returns {"tools": {name: version}}.
    Raises InvalidRequest code "not_an_adapter" | "unsupported_adapter", and what `to_gguf` raises.
    """
    weights = adapter / "adapter_model.safetensors"
    needed = (adapter / "adapter_config.json", weights, base / "config.json")
    if missing := [file.name for file in needed if not file.is_file()]:
        raise InvalidRequest(
            f"There is no {', no '.join(missing)}.",
            code="not_an_adapter",
            hint="Name a folder with a PEFT adapter's adapter_config.json and adapter_model.safetensors, and its base.",
        )
    tensors = safetensors_header(weights)
    check_room(target.parent, sum(4 * tensor.numbers for tensor in tensors.values()) + _BESIDE_WEIGHTS_BYTES)
    facts = _run("lora", adapter, target, ["--base", str(base)], progress)
    return {"tools": facts["tools"]}


def lossless_type(tensors: Iterable[StoredTensor]) -> str:
    """The type that keeps every number: "bf16" or "f16" where all matrices have it, else "f32"."""
    kinds = {tensor.kind for tensor in tensors if len(tensor.shape) > 1}
    return kinds.pop().lower() if kinds in ({"BF16"}, {"F16"}) else "f32"


def converter(progress: Progress, home: Path | None = None) -> Path:
    """The folder of llama.cpp's converters under the export environment (at `home`), fetched first where it is missing.

    Raises what `export_environment.interpreter` raises, and Unavailable code "converter_unavailable" |
    "not_enough_disk".
    """
    home = home or export_environment.place()
    python = export_environment.interpreter(progress, home)
    pinned = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    folder = home / f"llama.cpp-{VERSION}-{pinned[:8]}"
    if folder.is_dir():
        return folder
    check_room(home, 2 * _DOWNLOAD_BYTES)
    with tempfile.TemporaryDirectory(prefix=".llama.cpp-", dir=home) as scratch:
        sdist = _download(python, Path(scratch), progress)
        unpacked = Path(scratch) / "unpacked"
        unpack(sdist, unpacked)
        sdist.unlink()
        _pip(python, Path(scratch), "install", "--requirement", str(REQUIREMENTS), "--target", str(unpacked / SITE))
        if not folder.is_dir():  # another run of this command may have been faster
            unpacked.rename(folder)
    return folder


def unpack(sdist: Path, folder: Path) -> None:
    """Write the converters among the members of `sdist` to `folder`: plain files of known names, never a link.

    Raises Broken code "converter_damaged" where they are not all there.
    """
    try:
        with tarfile.open(sdist, "r:gz") as archive:
            for member in archive:
                inner = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                if not member.isreg() or not inner.is_relative_to(_VENDORED):
                    continue
                name = inner.relative_to(_VENDORED).as_posix()
                opened = archive.extractfile(member) if _WANTED.fullmatch(name) else None
                if opened is not None and member.size <= _MOST_MEMBER_BYTES:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(opened.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _damaged(sdist) from error
    if not all((folder / name).is_file() for name in _NEEDED):
        raise _damaged(sdist)


def _run(what: str, source: Path, target: Path, options: list[str], progress: Progress) -> dict[str, Any]:
    """The GGUF gets its name when it is whole."""
    scripts = converter(progress)
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=target.parent) as scratch:
        half = Path(scratch) / target.name
        arguments = [str(scripts), what, str(source), str(half), *options]
        facts = export_environment.run(arguments, progress, log=Path(scratch) / "log", script=SCRIPT)
        gguf_header.check(half)
        if what == "model":
            facts["notes"] = _notes(half, source)
        half.replace(target)
    return {**facts, "tools": {"llama.cpp converter": VERSION, **facts["tools"]}}


def _notes(gguf: Path, source: Path) -> list[str]:
    """What llama.cpp makes of the tokenizer. Raises InvalidRequest code "unsupported_tokenizer"."""
    differ = tokenizer_check.differing(gguf, source / "tokenizer.json")
    if differ is None:
        raise InvalidRequest(
            f"llama.cpp cannot use the tokenizer of {source.name}: its files contradict each other.",
            code="unsupported_tokenizer",
            hint="Take a GGUF of this model, or the tokenizer's files from the model's makers.",
        )
    if not differ:
        return []
    return [f"llama.cpp cuts {differ} of {len(tokenizer_check.TEXTS)} sample texts into other tokens than the source."]


def _download(python: Path, folder: Path, progress: Progress) -> Path:
    progress.advance(0, 0, "fetching llama.cpp's converters (once)")
    pinned = folder / "pinned.txt"
    pinned.write_text(f"llama-cpp-python=={VERSION} --hash=sha256:{SDIST_SHA256}\n", "ascii")
    no_wheel = ("--no-binary", "llama-cpp-python")
    _pip(python, folder, "download", *no_wheel, "--requirement", str(pinned), "--dest", str(folder))
    found = [path for path in folder.glob("*.tar.gz") if sha256_of(path) == SDIST_SHA256]
    if not found:
        raise _unavailable("")
    return found[0]


def _pip(python: Path, scratch: Path, *arguments: str) -> None:
    try:
        export_environment.pip(python, *arguments, "--quiet", "--no-deps", "--require-hashes", scratch=scratch)
    except subprocess.CalledProcessError as error:
        raise _unavailable(error.stderr) from error


def _unavailable(said: str) -> Unavailable:
    lines = (
        [line for line in said.splitlines() if line.startswith("ERROR:")] or said.splitlines()[-1:] or ["pip failed"]
    )
    return Unavailable(
        f"llama.cpp's converters cannot be had: {lines[-1][:300]}",
        code="converter_unavailable",
        hint=f"They are in the source distribution of llama-cpp-python {VERSION}: pip's index must have it, or a "
        "folder named by PIP_FIND_LINKS. A GGUF of the model needs none of it.",
    )


def _damaged(sdist: Path) -> Broken:
    return Broken(
        f"{sdist.name} does not hold llama.cpp's converters as it should.",
        code="converter_damaged",
        hint="Empty pip's cache (pip cache purge) and try again.",
    )
