"""Two models that take turns in memory for one: what a daemon takes must not grow with every swap.

python -m tests.daemon.swapping --requests 200 --every 10
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.model_files import SMALL_LLM, SMALL_MODELS, small_models

MAY_GROW = 1.05
KEEP_ALIVE_S = 2
_MIB = 2**20


@dataclass(slots=True)
class Report:
    """What happened. Memory is the daemon's own, in MiB: the median after the first swaps, and at the end."""

    requests: int
    swaps: int = 0
    first_mib: float = 0.0
    last_mib: float = 0.0
    left: tuple[int, ...] = ()
    wrong: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """Add to `wrong` what the numbers say."""
        if self.left:
            self.wrong.append(f"processes of models that are not needed any more: {self.left}")
        if self.last_mib > self.first_mib * MAY_GROW:
            self.wrong.append(f"the daemon's memory grew from {self.first_mib:.1f} to {self.last_mib:.1f} MiB")


def two_models(home: Path) -> tuple[str, str]:
    """Give `home` a models folder with SmolLM2 as it comes, and one made of it in another type; their ids."""
    folder = home / "models"
    folder.mkdir(parents=True)
    for model_id in SMALL_MODELS:
        (folder / model_id).symlink_to(small_models() / model_id)
    (gguf,) = (folder / SMALL_LLM).glob("*.gguf")
    made = subprocess.run(
        [sys.executable, "-m", "quantize.cli", str(gguf), "--to", "gguf", "--type", "Q8_0", "--no-judge", "--json"],
        env={**_environ(), "EDGE_AGENT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return SMALL_LLM, str(json.loads(made.stdout)["id"])


def config_for(home: Path, ids: tuple[str, str]) -> str:
    """A daemon whose memory holds the larger of the two, and not both."""
    command = [sys.executable, "-m", "edge_agent.cli.main", "models", "list", "--json"]
    listed = subprocess.run(
        command, env={**_environ(), "EDGE_AGENT_HOME": str(home)}, capture_output=True, text=True, check=True
    )
    needed = {model["id"]: model["ram_mb"] for model in json.loads(listed.stdout)["models"]}
    budget = max(needed[model_id] for model_id in ids)
    assert budget < sum(needed[model_id] for model_id in ids)
    models = f'[models]\ndefault = "{ids[0]}"\nram_budget_mb = {budget}\nkeep_alive_s = {KEEP_ALIVE_S}\n'
    return models + '[bridge]\nmode = "off"\n'


def swap(running: RunningDaemon, ids: tuple[str, str], *, requests: int, every: int) -> Report:
    """Ask one after the other, the other model after `every` requests. Wants at least four turns."""
    assert requests >= 4 * every
    assert running.process is not None
    process = psutil.Process(running.process.pid)
    report = Report(requests)
    taken: list[float] = []
    seen: tuple[int, ...] = ()
    for number in range(requests):
        model = ids[number // every % 2]
        answer = running.chat(f"Say something about the number {number}.", model=model, max_tokens=4)
        if answer.status_code != 200 or answer.json()["edge"]["model"] != model:
            report.wrong.append(f"request {number} to {model}: status {answer.status_code}")
        children = _children(process)
        if len(children) != 1:
            report.wrong.append(f"request {number}: {len(children)} processes with models")
        report.swaps += bool(seen) and children != seen
        seen = children
        taken.append(process.memory_info().rss / _MIB)
    # Both models have come and gone once by then, and what is made once has been made.
    report.first_mib = round(statistics.median(taken[2 * every : 4 * every]), 1)
    report.last_mib = round(statistics.median(taken[-2 * every :]), 1)
    report.left = _left(process)
    report.judge()
    return report


def _left(process: psutil.Process) -> tuple[int, ...]:
    """The children that are still there when nobody has asked for a while."""
    deadline = time.monotonic() + 10 * KEEP_ALIVE_S
    while _children(process) and time.monotonic() < deadline:
        time.sleep(0.2)
    return _children(process)


def _children(process: psutil.Process) -> tuple[int, ...]:
    return tuple(sorted(child.pid for child in process.children(recursive=True)))


def _environ() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("EDGE_AGENT_")}


def main() -> None:
    """Swap models in a daemon of one's own."""
    parser = argparse.ArgumentParser(prog="python -m tests.daemon.swapping")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--every", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-swap-") as scratch:
        home = Path(scratch) / "home"
        ids = two_models(home)
        with daemon(home, home / "models", config_for(home, ids)) as running:
            report = swap(running, ids, requests=given.requests, every=given.every)
    sys.stdout.write(json.dumps(asdict(report), indent=2) + "\n")
    sys.exit(bool(report.wrong))


if __name__ == "__main__":
    main()
