"""`make demo`: an edge daemon, a "cloud" and an outage, on real models. Nothing in it is canned.

The edge runs SmolLM2-135M. The cloud is a second daemon that serves Qwen2.5-Coder-1.5B as an ordinary
OpenAI-compatible upstream. Twenty requests go to the edge; then the upstream is stopped, and started again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

EDGE_MODEL = "smollm2-135m-instruct-q4_1"
CLOUD_MODEL = "qwen2.5-coder-1.5b-instruct-q4_k_m"
COMMAND = [sys.executable, "-m", "edge_agent.cli.main"]

CLAUSE = (
    "Summarise this clause in one sentence and name the parties: This Loan Agreement is made between "
    "Margarethe Lindqvist, born in Uppsala, and Halvorsen Marine AS. The borrower shall repay EUR 240,000 to the "
    "account DE89 3704 0044 0532 0130 00 by transfer, with a copy of each order to margarethe.lindqvist@example.org."
)
REQUESTS = (
    "Hi there, how are you doing today?",
    "Thank you, that was helpful!",
    "What is your name?",
    "Tell me a joke.",
    "Flip a coin for me.",
    "What can you do?",
    "What is my account balance?",
    "How do I report a lost card?",
    "Please transfer 200 dollars from checking to savings.",
    "Why was my card declined yesterday?",
    "When is my next electricity bill due?",
    "How long should I boil an egg?",
    CLAUSE,
    "Draft an e-mail to Rebecca Thornbury (rebecca.thornbury@example.com, +44 20 7946 0958): meet on Friday instead.",
    "Which of our servers is slower to answer, 203.0.113.17 or 198.51.100.23? The first takes 80 ms, the second 35 ms.",
    "A train travels 120 km in 1.5 hours and then 200 km in 2.5 hours. What is its average speed over the whole trip?",
    "Natalia sold 48 clips in April and half as many in May. How many did she sell altogether? Explain step by step.",
    "Write a Python function that returns the longest palindromic substring of a string.",
    "Explain why the sum of two odd numbers is always even.",
    "Remember this for me: my social security number is 536-90-4399 and the password is hunter2-Kestrel!",
)
PLANTED = (
    *("Lindqvist", "DE89", "example.org", "example.com", "Thornbury", "7946 0958"),
    *("203.0.113.17", "536-90", "hunter2"),
)
OUTAGE = (
    "Write a Python function that merges two sorted lists into one sorted list.",
    "Translate into French for Rebecca Thornbury: the delivery arrives on Monday.",
)


@contextmanager
def daemon(home: Path, models: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A real `edge-agent serve` with a home of its own; the models folder is shared."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "models").exists():
        (home / "models").symlink_to(models)
    environ = {**os.environ, "EDGE_AGENT_HOME": str(home), **{f"EDGE_AGENT_{k}": v for k, v in settings.items()}}
    process = subprocess.Popen([*COMMAND, "serve"], env=environ, stdout=subprocess.DEVNULL)
    try:
        yield process, connect(home, process)
    finally:
        process.terminate()
        process.wait(30)


def connect(home: Path, process: subprocess.Popen[bytes]) -> httpx.Client:
    """A client for the daemon, once it is ready."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"the daemon in {home} ended with status {process.returncode}")
        try:
            url = json.loads((home / "daemon.json").read_text())["url"]
            token = (home / "token").read_text().strip()
            client = httpx.Client(
                base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=600, trust_env=False
            )
            if client.get("/readyz").status_code == 200:
                return client
        except (OSError, httpx.TransportError):
            pass
        time.sleep(0.2)
    sys.exit(f"the daemon in {home} did not get ready")


def ask(client: httpx.Client, text: str, **edge: Any) -> dict[str, Any]:
    """One request for the model `auto`; the whole answer."""
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], "max_tokens": 160, "edge": edge}
    response = client.post("/v1/chat/completions", json=body)
    document: dict[str, Any] = response.json()
    return document


def show(console: Console, title: str, rows: list[tuple[str, dict[str, Any]]]) -> None:
    """One table: route, why, confidence, masked, bytes sent, time, and how the answer begins."""
    table = Table(title=title, title_justify="left", show_lines=True)
    for column in ("request", "route", "why", "conf.", "masked", "bytes", "s", "answer"):
        table.add_column(column, overflow="fold")
    for text, answer in rows:
        edge = answer.get("edge")
        if edge is None:
            table.add_row(text[:60], "error", answer["error"]["code"], "", "", "", "", answer["error"]["message"][:90])
            continue
        content = answer["choices"][0]["message"]["content"] if "choices" in answer else f"job {edge['job_id']}"
        table.add_row(
            text if len(text) < 60 else text[:57] + "...",
            edge["route"] + (" (provisional)" if edge["provisional"] else ""),
            "\n".join(edge["reasons"]),
            "" if edge["confidence"] is None else f"{edge['confidence']:.2f}",
            "\n".join(f"{kind} {count}" for kind, count in edge["privacy"]["entities"].items()),
            str(edge["privacy"]["bytes_sent"]),
            f"{edge['timings_ms']['total'] / 1000:.1f}",
            " ".join(content.split())[:110],
        )
    console.print(table)


