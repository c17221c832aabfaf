"""The implicit-identity head: does a passage describe one person or organisation, without naming them?

A logistic regression over a passage's embedding and the features of `routing.descriptions`. Identifying texts are
generated; ordinary ones are generated and taken from public sets. Its threshold is the least at which at most
`KEPT_AT_MOST` of each set of ordinary texts kept for tuning would stay on the device.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_bridge.protocol.problems import NotFound
from edge_agent.routing import benchmarks
from edge_agent.routing.descriptions import NAMES, describing, passages
from edge_agent.routing.difficulty import CLIP
from quantize.heads import implicit_texts
from quantize.heads.logistic import Doubles, fit_logistic, sigmoid

KEPT_AT_MOST = 0.01
GENERATED = 3_000
GENERATED_HELD_OUT = 1_000
RIDGE = 1e-2
EMBEDDING_SCALE = 6.0
"""An embedding's numbers are near 0.05; this much larger, the ridge weighs on them less."""

_GSM8K_TRAINED, _GSM8K_TUNED = 2_000, 3_000

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Texts as the head sees them: the describing passages' embeddings and features, and whose passages they are."""

    count: int
    rows: Doubles
    measured: Doubles
    owners: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str], embed: Embed) -> Read:
        found, measured, owners = [], [], []
        for place, text in enumerate(texts):
            for passage in passages(text):
                numbers = describing(passage.text)
                if numbers is not None:
                    found.append(passage.text)
                    measured.append(numbers)
                    owners.append(place)
        rows = embed(found).astype(np.float64)
        return cls(len(texts), rows, np.array(measured).reshape(-1, len(NAMES)), np.array(owners, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class ImplicitHead:
    """A fitted head."""

    embedding_weights: Doubles
    feature_weights: Doubles
    feature_mean: Doubles
    feature_scale: Doubles
    bias: float

    @classmethod
    def fit(cls, identifying: Read, impersonal: Sequence[Read]) -> ImplicitHead:
        """Every passage of an identifying text is one; every passage of the others is none."""
        reads = (identifying, *impersonal)
        rows, measured = np.concatenate([r.rows for r in reads]), np.concatenate([r.measured for r in reads])
        targets = np.zeros(len(rows))
        targets[: len(identifying.rows)] = 1
        mean, scale = measured.mean(axis=0), measured.std(axis=0) + 1e-3
        scaled = np.clip((measured - mean) / scale, -CLIP, CLIP)
        weights, bias = fit_logistic(np.c_[rows * EMBEDDING_SCALE, scaled], targets, RIDGE)
        width = rows.shape[1]
        return cls(weights[:width] * EMBEDDING_SCALE, weights[width:], mean, scale, bias)

    def scores(self, read: Read) -> Doubles:
        """The score of each text: that of its most telling passage, 0 where nothing is described."""
        scaled = np.clip((read.measured - self.feature_mean) / self.feature_scale, -CLIP, CLIP)
        chances = sigmoid(read.rows @ self.embedding_weights + scaled @ self.feature_weights + self.bias)
        found = np.zeros(read.count)
        np.maximum.at(found, read.owners, chances)
        return found


def threshold(ordinary: Sequence[Doubles]) -> float:
    """The least score, in steps of a hundredth, at which few enough of each set are kept."""
    for step in range(20, 100):
        if all((scores >= step / 100).mean() <= KEPT_AT_MOST for scores in ordinary):
            return step / 100
    return 0.99


def train(embed: Embed, data: Path, _out: Path) -> tuple[Mapping[str, NDArray[Any]], dict[str, Any]]:
    """Fit on generated and public texts, choose the threshold on others of the public ones. Raises NotFound."""
    ordinary = ordinary_texts(data)
    generated = implicit_texts.texts(GENERATED, held_out=False)
    head = ImplicitHead.fit(
        Read.of(generated.identifying, embed),
        [Read.of(rows, embed) for rows in (generated.impersonal, *ordinary.trained.values())],
    )
    tuned = {name: head.scores(Read.of(rows, embed)) for name, rows in ordinary.tuned.items()}
    least = threshold(list(tuned.values()))
    held_out = implicit_texts.texts(GENERATED_HELD_OUT, held_out=True)
    identifying, impersonal = (
        head.scores(Read.of(rows, embed)) for rows in (held_out.identifying, held_out.impersonal)
    )
    figures = {
        "held_out_identifying_found": identifying,
        "held_out_impersonal_kept": impersonal,
        **{f"{name}_kept": scores for name, scores in tuned.items()},
    }
    arrays = {
        "embedding_weights": head.embedding_weights.astype(np.float32),
        "feature_weights": head.feature_weights.astype(np.float32),
        "feature_mean": head.feature_mean.astype(np.float32),
        "feature_scale": head.feature_scale.astype(np.float32),
    }
    facts = {
        "data": {
            "name": "generated descriptions and requests, and ordinary texts of CLINC150, BANKING77, GSM8K, "
            "Sentiment Labelled Sentences and BFCL v4 irrelevance",
            "licence": "CC BY 3.0, CC BY 4.0, MIT, CC BY 4.0, Apache-2.0",
            "by": "quantize.heads.implicit_texts; Larson et al., PolyAI, OpenAI, Kotzias et al., Berkeley",
            "texts": {"generated": 2 * GENERATED, **{name: len(rows) for name, rows in ordinary.trained.items()}},
        },
        "seed": implicit_texts.SEED,
        "parameters": {"features": list(NAMES), "bias": round(head.bias, 5), "threshold": least, "ridge": RIDGE},
        "figures": {name: round(float((scores >= least).mean()), 4) for name, scores in figures.items()},
    }
    return arrays, facts


@dataclass(frozen=True, slots=True)
class Ordinary:
    """Texts of public sets, by set: those trained on, and others that the threshold is chosen by."""

    trained: dict[str, list[str]]
    tuned: dict[str, list[str]]


def ordinary_texts(data: Path) -> Ordinary:
    """What people ask of assistants, and say of things. Nothing of a part that judges. Raises NotFound."""
    intents = benchmarks.clinc150(data)
    sums = [str(json.loads(line)["question"]) for line in _lines(data / "gsm8k/train.jsonl")]
    calls = [
        str(json.loads(line)["question"][0][0]["content"]) for line in _lines(data / "tools/BFCL_v4_irrelevance.json")
    ]
    bank = [row["text"] for row in csv.DictReader(_lines(data / "banking77/train.csv"))]
    opinions = [
        line.rsplit("\t", 1)[0]
        for name in ("amazon_cells", "imdb", "yelp")
        for line in _lines(data / f"sentiment/{name}_labelled.txt")
    ]
    return Ordinary(
        {
            "clinc150": [text for split in ("train", "oos_train") for text, _ in intents[split]],
            "banking77": bank[::2],
            "gsm8k": sums[:_GSM8K_TRAINED],
            "tools": calls[::2],
            "sentiment": opinions[::2],
        },
        {
            "clinc150": [text for split in ("val", "oos_val") for text, _ in intents[split]],
            "banking77": bank[1::2],
            "gsm8k": sums[_GSM8K_TRAINED:_GSM8K_TUNED],
            "tools": calls[1::2],
            "sentiment": opinions[1::2],
        },
    )


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text("utf-8").split("\n") if line.strip()]
    except FileNotFoundError as error:
        raise NotFound(
            f"{path} is not there.", code="data_not_found", hint="Give --data the folder that holds the data sets."
        ) from error
