"""The figures that `edge-agent routing eval` prints, from the heads as they are installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.problems import NotFound
from edge_agent.models.bundled import bundled_path
from edge_agent.routing import benchmarks, difficulty, intent
from edge_agent.routing.head import Head
from edge_agent.routing.metrics import apgr, auroc, calibration_error
from edge_agent.runtimes.encoder import Encoder
from quantize.heads.difficulty import leave_subject_out

ENCODER = "encoders/all-minilm-l6-v2-int8"
_CHUNK = 128
_TIMED = 200

Figures = dict[str, float]
Embed = Callable[[Sequence[str], str], NDArray[np.float32]]


def measure(data: Path, bar: Any) -> dict[str, Figures]:
    """Figures by data set, for those that are in `data`. Raises NotFound where there is none."""
    encoder = Encoder(bundled_path(ENCODER))

    def embed(texts: Sequence[str], what: str) -> NDArray[np.float32]:
        task = bar.add_task(what, total=len(texts))
        rows = []
        for start in range(0, len(texts), _CHUNK):
            rows.append(encoder.embed(texts[start : start + _CHUNK]))
            bar.advance(task, len(rows[-1]))
        return np.concatenate(rows)

    figures: dict[str, Figures] = {}
    missing: list[NotFound] = []
    for name, figures_of in (("clinc150 test", _clinc150), ("routellm mmlu", _mmlu)):
        try:
            figures[name] = figures_of(data, embed)
        except NotFound as problem:
            missing.append(problem)
    if not figures:
        raise missing[0]
    return figures | {"time": _time_to_decide(encoder)}


def _clinc150(data: Path, embed: Embed) -> Figures:
    splits = benchmarks.clinc150(data)
    classifier = intent.IntentClassifier(lambda texts: embed(texts, "clinc150"), bundled_path(intent.BUNDLED))
    inside, outside = ([text for text, _ in splits[name]] for name in ("test", "oos_test"))
    rows_in, rows_out = embed(inside, "clinc150, in scope"), embed(outside, "clinc150, out of scope")
    found, others = classifier.of_embeddings(rows_in), classifier.of_embeddings(rows_out)
    right = [guess.label == label for guess, (_, label) in zip(found, splits["test"], strict=True)]
    energies = [intent.energy(classifier.logits(rows)) for rows in (rows_in, rows_out)]
    called_outside = sum(guess.out_of_scope for guess in (*found, *others))
    rightly = sum(guess.out_of_scope for guess in others)
    return {
        "in-scope accuracy": float(np.mean(right)),
        "in-scope accuracy, random": 1 / len(classifier.labels),
        "calibration error": calibration_error([guess.confidence for guess in found], right),
        "out-of-scope AUROC": auroc(*energies),
        "out-of-scope AUROC, random": 0.5,
        "out-of-scope recall": rightly / len(others),
        "out-of-scope precision": rightly / max(1, called_outside),
    }


def _mmlu(data: Path, embed: Embed) -> Figures:
    """Each question judged by a head that saw no question of its subject: the installed one, or one fitted for it."""
    outcomes = benchmarks.mmlu_outcomes(data)
    rows = embed(outcomes.prompts, "routellm mmlu")
    folder = bundled_path(difficulty.BUNDLED)
    trained_on = set(Head.load(folder).manifest["data"]["subjects"])
    if trained_on.isdisjoint(outcomes.subjects.tolist()):
        head = difficulty.Difficulty(folder)
        scores = np.array([head.score(text, row) for text, row in zip(outcomes.prompts, rows, strict=True)])
    else:
        scores = leave_subject_out(outcomes, rows.astype(np.float64))
    right, wrong = outcomes.weak == 1, outcomes.weak == 0
    lengths = np.array([len(prompt) for prompt in outcomes.prompts])
    return {
        "difficulty AUROC": auroc(scores[right], scores[wrong]),
        "difficulty AUROC, longest prompt": auroc(-lengths[right], -lengths[wrong]),
        "difficulty AUROC, random": 0.5,
        "difficulty APGR": apgr(-scores, outcomes.weak, outcomes.strong),
        "difficulty APGR, longest prompt": apgr(lengths, outcomes.weak, outcomes.strong),
        "difficulty APGR, random": 0.5,
    }


def _time_to_decide(encoder: Encoder) -> Figures:
    """The median time from a prompt to its intent and difficulty, beside embedding it alone."""
    classifier = intent.IntentClassifier(encoder.embed, bundled_path(intent.BUNDLED))
    head = difficulty.Difficulty(bundled_path(difficulty.BUNDLED))
    texts = [f"please move {amount} dollars from savings to my checking account" for amount in range(_TIMED)]

    def decide(text: str) -> None:
        row = encoder.embed([text])
        classifier.of_embeddings(row)
        head.of_text(text, row[0])

    decide(texts[0])
    embedding, deciding = [], []
    for text in texts:
        embedding.append(_seconds(lambda text=text: encoder.embed([text])))  # type: ignore[misc]  # bound now
        deciding.append(_seconds(lambda text=text: decide(text)))  # type: ignore[misc]
    ratio = float(np.median(deciding) / np.median(embedding))
    return {"ms to judge a prompt, median": float(np.median(deciding)) * 1000, "that over one embedding": ratio}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
