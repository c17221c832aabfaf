"""A real `edge-agent serve` in a process of its own, for tests that talk to it as any client would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

START_S = 60
MODULE = "edge_agent.cli.main"


@dataclass
class RunningDaemon:
    """One home and the process that serves it; it may be killed and started again."""

    home: Path
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    http: httpx.Client = field(default_factory=httpx.Client)
    module: str = MODULE

    @property
    def url(self) -> str:
        return str(self.http.base_url).rstrip("/")

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().strip()

    def start(self) -> None:
        """Start it and wait until it answers."""
        (self.home / "daemon.json").unlink(missing_ok=True)
        log = (self.home / "stderr.log").open("ab")
        command = [sys.executable, "-m", self.module, "serve", "--port", "0"]
        self.process = subprocess.Popen(command, env=self.environ, stdout=subprocess.DEVNULL, stderr=log)
        log.close()
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.home / "stderr.log").read_text()
            if (self.home / "daemon.json").exists():
                url = json.loads((self.home / "daemon.json").read_text() or "{}").get("url")
                if url and self._answers(url):
                    return
            time.sleep(0.05)
        raise AssertionError("the daemon did not start: " + (self.home / "stderr.log").read_text())

    def _answers(self, url: str) -> bool:
        self.http.close()
        headers = {"Authorization": f"Bearer {self.token}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=120, trust_env=False)
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process, gently or not, and reap it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        self.http.close()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an `edge-agent` command on this home."""
        command = [sys.executable, "-m", MODULE, *words]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120, check=False)

    def chat(self, text: str, *, model: str = "auto", **more: Any) -> httpx.Response:
        """One chat request, whole."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 24, **more}
        return self.http.post("/v1/chat/completions", json=body)

    def stream(self, text: str, *, model: str = "auto", **more: Any) -> list[dict[str, Any]]:
        """One chat request, streamed: all its chunks."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 24, **more}
        chunks = []
        with self.http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
            for line in response.iter_lines():
                data = line.removeprefix("data: ")
                if line and data != "[DONE]":
                    chunks.append(json.loads(data))
        return chunks

    def wait_for_jobs(self, status: str, *, number: int = 1, within_s: float = 60) -> list[dict[str, Any]]:
        """The outbox's jobs, once `number` of them have `status`."""
        deadline = time.monotonic() + within_s
        while True:
            jobs = self.http.get("/edge/v1/outbox").json()["jobs"]
            if sum(job["status"] == status for job in jobs) >= number:
                return list(jobs)
            assert time.monotonic() < deadline, jobs
            time.sleep(0.2)


def text_of(chunks: list[dict[str, Any]]) -> str:
    """The streamed answer's text."""
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk.get("choices", []))


@contextmanager
def daemon(
    home: Path, models: Path, config: str = "", *, module: str = MODULE, **environ: str
) -> Iterator[RunningDaemon]:
    """A daemon on `home`, with the shared models folder and this configuration. `module`: what is run as one."""
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "models").exists():
        (home / "models").symlink_to(models)
    (home / "config.toml").write_text(config)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EDGE_AGENT_")}
    running = RunningDaemon(home, {**kept, "EDGE_AGENT_HOME": str(home), **environ}, module=module)
    try:
        running.start()
        yield running
    finally:
        running.close()
