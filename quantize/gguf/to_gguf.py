"""GGUF to GGUF: every quantization type of llama.cpp, run in a process of its own, with an importance matrix."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem
from edge_agent.models.digest import sha256_of
from edge_agent.models.disk import check_room, not_enough_disk
from edge_agent.models.formats import gguf_header
from edge_agent.models.manifest import plain
from edge_agent.models.progress import Progress
from quantize.gguf import importance
from quantize.manifest import Made, artifact_id
from quantize.native_process import Said, working
from quantize.sources.source import Source

DEFAULT_TYPE = "Q4_K_M"

TENSOR_TYPES = {
    "F32": 1, "F16": 1, "BF16": 1, "Q8_0": 32, "Q6_K": 256, "Q5_K": 256, "Q5_1": 32, "Q5_0": 32, "Q4_K": 256,
    "Q4_1": 32, "Q4_0": 32, "IQ4_NL": 32, "IQ4_XS": 256, "Q3_K": 256, "IQ3_S": 256, "Q2_K": 256,
}  # fmt: skip
"""What the output and the token embeddings can be kept in, with the weights in a block: no importance matrix needed."""

# Their quantizers read no importance matrix.
_UNWEIGHTED = {"F32", "F16", "BF16", "Q8_0", "MXFP4_MOE", "NVFP4", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0"}
_LITTLE_GAIN = {"Q6_K"}


def types() -> dict[str, int]:
    """The name and number of every type the library knows, such as "Q4_K_M" and "F16"."""
    import llama_cpp  # noqa: PLC0415  # an engine: half a second

    prefixes = ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")
    return {
        name.removeprefix(prefix): number
        for prefix in prefixes
        for name, number in sorted(vars(llama_cpp).items())
        if name.startswith(prefix)
    }


def check_type(type_name: str) -> str:
    """The type's name as the library writes it. Raises InvalidRequest code "unknown_type"."""
    known = types()
    if type_name.upper() not in known:
        raise InvalidRequest(
            f"llama.cpp has no quantization type {plain(type_name)}.",
            code="unknown_type",
            hint=f"One of: {', '.join(sorted(known))}.",
            param="type",
        )
    return type_name.upper()


def check_tensor_type(type_name: str | None, param: str, row: int | None = None) -> str | None:
    """The name of a tensor's type as the library writes it, for rows of `row` numbers; None stays None.

    Raises InvalidRequest code "unknown_type" | "bad_tensor_type".
    """
    if type_name is None:
        return None
    if type_name.upper() not in TENSOR_TYPES:
        raise InvalidRequest(
            f"No output or embeddings can be kept in {plain(type_name)}.",
            code="unknown_type",
            hint=f"One of: {', '.join(TENSOR_TYPES)}.",
            param=param,
        )
    block = TENSOR_TYPES[type_name.upper()]
    if row and row % block:
        raise InvalidRequest(
            f"Rows of {row} numbers do not fill {type_name.upper()}'s blocks of {block}.",
            code="bad_tensor_type",
            hint=f"Choose one of: {', '.join(name for name, size in TENSOR_TYPES.items() if row % size == 0)}.",
            param=param,
        )
    return type_name.upper()


def gains(type_name: str) -> bool:
    """Whether `type_name` gets an importance matrix unless told otherwise: every type of up to five bits that can."""
    return check_type(type_name) not in _UNWEIGHTED | _LITTLE_GAIN


def convert(
    source: Source,
    folder: Path,
    type_name: str,
    progress: Progress,
    *,
    matrix: Path | None = None,
    output_type: str | None = None,
    embedding_type: str | None = None,
) -> Made:
    """Write `source`, a GGUF, to `folder` as another GGUF of `type_name`. Blocks, for minutes.

    `matrix` is the file of an importance matrix, as `importance.compute` or llama.cpp's `llama-imatrix` writes it;
    types that cannot use it ignore it. `output_type` and `embedding_type` are among TENSOR_TYPES (None: llama.cpp
    chooses); where output and embeddings share their weights, either is for both, and the latter wins.

    Raises Broken code "model_truncated" | "model_unreadable" | "quantizer_crashed" | "quantizer_failed", NotFound
    "importance_matrix_not_found", InvalidRequest "unknown_type" | "unsupported_type" | "bad_tensor_type" |
    "needs_importance_matrix" | "bad_importance_matrix" and Unavailable "not_enough_disk".
    """
    job = _job(source, folder, type_name, output_type, embedding_type)
    if matrix is not None:
        importance.check_file(matrix)
    if matrix is None or job["type_name"] in _UNWEIGHTED:
        return _made(job, _quantized(source, folder, job, progress), ())
    facts = _quantized(source, folder, {**job, "matrix": str(matrix)}, progress)
    texts = f" of {plain(facts['datasets'])}" if facts["datasets"] else ""
    note = f"With the importance matrix {plain(matrix.name)} (sha256 {sha256_of(matrix)}){texts}."
    return _made(job, facts, (note,))


