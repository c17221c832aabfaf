"""How often a local model is right: run it on questions with known answers, and write down each outcome.

    python -m quantize.heads.outcomes MODEL.gguf --id MODEL_ID --data DIR --out OUTCOMES.json [--questions N]

The questions are spread evenly over GSM8K's training part; decoding is greedy, so a run can be repeated.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

GSM8K = Path("gsm8k/train.jsonl")
INSTRUCTION = " Think briefly, then end with the final number."
MAX_TOKENS = 320
CONTEXT = 1024

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def main(arguments: list[str]) -> int:
    """Run the questions and write the file; prints the share that was right."""
    parser = argparse.ArgumentParser(prog="python -m quantize.heads.outcomes")
    parser.add_argument("model", type=Path)
    parser.add_argument("--id", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args(arguments)
    lines = spread(chosen.data, chosen.questions)
    right = list(outcomes(chosen.model, chosen.threads, [row for _, row in lines]))
    document = {
        "model": chosen.id,
        "data": f"{GSM8K}, {len(lines)} lines",
        "decoding": f"greedy, at most {MAX_TOKENS} tokens, question +{INSTRUCTION!r}",
        "lines": [line for line, _ in lines],
        "right": right,
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(document) + "\n", "utf-8")
    sys.stdout.write(f"{chosen.id}: {sum(right)} of {len(right)} right\n")
    return 0


def spread(data: Path, count: int) -> list[tuple[int, dict[str, str]]]:
    """`count` questions at even distances, with their line numbers from 0."""
    rows = [json.loads(line) for line in (data / GSM8K).read_text("utf-8").splitlines()]
    return [(line, rows[line]) for line in (index * len(rows) // count for index in range(count))]


def outcomes(model: Path, threads: int, rows: list[dict[str, str]]) -> Iterator[bool]:
    """Whether the model's last number is the answer, question by question."""
    import llama_cpp  # noqa: PLC0415  # an engine

    llama = llama_cpp.Llama(str(model), n_ctx=CONTEXT, n_threads=threads, verbose=False)
    for row in rows:
        answer = llama.create_chat_completion(
            [{"role": "user", "content": row["question"] + INSTRUCTION}], max_tokens=MAX_TOKENS, temperature=0
        )
        yield last_number(answer["choices"][0]["message"]["content"]) == last_number(row["answer"])


def last_number(text: str) -> float | None:
    """The last number in a text, without its thousands separators; None where there is none."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