def jobs(client: httpx.Client) -> dict[str, int]:
    """The outbox, counted by status."""
    counted: dict[str, int] = {}
    for job in client.get("/edge/v1/outbox").json()["jobs"]:
        counted[job["status"]] = counted.get(job["status"], 0) + 1
    return counted


def pull(models: Path) -> None:
    """Fetch what the two daemons need, where it is not there yet."""
    home = models.parent
    for model in (EDGE_MODEL, CLOUD_MODEL):
        environ = {**os.environ, "EDGE_AGENT_HOME": str(home)}
        subprocess.run([*COMMAND, "models", "pull", model], env=environ, check=True)


def main() -> None:
    """Run the whole demonstration."""
    console = Console(width=None if sys.stdout.isatty() else 180)
    models = Path(os.environ.get("EDGE_AGENT_DEMO_HOME", Path(".demo"))).resolve() / "models"
    models.mkdir(parents=True, exist_ok=True)
    pull(models)
    scratch = Path(tempfile.mkdtemp(prefix="edge-demo-"))
    try:
        run(console, scratch, models)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run(console: Console, scratch: Path, models: Path) -> None:
    """Twenty requests, an outage, and what the outbox makes of it."""
    cloud_settings = {"SERVER__PORT": "8141", "MODELS__DEFAULT": CLOUD_MODEL, "BRIDGE__MODE": "off"}
    edge_home = scratch / "edge"
    edge_home.mkdir()
    (edge_home / "config.toml").write_text(
        "[server]\nport = 8140\n[models]\n"
        f'default = "{EDGE_MODEL}"\n[[bridge.providers]]\nname = "cloud"\nkind = "openai"\n'
        'base_url = "http://127.0.0.1:8141/v1"\napi_key_env = "DEMO_CLOUD_KEY"\nmodel = "local"\n'
        "usd_per_mtok_in = 0.15\nusd_per_mtok_out = 0.6\n"
    )
    with daemon(scratch / "cloud", models, **cloud_settings) as (_, cloud_client):
        os.environ["DEMO_CLOUD_KEY"] = (scratch / "cloud" / "token").read_text().strip()
        with daemon(edge_home, models) as (_, edge):
            # The stop below ends the upstream inside this block; the second block starts it again.
            show(console, "1. Twenty requests", [(text, ask(edge, text)) for text in REQUESTS])
            cloud_client.close()
            outage(console, edge, scratch, models, cloud_settings)


def outage(console: Console, edge: httpx.Client, scratch: Path, models: Path, cloud_settings: dict[str, str]) -> None:
    """Stop the upstream, ask, start it again, and watch the outbox."""
    pid = json.loads((scratch / "cloud" / "daemon.json").read_text())["pid"]
    os.kill(pid, 9)
    rows = [(text, ask(edge, text, session_id=f"outage-{n}")) for n, text in enumerate(OUTAGE)]
    rows.append((CLAUSE, ask(edge, CLAUSE, session_id="outage-clause", defer="always")))
    show(console, "2. The upstream was killed", rows)
    console.print("outbox:", jobs(edge))
    with daemon(scratch / "cloud", models, **cloud_settings):
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and set(jobs(edge)) - {"done"}:
            edge.post("/edge/v1/outbox/flush", json={})
            time.sleep(1)
        console.print("3. The upstream is back. outbox:", jobs(edge))
        for n in range(len(OUTAGE)):
            turn = edge.get(f"/edge/v1/sessions/outage-{n}").json()["turns"][-1]
            for answer in turn["answers"]:
                kind = "provisional" if answer["provisional"] else "revision"
                console.print(f"  session outage-{n} · {kind}: {' '.join(answer['text'].split())[:120]}")
    ledger = edge.get("/edge/v1/ledger").json()["entries"]
    sent = b"".join(edge.get(f"/edge/v1/ledger/{entry['id']}").json()["body"].encode() for entry in ledger).decode()
    planted = (
        "Lindqvist",
        "DE89",
        "example.org",
        "example.com",
        "Thornbury",
        "7946 0958",
        "203.0.113.17",
        "536-90",
        "hunter2",
    )
    leaked = [value for value in planted if value in sent]
    console.print(
        f"4. The ledger holds {len(ledger)} departures, {len(sent)} characters. Planted values in them: {leaked}"
    )


if __name__ == "__main__":
    main()
