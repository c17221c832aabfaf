"""The script that trains and writes the encoder of intents; it runs inside the export environment.

    python -I train.py CORPUS.jsonl BASE OUT --passes clinc150:5,banking77:6 --seed 1

CORPUS.jsonl: one JSON object a line: {"text", "set", "label"}; a label of null is a text that has none of the set's
labels. `--passes` says how often which set is read. OUT gets model.onnx (int8) and heads.npz, with a matrix (features,
labels) a set, the labels in alphabetical order. Prints one JSON object a line: {"step", "at", "of"}, at the end
{"done": facts}.
"""

# ruff: noqa: PLC0415  # nothing of ours is found before the end of this file has run

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from quantize.intents.network import Network

BATCH = 64
LEARNING_RATE = 3e-4
HEAD_RATE = 2e-3
WARM_UP = 0.06
WEIGHT_DECAY = 0.01
CLIP = 1.0
AVERAGED_OVER = 0.998
MAX_PIECES = 64
SHARED_AT_ONCE = 128
STARTED_FROM = 12
"""Texts of each label that its output begins as the mean of."""

Example = tuple["Tensor", int]
"""A text, piece by piece, and the label's place."""
Corpus = Mapping[str, Sequence[Example]]


def main(arguments: list[str]) -> int:
    """Train, write, and say what was done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--passes", type=passes_of, required=True)
    parser.add_argument("--seed", type=int, required=True)
    chosen = parser.parse_args(arguments)
    import torch

    torch.manual_seed(chosen.seed)
    torch.use_deterministic_algorithms(mode=True)
    from quantize.intents.network import Network

    started = time.process_time()
    texts, labels = read_corpus(chosen.corpus, chosen.base, chosen.passes)
    network = Network(chosen.base, labels).eval()
    met = [piece for examples in texts.values() for pieces, _ in examples for piece in pieces.tolist()]
    corpus = {name: list(through_shared(network, examples)) for name, examples in texts.items()}
    chance = random.Random(chosen.seed)  # noqa: S311  # the same weights each time, not secrets
    train(network, corpus, chosen.passes, chance)
    say({"step": "writing"})
    write(network, chosen.out, met)
    tools = {name: version(name) for name in ("torch", "transformers", "tokenizers", "onnxruntime")}
    say({"done": {"tools": tools, "cpu_seconds": round(time.process_time() - started)}})
    return 0


def passes_of(text: str) -> dict[str, int]:
    """`clinc150:2,banking77:4` as how often each set is read."""
    return {name: int(times) for name, times in (part.split(":") for part in text.split(","))}


def say(line: dict[str, Any]) -> None:
    """One line to the command that started this."""
    print(json.dumps(line), file=sys.__stdout__, flush=True)


def read_corpus(path: Path, base: Path, sets: Iterable[str]) -> tuple[Corpus, dict[str, int]]:
    """The word pieces of each text of `sets`, the special ones with them, and how many labels a set has."""
    import torch
    from tokenizers import Tokenizer

    from quantize.intents.network import OUTSIDE

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_PIECES)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    names: dict[str, list[str]] = {
        name: sorted({row["label"] for row in rows if row["set"] == name and row["label"] is not None}) for name in sets
    }
    places = {name: {label: place for place, label in enumerate(labels)} for name, labels in names.items()}
    corpus: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        if row["set"] not in names:
            continue
        target = OUTSIDE if row["label"] is None else places[row["set"]][row["label"]]
        corpus[row["set"]].append((torch.tensor(tokenizer.encode(row["text"]).ids), target))
    return corpus, {name: len(labels) for name, labels in names.items()}


def through_shared(network: Network, examples: Sequence[Example]) -> Iterator[Example]:
    """What the lower layers make of each text: they are not trained, so once is enough."""
    import torch

    from quantize.intents.network import padded

    ordered = sorted(examples, key=lambda example: len(example[0]))
    for at in range(0, len(ordered), SHARED_AT_ONCE):
        if at % (8 * SHARED_AT_ONCE) == 0:
            say({"step": "reading", "at": at, "of": len(ordered)})
        part = ordered[at : at + SHARED_AT_ONCE]
        with torch.no_grad():
            hidden = network.shared(*padded([pieces for pieces, _ in part])).bfloat16()
        yield from (
            (vectors[: len(pieces)].clone(), target) for vectors, (pieces, target) in zip(hidden, part, strict=True)
        )


def train(network: Network, corpus: Corpus, passes: Mapping[str, int], chance: random.Random) -> None:
    """AdamW with a warm-up and a linear descent; the network ends as the moving average of its weights."""
    import torch

    from quantize.intents.network import loss_of
    from quantize.training.average import Average

    for name in passes:
        start_head(network, name, corpus[name])
    network.reader.train()
    optimizer = torch.optim.AdamW(groups(network), fused=True)
    average = Average(network, AVERAGED_OVER)
    batches = [batch for name, times in passes.items() for batch in batched(name, corpus[name], times, chance)]
    chance.shuffle(batches)
    for step, (name, batch) in enumerate(batches):
        descent = min(1.0, (step + 1) / (WARM_UP * len(batches))) * (1 - step / len(batches))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * descent
        loss = loss_of(network.logits(name, embedded(network, batch)), torch.tensor([target for _, target in batch]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*network.reader.parameters(), *network.heads.parameters()], CLIP)
        optimizer.step()
        average.add(network)
        if step % 20 == 0:
            say({"step": f"training, {name}, loss {loss.item():.3f}", "at": step, "of": len(batches)})
    network.load_state_dict(average.weights())
    network.eval()


def embedded(network: Network, batch: Sequence[Example]) -> Tensor:
    """The reader's rows of texts that have been through the lower layers."""
    from quantize.intents.network import padded

    hidden, mask = padded([vectors for vectors, _ in batch])
    return network.embed(hidden.float(), mask)


