"""Train the small heads that routing runs.

    python -m quantize.heads intent     --data DIR --out models/heads/intent-clinc150
    python -m quantize.heads difficulty --data DIR --out models/heads/difficulty-mmlu
    python -m quantize.heads implicit   --data DIR --out models/heads/implicit

DIR holds `clinc150/data_full.json` and `routellm/mmlu/*.csv`; for `implicit` also `banking77/train.csv`,
`gsm8k/train.jsonl`, `tools/BFCL_v4_irrelevance.json` and `sentiment/*_labelled.txt`. Each writes `head.npz` and a
`manifest.json` with the command, the data, its licence, the seed and the figures. The encoder is the one that comes
with edge-agent, and texts are embedded and measured by the same code as when the daemon runs. Takes minutes, nearly all
of it embedding.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.models.bundled import bundled_path
from edge_agent.routing import benchmarks
from edge_agent.routing.benchmarks import Labelled
from edge_agent.routing.features import NAMES
from edge_agent.routing.head import ARRAYS, MANIFEST, Floats
from edge_agent.routing.intent import energy, phrase
from edge_agent.routing.metrics import auroc, best_cut
from edge_agent.runtimes.encoder import Encoder
from quantize.heads import implicit as implicit_head
from quantize.heads import intent as intent_head
from quantize.heads.difficulty import DIRECTIONS, RIDGE, DifficultyHead, leave_subject_out, measure, ranking_figures
from quantize.heads.logistic import Schedule, best_temperature, fit_softmax, shift_to_share

ENCODER = "encoders/all-minilm-l6-v2-int8"
Embed = Callable[[Sequence[str]], NDArray[np.float32]]
Arrays = Mapping[str, NDArray[Any]]


def main(arguments: list[str]) -> int:
    """Train one head."""
    parser = argparse.ArgumentParser(prog="python -m quantize.heads")
    parser.add_argument("head", choices=sorted(TRAINERS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    encoder = bundled_path(ENCODER)
    arrays, facts = TRAINERS[chosen.head](Encoder(encoder).embed, chosen.data, chosen.out)
    command = f"python -m quantize.heads {chosen.head} --data DIR --out models/heads/{chosen.out.name}"
    digest = hashlib.sha256((encoder / "model.onnx").read_bytes()).hexdigest()
    write(chosen.out, arrays, {"command": command, "encoder": {"folder": ENCODER, "sha256": digest}, **facts})
    sys.stdout.write(json.dumps(facts["figures"], indent=2) + "\n")
    return 0


def train_intent(embed: Embed, data: Path, _out: Path) -> tuple[Arrays, dict[str, Any]]:
    """Fit on `train`, choose temperatures and cuts on `val` and `oos_val`, then look at `test` once."""
    splits = benchmarks.clinc150(data)
    labels = sorted({label for _, label in splits["train"]})
    schedule = Schedule()
    weights, bias = fit_softmax(_rows(embed, splits["train"]), _targets(splits["train"], labels), len(labels), schedule)
    # Stored in 16 bits: measure what will run.
    compact = weights.astype(np.float16)
    weights = compact.astype(np.float32)
    inside = _rows(embed, splits["val"])
    logits, outside = inside @ weights + bias, _rows(embed, splits["oos_val"]) @ weights + bias
    targets = _targets(splits["val"], labels)
    temperature = best_temperature(logits, targets)
    zero_shot = intent_head.zero_shot_scale(inside, embed([phrase(label) for label in labels]), targets)
    parameters = {
        "labels": labels,
        "temperature": round(temperature, 4),
        "least_energy": round(best_cut(energy(logits), energy(outside)), 4),
        "label_temperature": round(zero_shot.temperature, 4),
        "least_similarity": round(zero_shot.least_similarity, 4),
    }
    figures = {
        "val_accuracy": round(float((logits.argmax(axis=1) == targets).mean()), 4),
        "val_auroc_energy": round(auroc(energy(logits), energy(outside)), 4),
        "val_auroc_max_probability": round(auroc(_sure(logits, temperature), _sure(outside, temperature)), 4),
        "val_zero_shot_accuracy_of_10_labels": round(zero_shot.accuracy, 4),
    }
    test = [_rows(embed, splits[name]) @ weights + bias for name in ("test", "oos_test")]
    figures |= intent_head.judged_on_test(test[0], test[1], _targets(splits["test"], labels), parameters)
    data_set = {"name": "CLINC150 (full)", "licence": "CC BY 3.0", "by": "Larson et al., EMNLP 2019, clinc/oos-eval"}
    facts = {"data": data_set, "seed": schedule.seed, "parameters": parameters, "figures": figures}
    return {"weights": compact, "bias": bias}, facts


def train_difficulty(embed: Embed, data: Path, out: Path) -> tuple[Arrays, dict[str, Any]]:
    """Fit on every subject; the figures are those of heads that never saw the subject they judge."""
    outcomes = benchmarks.mmlu_outcomes(data)
    rows = embed(outcomes.prompts).astype(np.float64)
    figures = ranking_figures(outcomes, leave_subject_out(outcomes, rows))
    measured = measure(outcomes.prompts)
    head = DifficultyHead.fit(rows, measured, outcomes.weak)
    bias = head.bias - float(head.embedding_mean @ head.embedding_weights)
    arrays = {
        "embedding_weights": head.embedding_weights.astype(np.float32),
        "feature_weights": head.feature_weights.astype(np.float32),
        "feature_mean": head.feature_mean.astype(np.float32),
        "feature_scale": head.feature_scale.astype(np.float32),
    }
    parameters = {
        "features": list(NAMES),
        "bias": round(bias, 5),
        "measured_models": _measured_models(embed, head, data, out),
        "embedding_directions": DIRECTIONS,
        "ridge": RIDGE,
    }
    facts = {
        "data": {
            "name": f"RouteLLM's MMLU outcomes, {len(outcomes.prompts)} questions: was {benchmarks.WEAK} right",
            "licence": "Apache-2.0",
            "by": "lm-sys/RouteLLM",
            "subjects": sorted(set(outcomes.subjects.tolist())),
        },
        "shifts_from": {"name": "GSM8K train", "licence": "MIT", "by": "openai/grade-school-math"},
        "seed": None,
        "parameters": parameters,
        "figures": {f"leave_subject_out_{name}": value for name, value in figures.items()},
    }
    return arrays, facts


def _measured_models(embed: Embed, head: DifficultyHead, data: Path, out: Path) -> dict[str, dict[str, Any]]:
    """For each model that `quantize.outcomes` ran: the shift that gives it the share it got right."""
    questions = [json.loads(line)["question"] for line in (data / "gsm8k/train.jsonl").read_text("utf-8").splitlines()]
    found = {}
    for path in sorted((out / "outcomes").glob("*.json")):
        recorded = json.loads(path.read_text("utf-8"))
        prompts = [questions[line] for line in recorded["lines"]]
        log_odds = head.scores(embed(prompts).astype(np.float64), measure(prompts)) + head.bias
        asked, right = len(prompts), sum(recorded["right"])
        # One imagined success and failure: none of forty right is not never.
        shift = shift_to_share(log_odds, (right + 1) / (asked + 2))
        found[recorded["model"]] = {"asked": asked, "right": right, "shift": round(shift, 3)}
    return found


def write(folder: Path, arrays: Arrays, manifest: Mapping[str, Any]) -> None:
    """The head's two files. The same arrays give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "partial.npz"
    np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]  # the stub takes its own flags for the arrays
    partial.replace(folder / ARRAYS)
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    draft = folder / "manifest.partial"
    draft.write_text(text, "utf-8")
    draft.replace(folder / MANIFEST)


def _rows(embed: Embed, split: Labelled) -> Floats:
    return embed([text for text, _ in split])


def _targets(split: Labelled, labels: list[str]) -> NDArray[np.int64]:
    places = {label: place for place, label in enumerate(labels)}
    return np.array([places[label] for _, label in split])


def _sure(logits: Floats, temperature: float) -> Floats:
    scaled = logits / np.float32(temperature)
    top: Floats = np.exp(scaled.max(axis=1) - energy(scaled))
    return top


TRAINERS = {"intent": train_intent, "difficulty": train_difficulty, "implicit": implicit_head.train}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
