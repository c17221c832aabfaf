"""The importance matrix: which inputs of each matrix of weights matter, found by reading a text with the model.

For each matrix the mean square of every input over the text's tokens. llama.cpp's quantizers weigh the error that they
make in a column of weights by it. The file is llama.cpp's own, so it may also come from there, and go there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloud_bridge.protocol.problems import Broken, InvalidRequest, NotFound, Problem
from edge_agent.models.digest import sha256_of
from edge_agent.models.disk import not_enough_disk
from edge_agent.models.formats import gguf_header
from edge_agent.models.manifest import plain
from edge_agent.models.progress import Progress
from quantize.calibration import BUNDLED_TEXT, check_text
from quantize.native_process import Said, working

BUNDLED_CHUNKS = 6
"""Of 512 tokens: read from all over the bundled text. On SmolLM2 a third of it did as well as the whole."""

_LEAVE_IT = "--type Q8_0 needs none, and --imatrix FILE takes one that was made elsewhere."


@dataclass(frozen=True, slots=True)
class Computed:
    """What an importance matrix was computed from, and on how many tokens and matrices of weights."""

    text: str
    text_sha256: str
    tokens: int
    tensors: int


def compute(model: Path, target: Path, progress: Progress, text: Path | None = None) -> Computed:
    """Read `text` (None: the bundled one) with the GGUF `model`, and write its matrix to `target`. Blocks, for minutes.

    Of the bundled text `BUNDLED_CHUNKS` pieces are read, of another all. Costs as much as a prompt of that length. The
    same model, text, machine and number of threads give the same matrix; on others its last digits may differ.

    Raises NotFound code "calibration_not_found", InvalidRequest "calibration_unreadable" | "calibration_too_short" |
    "no_importance_matrix", Broken "model_truncated" | "model_unreadable" | "importance_crashed" and
    Unavailable "not_enough_disk".
    """
    text = text or BUNDLED_TEXT
    check_text(text)
    digest = sha256_of(text)
    dataset = f"{plain(text.name)} sha256:{digest}"
    most = BUNDLED_CHUNKS if text == BUNDLED_TEXT else None
    job = {"model": str(model), "text": str(text), "target": str(target), "dataset": dataset, "most_chunks": most}
    said: Said = {}
    with working("quantize.gguf.importance_worker", job) as reports:
        for said in reports:
            if "chunk" in said:
                progress.advance(said["chunk"], said["chunks"], "importance matrix")
    if said.get("made"):
        return Computed(plain(text.name), digest, said["tokens"], said["tensors"])
    target.unlink(missing_ok=True)
    raise _failure(model, text, target, said)


def check_file(matrix: Path) -> None:
    """Raises NotFound code "importance_matrix_not_found" or InvalidRequest code "bad_importance_matrix"."""
    if not matrix.is_file():
        raise NotFound(
            f"There is no file {plain(matrix.name)}.",
            code="importance_matrix_not_found",
            hint="Name the file, or leave it out: the matrix is then computed.",
            param="imatrix",
        )
    try:
        gguf_header.check(matrix)
    except Broken as error:
        raise bad_matrix(matrix, "is no GGUF, or damaged") from error


def bad_matrix(matrix: Path, what: str) -> InvalidRequest:
    """The file cannot serve."""
    return InvalidRequest(
        f"The importance matrix {plain(matrix.name)} {what}.",
        code="bad_importance_matrix",
        hint="Compute it from this very model: leave the file out, or write one in GGUF form with llama-imatrix.",
        param="imatrix",
    )


def _failure(model: Path, text: Path, target: Path, said: Said) -> Problem:
    name, why, words = plain(model.name), said.get("failure"), said.get("words", "")
    if why == "load":
        return unreadable(name, words)
    if why == "short":
        return InvalidRequest(
            f"{plain(text.name)} has {said['tokens']} tokens; an importance matrix needs {said['needed']} or more.",
            code="calibration_too_short",
            hint="Name a longer text, some 10,000 words, or leave it out.",
            param="calibration",
        )
    if why == "disk":
        return not_enough_disk(target.parent)
    if why is None:
        return Broken(
            f"llama.cpp crashed while it read a text with {name}.",
            code="importance_crashed",
            hint=f"Fetch the source again and compare its sha256; {_LEAVE_IT}",
        )
    reasons = {
        "encoder": "it is an encoder, which writes no text",
        "evaluate": f"llama.cpp cannot evaluate it here: {words}",
        "layout": f"the installed llama.cpp is not the one that this program knows: {words}",
        "senseless": "what it computes are no finite numbers",
    }
    return InvalidRequest(
        f"No importance matrix can be computed for {name}: {reasons[why]}.",
        code="no_importance_matrix",
        hint=_LEAVE_IT,
        param="type",
    )


def unreadable(name: str, said: str) -> Broken:
    """What llama.cpp's words about a file that it cannot load mean."""
    again = "Fetch the source again and compare its sha256."
    if "not within the file bounds" in said:
        return Broken(f"{name} is cut short.", code="model_truncated", hint=again)
    return Broken(f"{name} cannot be read as a GGUF.", code="model_unreadable", hint=again)
