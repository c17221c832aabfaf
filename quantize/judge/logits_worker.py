"""The process in which a model reads the judging text: what it is given may crash it, and it may take much memory.

    python -P -m quantize.judge.logits_worker '{"format", "path", "folder", "parent"}'

With "text" and "chunks" in the job it writes the reference's logits to the folder, else it compares with what lies
there. Prints one JSON object a line: {"done", "chunks"} after each chunk, at the end {"found": ...} or
{"failure": problem}.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.problems import InvalidRequest, Problem
from edge_agent.models.disk import disk_errors
from edge_agent.runtimes.decoders.decoder import DRAFTED_TOKENS, Decoder, Span, Vocabulary
from edge_agent.runtimes.worker import lifeline
from edge_agent.runtimes.worker.problem_frames import problem_to_json
from edge_agent.runtimes.worker.threads import compute_threads
from edge_agent.runtimes.worker_process import ENVIRONMENT
from quantize.judge import cpu_mlx
from quantize.judge.divergence import KEPT, Comparison, Estimate, kept, log_probabilities
from quantize.judge.extent import CHUNK_TOKENS, SCORED, UNSCORED
from quantize.judge.logits import LOGITS_FILE, TOKENS_FILE

# A step's rows of logits are bounded by the number of sequences. llama.cpp keeps a state for each in some
# architectures, so few are asked of it; the others read fastest in large steps.
_SEQUENCES = {"gguf": 32 - DRAFTED_TOKENS, "onnx": 128 - DRAFTED_TOKENS, "mlx": 128 - DRAFTED_TOKENS}
_MOST_STRANGE = 0.01
"""The share of the text's tokens that may be spelled otherwise: more, and it is another vocabulary."""

Chunk = Sequence[int]


def main(job: dict[str, Any]) -> None:
    """Write a reference, or compare with one."""
    lifeline.die_with(job["parent"])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.update({**ENVIRONMENT, **os.environ})  # read by libraries that are not loaded yet
    say, folder = _Voice(), Path(job["folder"])
    try:
        with disk_errors(folder):
            decoder = _opened(Path(job["path"]), job["format"])
            reading = _Reading(decoder, _SEQUENCES[job["format"]] + DRAFTED_TOKENS, say)
            if "text" in job:
                text = Path(job["text"]).read_text("utf-8")
                _write(reading, decoder.vocabulary, folder, _chunks(decoder.vocabulary, text, job["chunks"]))
                say(found={})
            else:
                say(found=_compared(reading, decoder.vocabulary, folder))
    except Problem as problem:
        say(failure=problem_to_json(problem))
    # The libraries' own clean-up takes time and may crash, too; all is said.
    os._exit(0)


class _Voice:
    """Lines for the parent; whatever else prints goes nowhere."""

    def __init__(self) -> None:
        self._lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def __call__(self, **facts: Any) -> None:
        self._lines.write(json.dumps(facts) + "\n")


def _opened(path: Path, model_format: str) -> Decoder:
    """One chunk is its whole context. Raises what the format's opener raises."""
    sequences, threads = _SEQUENCES[model_format], compute_threads()
    match model_format:
        case "gguf":
            from edge_agent.runtimes.decoders.llama_decoder import open_llama_decoder  # noqa: PLC0415

            return open_llama_decoder(path, context_length=CHUNK_TOKENS, sequences=sequences, threads=threads)
        case "onnx":
            from edge_agent.runtimes.decoders.onnx_decoder import open_onnx_decoder  # noqa: PLC0415

            return open_onnx_decoder(path, context_length=CHUNK_TOKENS, sequences=sequences, threads=threads)
        case _:
            from edge_agent.runtimes.decoders.mlx_decoder import open_mlx_decoder  # noqa: PLC0415

            decoder = open_mlx_decoder(path, context_length=CHUNK_TOKENS, sequences=sequences)
            cpu_mlx.speed_up(decoder._model)  # noqa: SLF001 - nobody else has a use for it
            return decoder


