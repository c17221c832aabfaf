"""What the model itself says of the judging text: what its artifacts are held against."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edge_agent.models.digest import sha256_of
from edge_agent.models.disk import check_room
from edge_agent.models.formats import gguf_header
from edge_agent.models.progress import Progress
from edge_agent.runtimes.sizing import LEAST_CONTEXT
from quantize.artifact import building
from quantize.judge import logits, text
from quantize.judge.as_run import Scores, Share, scores, spec_of
from quantize.judge.divergence import KEPT, Estimate
from quantize.judge.extent import CHUNK_TOKENS, SCORED, Extent
from quantize.judge.logits import LOGITS_FILE, TOKENS_FILE
from quantize.judge.tasks import tasks_sha256

_FACTS_FILE = "reference.json"
_FORM = 1
"""Counts up whenever what is written, or how it is measured, changes."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A model's own figures; `folder` has its log-probabilities after each scored token. The hashes are SHA-256."""

    folder: Path
    model_sha256: str
    text_sha256: str
    extent: Extent
    tokens: int
    perplexity: Estimate
    scores: Scores


def reference(
    gguf: Path,
    judging: Path | None,
    scratch: Path,
    progress: Progress,
    extent: Extent = Extent(),  # noqa: B008 - frozen
) -> Reference:
    """Read `judging`, None for the bundled text, with the model, and let it do the tasks; or take what is in `scratch`.

    What is kept there counts for the same model, text, extent and llama.cpp: two bytes for each scored token and token
    of the vocabulary. A run that is stopped leaves nothing. Blocks.

    Raises what `text.read`, `logits.write_reference` and `as_run.scores` raise, and Unavailable code "not_enough_disk".
    """
    header, read = gguf_header.check(gguf), text.read(judging)
    facts: dict[str, Any] = {
        "form": _FORM,
        "model_sha256": sha256_of(gguf),
        "text_sha256": hashlib.sha256(read.encode()).hexdigest(),
        "tasks_sha256": tasks_sha256(),
        "extent": asdict(extent),
        "chunk_tokens": CHUNK_TOKENS,
        "llama-cpp-python": version("llama-cpp-python"),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    folder = scratch / f"reference-{key[:16]}"
    if (kept := _read(folder)) is not None:
        return kept
    shutil.rmtree(folder, ignore_errors=True)
    scratch.mkdir(parents=True, exist_ok=True)
    check_room(scratch, extent.chunks * SCORED * header.vocabulary * KEPT.itemsize)
    with building(folder) as made:
        logits.write_reference(gguf, made, text=read, chunks=extent.chunks, progress=progress)
        # The tasks are short: a source of 16 bits need not bring all its context, too.
        spec = spec_of(gguf.stem, gguf.absolute(), "gguf", LEAST_CONTEXT)
        facts["scores"] = asdict(scores(spec, extent, progress))
        (made / _FACTS_FILE).write_text(json.dumps(facts), "utf-8")
    found = _read(folder)
    assert found is not None  # noqa: S101 - it was written a moment ago; this tells the type checker
    return found


def _read(folder: Path) -> Reference | None:
    """What an earlier run left whole."""
    try:
        facts = json.loads((folder / _FACTS_FILE).read_text("utf-8"))
        tokens = json.loads((folder / TOKENS_FILE).read_text("utf-8"))
        rows = len(tokens["surprises"])
        if (folder / LOGITS_FILE).stat().st_size != rows * tokens["vocabulary"] * KEPT.itemsize:
            return None
        found = facts["scores"]
        return Reference(
            folder=folder,
            model_sha256=facts["model_sha256"],
            text_sha256=facts["text_sha256"],
            extent=Extent(**facts["extent"]),
            tokens=rows,
            perplexity=Estimate.of(tokens["surprises"]).exponential(),
            scores=Scores(Share(**found["intents"]), Share(**found["documents"])),
        )
    except (OSError, ValueError, LookupError, TypeError):  # not there, or damaged: it is made anew
        return None
