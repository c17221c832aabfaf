"""The recording upstream as a process of its own, so that it can be killed and can outlive a killed daemon."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.upstream import Answer, Recorded, answer_to_json, recorded_from_json


@dataclass
class UpstreamProcess:
    """Where it is, what it got, and what it will say."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def will(self, *answers: Answer) -> None:
        """Answer so from now on."""
        body = [answer_to_json(answer) for answer in answers]
        httpx.post(self.url + "/__upstream/will", json=body, trust_env=False).raise_for_status()

    def release(self) -> None:
        """Let held answers go on."""
        httpx.post(self.url + "/__upstream/release", json={}, trust_env=False).raise_for_status()

    @property
    def requests(self) -> list[Recorded]:
        """Every POST so far."""
        found = httpx.get(self.url + "/__upstream/requests", trust_env=False).json()["requests"]
        return [recorded_from_json(item) for item in found]

    def wait_for(self, number: int, within_s: float = 30) -> list[Recorded]:
        """The POSTs, once there are so many."""
        deadline = time.monotonic() + within_s
        while len(found := self.requests) < number:
            assert time.monotonic() < deadline, f"{len(found)} of {number} requests"
            time.sleep(0.05)
        return found

    def kill(self) -> None:
        """As a provider that vanishes."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def upstream(port: int = 0, answer: Answer | None = None) -> Iterator[UpstreamProcess]:
    """A running upstream."""
    command = [sys.executable, "-m", "tests.upstream", "--port", str(port)]
    if answer is not None:
        command += ["--answer", json.dumps(answer_to_json(answer))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield UpstreamProcess(process, json.loads(process.stdout.readline())["url"])
    finally:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def provider_config(url: str, *, kind: str = "openai", name: str = "stand-in") -> str:
    """The contract's `[[bridge.providers]]` for it."""
    base = url + "/v1" if kind == "openai" else url
    return f"""
[[bridge.providers]]
name = "{name}"
kind = "{kind}"
base_url = "{base}"
api_key_env = "STAND_IN_KEY"
model = "{name}-1"
usd_per_mtok_in = 1.0
usd_per_mtok_out = 2.0
"""
