"""What a model says of the judging text, token by token: read in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.libraries import LlmFormat
from edge_agent.models.progress import Progress
from edge_agent.runtimes.worker.problem_frames import problem_from_json
from quantize.native_process import Said, working

LOGITS_FILE = "log_probabilities.u2"
"""Shape (scored tokens, vocabulary), as `divergence.kept` makes them."""

TOKENS_FILE = "tokens.json"

_WORKER = "quantize.judge.logits_worker"


def write_reference(gguf: Path, folder: Path, *, text: str, chunks: int, progress: Progress) -> None:
    """Write what the model says of `text` into `folder`.

    Raises what opening the model raises, InvalidRequest code "text_too_short" | "context_too_short", Broken code
    "model_unusable" where it computes no numbers and "judge_crashed" where the process dies. Blocks.
    """
    excerpt = folder / "text"
    excerpt.write_text(text, "utf-8")
    try:
        _run("gguf", gguf, folder, progress, text=str(excerpt), chunks=chunks)
    finally:
        excerpt.unlink(missing_ok=True)


def compare(path: Path, model_format: LlmFormat, folder: Path, progress: Progress) -> Said:
    """What the model at `path` says of the same tokens, beside the reference in `folder`.

    Raises as `write_reference`, and InvalidRequest code "another_vocabulary". Blocks.
    """
    return _run(model_format, path, folder, progress)


def _run(model_format: LlmFormat, path: Path, folder: Path, progress: Progress, **more: Any) -> Said:
    job = {"format": model_format, "path": str(path), "folder": str(folder), "parent": os.getpid(), **more}
    said: Said = {}
    step = f"reading with {path.name}"
    with working(_WORKER, job) as lines:
        progress.advance(0, 0, step)
        for said in lines:
            if "done" in said:
                progress.advance(said["done"], said["chunks"], step)
    if "failure" in said:
        raise problem_from_json(said["failure"])
    if "found" not in said:
        raise Broken(
            f"The process that read the judging text with {path.name} ended before it was done.",
            code="judge_crashed",
            hint="Free memory if there was little; otherwise choose another type.",
        )
    return dict(said["found"])
