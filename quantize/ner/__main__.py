"""Train the token classifier that finds who and what a text is about.

    python -m quantize.ner --data DIR --out models/detectors/edge-pii-int8
    python -m quantize.ner --data DIR --out FOLDER --fold 1        # or 2: to judge with, not to ship

DIR holds `tab/tab_entities_train.jsonl` and `tab/tab_gold_dev.jsonl`; the other texts are of our own making. OUT gets
`model.onnx`, `tokenizer.json`, `config.json`, and a `manifest.json` with the command, the data, its licences and the
seed. `--fold 1` does not see the second half of `tab_gold_dev`, `--fold 2` not the first, so that `edge-agent privacy
eval --folds` can judge them there. Each takes some 7 minutes on two cores, in the export environment, which is made
first where it is missing. The base is a pulled model: `edge-agent models pull all-minilm-l6-v2`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_agent.home import current_home
from edge_agent.models.catalog import Catalog
from edge_agent.models.digest import sha256_of
from edge_agent.models.store import ModelStore
from quantize import export_environment
from quantize.ner.corpora import Annotated, generated, gold, judgments

BASE = "all-minilm-l6-v2"
LAYERS = 3
SEED = 1
PASSES = 4
GENERATED_A_PASS = 1_500

DIRECT = ("PERSON", "ADDRESS", "ID_NUMBER", "PHONE_NUMBER", "EMAIL_ADDRESS", "USERNAME")
BEGIN_AT: Mapping[str, float] = {"*": 0.2, **dict.fromkeys(DIRECT, 0.15)}
GO_ON_AT: Mapping[str, float] = {"*": 0.07, **dict.fromkeys(DIRECT, 0.06)}
"""From which probability on a word begins an entity, and goes along with one beside it."""

SCRIPT = Path(__file__).with_name("train.py")


def main(arguments: list[str]) -> int:
    """Train, and write the model's folder."""
    parser = argparse.ArgumentParser(prog="python -m quantize.ner")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int, choices=[1, 2])
    chosen = parser.parse_args(arguments)
    base = ModelStore(current_home() / "models", Catalog.load()).path(BASE)
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="train-") as scratch:
        corpus = Path(scratch) / "corpus.jsonl"
        with corpus.open("w", encoding="utf-8") as file:
            for number, text in _passes(chosen.data, chosen.fold):
                row = {"text": text.text, "spans": text.spans, "pass": number}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        options = ["--layers", str(LAYERS), "--seed", str(SEED)]
        facts = export_environment.run(
            [str(corpus), str(base), str(chosen.out), *options], _Said(), log=Path(scratch) / "log", script=SCRIPT
        )
    shutil.copyfile(base / "tokenizer.json", chosen.out / "tokenizer.json")
    labels = json.loads((chosen.out / "labels.json").read_text("utf-8"))
    (chosen.out / "labels.json").unlink()
    config = {"labels": labels, "begin_at": BEGIN_AT, "go_on_at": GO_ON_AT}
    (chosen.out / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    manifest = _manifest(chosen.out, base, facts)
    (chosen.out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    sys.stdout.write(f"{chosen.out}: {facts['cpu_seconds']} seconds of processor time\n")
    return 0


def _passes(data: Path, fold: int | None) -> Iterator[tuple[int, Annotated]]:
    """What each pass reads: all judgments, and generated texts that no other pass has."""
    settled = gold(data)
    half = len(settled) // 2
    seen = {None: settled, 1: settled[:half], 2: settled[half:]}[fold]
    real, made = [*judgments(data), *seen], generated(PASSES * GENERATED_A_PASS, SEED)
    for number in range(PASSES):
        yield from ((number, text) for text in real)
        yield from ((number, text) for text in made[number * GENERATED_A_PASS : (number + 1) * GENERATED_A_PASS])


def _manifest(folder: Path, base: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": 1,
        "id": folder.name,
        "kind": "token_classifier",
        "format": "onnx",
        "quantization": "int8",
        "context_length": 512,
        "ram_mb": 60,
        "licence": "Apache-2.0",
        "attribution": "edge-agent's own, from all-MiniLM-L6-v2 by sentence-transformers, trained on the Text "
        "Anonymization Benchmark (Pilán et al. 2022, MIT) and on generated text",
        "tasks": ["entities"],
        "files": [_file(folder, name) for name in ("model.onnx", "config.json", "tokenizer.json")],
        "made": {
            "source": {"name": BASE, "files": [_file(base, "model.safetensors")], "licence": "Apache-2.0"},
            "command": f"python -m quantize.ner --data DIR --out models/detectors/{folder.name}",
            "tools": facts["tools"],
            "notes": [f"{LAYERS} layers, seed {SEED}, {PASSES} passes, {GENERATED_A_PASS} generated texts a pass"],
        },
    }


def _file(folder: Path, name: str) -> dict[str, Any]:
    return {"path": name, "sha256": sha256_of(folder / name), "size": (folder / name).stat().st_size}


class _Said:
    """Progress as lines on stderr: it takes minutes."""

    def advance(self, done: int, total: int, what: str) -> None:
        """Say what is done, a line each time."""
        sys.stderr.write(f"{what} {done}/{total}\n" if total else f"{what}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