def check(
    source: Source,
    folder: Path,
    type_name: str,
    progress: Progress,
    *,
    output_type: str | None = None,
    embedding_type: str | None = None,
) -> None:
    """Raise what `convert` would before it writes: a look at what will come, in a second. Blocks."""
    job = _job(source, folder, type_name, output_type, embedding_type)
    _quantized(source, folder, {**job, "dry_run": True}, progress)


def _job(
    source: Source, folder: Path, type_name: str, output_type: str | None, embedding_type: str | None
) -> dict[str, Any]:
    if not source.is_gguf:
        raise InvalidRequest(
            "GGUF is made from a GGUF, and this source is a folder of safetensors.",
            code="unsupported_source",
            hint="Name a .gguf file; an F16 or Q8_0 one loses least.",
        )
    type_name = check_type(type_name)
    row = next(iter(gguf_header.check(source.path).dimensions.get("embedding_length", ())), None)
    return {
        "source": str(source.path),
        "target": str(folder / f"{artifact_id(source, type_name)}.gguf"),
        "type_name": type_name,
        "output_type": check_tensor_type(output_type, "output-type", row),
        "embedding_type": check_tensor_type(embedding_type, "embedding-type", row),
    }


def _quantized(source: Source, folder: Path, job: dict[str, Any], progress: Progress) -> Said:
    """What the worker says of its work, which is done, or in a dry run could be."""
    facts: Said = {}
    with working("quantize.gguf.worker", job) as reports:
        for report in reports:
            facts |= report
            if "tensor" in report:
                size = facts["size"]
                progress.advance(size * facts["tensor"] // facts["tensors"], size, job["type_name"])
            elif "size" in report:
                check_room(folder, facts["size"])
    if not facts.get("made"):
        raise _failure(source, folder, job, facts)
    return facts


def _made(job: dict[str, Any], facts: Said, notes: tuple[str, ...]) -> Made:
    said = list(notes)
    if facts["unweighted"]:
        said.append(f"It says nothing of {facts['unweighted']} of the matrices.")
    if job["output_type"]:
        said.append(f"The output is kept in {job['output_type']}.")
    if job["embedding_type"]:
        said.append(f"The token embeddings are kept in {job['embedding_type']}.")
    if facts["fallbacks"]:
        said.append(
            f"{facts['fallbacks']} of {facts['tensors']} tensors have rows that do not fill the blocks of their type: "
            "llama.cpp gave them the nearest type that does."
        )
    return Made(
        kind="llm",
        format="gguf",
        quantization=job["type_name"],
        tools={"llama-cpp-python": version("llama-cpp-python")},
        context_length=facts["context_length"],
        parameters=facts["parameters"],
        licence=facts["licence"],
        notes=tuple(said),
    )


def _failure(source: Source, folder: Path, job: dict[str, Any], facts: Said) -> Problem:
    """What llama.cpp's last words mean: it has no error codes. Tests hold these words against the locked version."""
    name, type_name, said = plain(source.path.name), job["type_name"], facts.get("failure")
    if said is None:
        return Broken(
            f"llama.cpp crashed over {name}.",
            code="quantizer_crashed",
            hint="Fetch the source again and compare its sha256.",
        )
    if "cannot_load" in facts:
        return Broken(
            f"llama.cpp cannot run {name}: {plain(said)}",
            code="model_unreadable",
            hint="Fetch the source again and compare its sha256; a newer edge-agent may know newer architectures.",
        )
    if "bad_matrix" in facts or "imatrix size" in said:
        return importance.bad_matrix(Path(job["matrix"]), facts.get("bad_matrix") or "is of another model")
    if "not within the file bounds" in said or "failed to load model" in said:
        return importance.unreadable(name, said)
    if "importance matrix" in said:
        return InvalidRequest(
            f"{type_name} needs an importance matrix for every matrix of weights.",
            code="needs_importance_matrix",
            hint="Let it be computed, or choose a type of three bits or more, such as IQ3_XS or Q3_K_M.",
            param="type",
        )
    unsupported = {
        "invalid output file type": f"llama.cpp knows {type_name}, but does not write it.",
        "no tensor type fallback": f"{name} has rows that do not fill {type_name}'s blocks, and nothing stands in.",
    }
    for words, message in unsupported.items():
        if words in said:
            hint = "Choose another type, such as Q4_K_M."
            return InvalidRequest(message, code="unsupported_type", hint=hint, param="type")
    if "iostream error" in said:
        return not_enough_disk(folder)
    return Broken(
        f"llama.cpp could not quantize {name}: {plain(said)}",
        code="quantizer_failed",
        hint="Fetch the source again, or try another type.",
    )
