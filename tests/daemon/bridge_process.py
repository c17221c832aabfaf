"""A real `cloud-bridge serve` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.daemon.conftest import KEY
from tests.daemon.running_daemon import RunningDaemon


@dataclass
class BridgeProcess:
    """`cloud-bridge` on a home of its own, on one port through all restarts."""

    home: Path
    port: int = 0
    process: subprocess.Popen[str] | None = None
    environ: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Serve, and return once it listens."""
        command = [sys.executable, "-m", "cloud_bridge.cli", "serve", "--json", "--port", str(self.port)]
        with (self.home / "stderr.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environ, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        self.port = int(json.loads(self.process.stdout.readline())["url"].rsplit(":", 1)[1])

    def kill(self) -> None:
        """SIGKILL it."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def command(self, *words: str) -> None:
        """Run a `cloud-bridge` command on its home."""
        command = [sys.executable, "-m", "cloud_bridge.cli", *words]
        subprocess.run(command, env=self.environ, check=True, capture_output=True, timeout=60)

    def enroll(self, running: RunningDaemon, name: str) -> None:
        """Let a daemon's device call."""
        doctor = json.loads(running.command("doctor", "--json").stdout)["findings"]
        device = next(found["detail"] for found in doctor if found["what"] == "device id").split(";")[0]
        self.command("devices", "enroll", name, "--public-key", device)


@contextmanager
def bridge_process(home: Path, provider_url: str) -> Iterator[BridgeProcess]:
    """A bridge whose one provider is at `provider_url`."""
    home.mkdir()
    (home / "config.toml").write_text(
        f'[[providers]]\nname = "stand-in"\nkind = "openai"\nbase_url = "{provider_url}/v1"\n'
        'api_key_env = "STAND_IN_KEY"\nmodel = "stand-in-1"\n'
    )
    bridge = BridgeProcess(home, environ={**os.environ, "CLOUD_BRIDGE_HOME": str(home), "STAND_IN_KEY": KEY})
    bridge.start()
    try:
        yield bridge
    finally:
        bridge.kill()