def start_head(network: Network, name: str, examples: Sequence[Example]) -> None:
    """Some texts of each label, embedded, are where its output begins."""
    import torch

    from quantize.intents.network import OUTSIDE

    seen: dict[int, int] = defaultdict(int)
    first: list[Example] = []
    for vectors, target in examples:
        seen[target] += 1
        if target != OUTSIDE and seen[target] <= STARTED_FROM:
            first.append((vectors, target))
    network.eval()
    with torch.no_grad():
        rows = torch.cat([embedded(network, first[at : at + BATCH]) for at in range(0, len(first), BATCH)])
    network.start_heads(name, rows, torch.tensor([target for _, target in first]))


def groups(network: Network) -> list[dict[str, Any]]:
    """What is trained, and how fast: the heads faster than the reader, vectors without decay."""
    weights = list(network.reader.parameters())
    return [
        {"params": [v for v in weights if v.ndim > 1], "weight_decay": WEIGHT_DECAY, "peak": LEARNING_RATE},
        {"params": [v for v in weights if v.ndim <= 1], "weight_decay": 0.0, "peak": LEARNING_RATE},
        {"params": list(network.heads.parameters()), "weight_decay": 0.0, "peak": HEAD_RATE},
    ]


def batched(
    name: str, examples: Sequence[Example], times: int, chance: random.Random
) -> Iterable[tuple[str, list[Example]]]:
    """Batches of texts of similar length, each text in `times` of them."""
    for _ in range(times):
        order = chance.sample(list(examples), len(examples))
        order.sort(key=lambda example: len(example[0]) // 3)
        yield from ((name, order[at : at + BATCH]) for at in range(0, len(order), BATCH))


def write(network: Network, out: Path, met: Iterable[int]) -> None:
    """The encoder and its reader as ONNX at 8 bits, word pieces that were not `met` at 4, and the heads."""
    import numpy as np

    from quantize.intents.table import most_used, shrink
    from quantize.training.export import write_int8

    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / "heads.npz", **{name: network.weights(name) for name in network.heads})
    write_int8(network, out, ("input_ids", "attention_mask"), "last_hidden_state")
    table = network.encoder.embeddings.word_embeddings.weight.detach().numpy()
    shrink(out / "model.onnx", table, most_used(met, len(table)))


if __name__ == "__main__":
    # Threads that wait by spinning would take the cores from whatever else runs here; set before torch starts them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # For our own packages alone: what else lies there belongs to another environment.
    sys.path.append(str(Path(__file__).parents[2]))
    import quantize.intents
    import quantize.training  # noqa: F401  # its modules are found from now on

    sys.path.pop()
    sys.stdout = sys.stderr
    sys.exit(main(sys.argv[1:]))
