"""The vault of a real daemon: locked it sends nothing, owned it is not changed, crashed it leaves no memory behind."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import Escalation
from cloud_bridge.protocol.masked import Masked
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.master_key.passphrase import VARIABLE as PASSPHRASE
from edge_agent.state.master_key.passphrase import Passphrase
from edge_agent.state.master_key.passphrase_place import PassphrasePlace
from edge_agent.state.state import State
from tests.daemon.conftest import KEY, SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.daemon.upstream_process import provider_config, upstream

pytestmark = pytest.mark.slow
LOCKED = '[vault]\nkey = "passphrase"\n'


def refused(running: RunningDaemon, **environ: str) -> str:
    """What a daemon says that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.cli.main", "serve", "--port", "0"],
        env={**running.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr


def queue_a_job(home: Path) -> None:
    """Under a passphrase (scrypt at a cost for tests), and then under another master key."""
    place = PassphrasePlace(Passphrase({PASSPHRASE: "correct horse battery"}, None), cost=16)
    key = HomeKey(home, choice="passphrase", passphrase=place)
    with State.open(home / "state.db", key.open(), owner=True) as state:
        request_id = state.accept_request("kept", {"messages": [], "tools": []})
        masked = Masked(Conversation((Message("user", (Text("Hello"),)),)), {})
        trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
        state.enqueue(Escalation(masked, "key", "kept", trace), "cloud_unreachable", request_id=request_id)
        key.rotate(state)


def test_a_locked_vault_starts_no_daemon_and_sends_nothing(models_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "edge"
    queue_a_job(home)
    with upstream() as cloud:
        config = SMOL + LOCKED + provider_config(cloud.url)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_AGENT_")}
        (home / "config.toml").write_text(config)
        with closing(RunningDaemon(home, {**kept, "EDGE_AGENT_HOME": str(home), "STAND_IN_KEY": KEY})) as locked:
            assert "The vault is locked: its passphrase is missing." in refused(locked)
            wrong = refused(locked, **{PASSPHRASE: "battery horse correct"})
        assert "The passphrase is wrong" in wrong
        assert "battery" not in wrong
        assert cloud.requests == []
        told = {PASSPHRASE: "correct horse battery", "STAND_IN_KEY": KEY}
        with daemon(home, models_home, config, **told) as running:
            assert "Another daemon is using" in running.command("vault", "rotate").stderr
            running.wait_for_jobs("done")
            assert len(cloud.requests) == 1
            assert_no_core(running)


def assert_no_core(running: RunningDaemon) -> None:
    """The daemon, and the process of its model."""
    if sys.platform != "linux":
        return
    running.chat("Hello", max_tokens=1)
    assert running.process is not None
    own = Path(f"/proc/{running.process.pid}")
    workers = (own / "task" / own.name / "children").read_text().split()
    assert workers
    for worker in workers:
        with suppress(PermissionError):  # but for root nobody may look
            assert PASSPHRASE.encode() not in (own.parent / worker / "environ").read_bytes()
    for process in (own, *(own.parent / worker for worker in workers)):
        limits = (process / "limits").read_text().splitlines()
        assert [line.split()[4:6] for line in limits if line.startswith("Max core file size")] == [["0", "0"]]


@pytest.mark.skipif(os.name != "posix", reason="core files are POSIX's")
def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    script = (
        "import ctypes, os, resource, sys\n"
        "most = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (most, most))\n"
        "from cloud_bridge import crash_dumps\n"
        "crash_dumps.forbid()\n"
        "if sys.platform == 'linux': assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0\n"
        "os.abort()\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    crashed = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environ)
    _, status = os.waitpid(crashed.pid, 0)
    crashed.returncode = 0  # reaped here, for the bit that subprocess does not tell
    assert os.WIFSIGNALED(status)
    assert not os.WCOREDUMP(status)
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_nobody_caught_is_logged_by_its_kind(tmp_path: Path) -> None:
    script = (
        "import logging, threading\n"
        "from cloud_bridge.logs import log_uncaught, start_log\n"
        "start_log(level=logging.WARNING, debug=False)\n"
        "log_uncaught()\n"
        "def fail(): raise ValueError('planted in a thread')\n"
        "class Gone:\n"
        "    def __del__(self): raise KeyError('planted in a finalizer')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "Gone()\n"
        "raise RuntimeError('planted at the end')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "planted" not in done.stderr
    for kind in ("ValueError", "KeyError", "RuntimeError"):
        assert f"nobody caught a {kind}" in done.stderr