class _Reading:
    """One model's reading of the chunks, each on its own from the model's start."""

    def __init__(self, decoder: Decoder, rows_a_step: int, say: _Voice) -> None:
        self._decoder = decoder
        self._rows_a_step = rows_a_step
        self._say = say

    def rows(self, chunks: Sequence[Chunk]) -> Iterator[tuple[NDArray[np.float32], int]]:
        """The logits after each scored position, valid until the next is asked for, and the token that came next."""
        if self._decoder.context_length < CHUNK_TOKENS:
            raise InvalidRequest(
                f"The model has a context of {self._decoder.context_length} tokens; {CHUNK_TOKENS} are read at once.",
                code="context_too_short",
                hint="Leave the judging out.",
            )
        for done, chunk in enumerate(chunks, 1):
            self._decoder.evaluate([Span(0, 0, chunk[:UNSCORED], 0)])
            for start in range(UNSCORED, UNSCORED + SCORED, self._rows_a_step):
                piece = chunk[start : min(start + self._rows_a_step, UNSCORED + SCORED)]
                (logits,) = self._decoder.evaluate([Span(0, start, piece, len(piece))])
                yield from zip(logits, chunk[start + 1 :], strict=False)
            self._decoder.forget(0)
            self._say(done=done, chunks=len(chunks))


def _chunks(vocabulary: Vocabulary, text: str, most: int) -> list[list[int]]:
    """Chunks from all over the text, evenly. Raises InvalidRequest code "text_too_short"."""
    tokens = vocabulary.tokenize(text, add_special=False, parse_special=False)
    there = len(tokens) // CHUNK_TOKENS
    if not there:
        raise InvalidRequest(
            f"The text to judge by has {len(tokens)} tokens; at least {CHUNK_TOKENS} are needed.",
            code="text_too_short",
            hint="Name a longer text, or none for the one that comes with edge-quantize.",
        )
    wanted = min(most, there)
    starts = [index * there // wanted * CHUNK_TOKENS for index in range(wanted)]
    found = [tokens[start : start + CHUNK_TOKENS] for start in starts]
    if vocabulary.adds_bos:
        # As llama.cpp's perplexity tool does it: in place of the first token.
        bos = vocabulary.tokenize("", add_special=True, parse_special=False)[:1]
        found = [[*bos, *chunk[len(bos) :]] for chunk in found]
    return found


def _write(reading: _Reading, vocabulary: Vocabulary, folder: Path, chunks: Sequence[Chunk]) -> None:
    surprises, tops = [], []
    with (folder / LOGITS_FILE).open("wb") as file:
        for logits, token in reading.rows(chunks):
            found = log_probabilities(logits)
            file.write(kept(found).tobytes())
            surprises.append(-float(found[token]))
            tops.append(int(np.argmax(found)))
    facts = {
        "vocabulary": vocabulary.size,
        "chunks": [list(chunk) for chunk in chunks],
        "pieces": {
            str(token): vocabulary.piece(token).hex() for token in {token for chunk in chunks for token in chunk}
        },
        "surprises": surprises,
        "tops": tops,
    }
    (folder / TOKENS_FILE).write_text(json.dumps(facts), "utf-8")


def _compared(reading: _Reading, vocabulary: Vocabulary, folder: Path) -> dict[str, Any]:
    facts = json.loads((folder / TOKENS_FILE).read_text("utf-8"))
    _check_same(vocabulary, facts["pieces"])
    shape = (len(facts["tops"]), facts["vocabulary"])
    rows = np.memmap(folder / LOGITS_FILE, KEPT, "r", shape=shape)
    comparison = Comparison()
    for row, top, (logits, token) in zip(rows, facts["tops"], reading.rows(facts["chunks"]), strict=True):
        comparison.add(logits, row, top=top, token=token)
    return {
        "tokens": len(rows),
        "top1_agreement": comparison.agreement,
        "kl_divergence": asdict(Estimate.of(comparison.divergences)),
        "perplexity": asdict(Estimate.of(comparison.surprises).exponential()),
        "perplexity_ratio": asdict(Estimate.of(comparison.increases).exponential()),
    }


def _check_same(vocabulary: Vocabulary, pieces: dict[str, str]) -> None:
    """Raises InvalidRequest code "another_vocabulary": a token's number would mean something else."""
    strange = sum(
        int(token) >= vocabulary.size or vocabulary.piece(int(token)).hex() != piece for token, piece in pieces.items()
    )
    if strange > _MOST_STRANGE * len(pieces):
        raise InvalidRequest(
            "The artifact has another vocabulary than the model it is judged by.",
            code="another_vocabulary",
            hint="Judge it by the model it was made of.",
        )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
