"""Generation by the 1.5B model, through the daemon and by the library alone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llama_cpp

from tests.benchmarks.figure import Figure, compared
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.model_files import BIG_MODEL

TOKENS = 96
PROMPTS = tuple(f"Describe the work of a lighthouse keeper on day {n} of a storm, in detail." for n in range(1, 5))
CONFIG = f'[models]\ndefault = "{BIG_MODEL}"\n[bridge]\nmode = "off"\n'


def measure(models: Path, scratch: Path) -> list[Figure]:
    """One request against the library's own loop, and four at once against one."""
    library = _library(models)
    with daemon(scratch / "home", models, CONFIG) as running:
        _speed(running, PROMPTS[:1])
        one = max(_speed(running, PROMPTS[:1]) for _ in range(3))
        four = max(_speed(running, PROMPTS) for _ in range(2))
    return [
        compared("one request, 1.5B", one, library, "llama_cpp.Llama's own loop", "tokens/s"),
        compared("four requests at once, 1.5B", four, one, "one request", "tokens/s"),
    ]


def _library(models: Path) -> float:
    (path,) = (models / BIG_MODEL).glob("*.gguf")
    model = llama_cpp.Llama(str(path), n_ctx=2048, verbose=False)
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        answer: Any = model.create_chat_completion([{"role": "user", "content": PROMPTS[0]}], max_tokens=TOKENS)
        best = max(best, answer["usage"]["completion_tokens"] / (time.perf_counter() - started))
    model.close()
    return best


def _speed(running: RunningDaemon, prompts: tuple[str, ...]) -> float:
    """Tokens a second in all, from the first request sent to the last answer received."""

    def ask(prompt: str) -> int:
        answer = running.chat(prompt, model="local", max_tokens=TOKENS).json()
        return int(answer["usage"]["completion_tokens"])

    started = time.perf_counter()
    with ThreadPoolExecutor(len(prompts)) as clients:
        tokens = sum(clients.map(ask, prompts))
    return tokens / (time.perf_counter() - started)
