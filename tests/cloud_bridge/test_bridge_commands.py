"""`cloud-bridge` as a person and a program use it, and what it survives."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from cloud_bridge.database import BridgeDatabase
from cloud_bridge.device_key import DeviceKey
from cloud_bridge.outbound import open_http
from cloud_bridge.protocol.events import Served
from cloud_bridge.protocol.problems import Unavailable
from cloud_bridge.remote import RemoteBridge
from tests.cloud_bridge.conftest import ENVIRON, collect, escalation, text_of
from tests.upstream import Answer, RecordingUpstream

COMMAND = [sys.executable, "-m", "cloud_bridge.cli"]
ROOT = Path(__file__).parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "bridge home"


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    return {**os.environ, **ENVIRON, "CLOUD_BRIDGE_HOME": str(home)}


@pytest.fixture
def run(environ: dict[str, str]) -> Run:
    def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments], env=environ, cwd=ROOT, capture_output=True, text=True, check=False
        )

    return run_command


@pytest.fixture
def start(environ: dict[str, str]) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start_process(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        """A serving process and its URL, once it listens."""
        process = subprocess.Popen(
            [*COMMAND, "serve", "--json", *arguments], env=environ, cwd=ROOT, stdout=-1, text=True
        )
        processes.append(process)
        return process, json.loads(process.stdout.readline())["url"]

    yield start_process
    for process in processes:
        process.kill()
        process.communicate()


def write_config(home: Path, upstream_url: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(
        f'[[providers]]\nname = "first"\nbase_url = "{upstream_url}"\napi_key_env = "TEST_KEY"\nmodel = "m"\n'
    )


@pytest.mark.slow
def test_devices_are_enrolled_listed_and_revoked(run: Run, tmp_path: Path):
    key = DeviceKey.load_or_create(tmp_path / "device.pem").public_id
    assert run("devices", "list").stdout == "No devices yet.\n"
    enrolled = run("devices", "enroll", "laptop", "--public-key", key, "--json")
    assert json.loads(enrolled.stdout) == {**json.loads(enrolled.stdout), "name": "laptop", "public_key": key}
    twice = run("devices", "enroll", "laptop", "--public-key", key)
    assert (twice.returncode, twice.stderr.count("\n")) == (1, 1)
    assert twice.stderr.startswith("error: ")
    assert json.loads(run("devices", "revoke", "laptop", "--json").stdout)["revoked_at"] > 0
    (device,) = json.loads(run("devices", "list", "--json").stdout)["devices"]
    assert device["revoked_at"] is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("devices", "enroll", "laptop", "--public-key", "abc"), "no Ed25519 public key"),
        (("devices", "revoke", "nobody"), "devices list"),
        (("serve", "--host", "203.0.113.1"), "--host"),
    ],
)
def test_errors_are_one_clear_line(arguments, words, run: Run):
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert "Traceback" in run("--debug", *arguments).stderr


@pytest.mark.slow
def test_a_bad_config_names_file_and_key(run: Run, home: Path):
    home.mkdir()
    (home / "config.toml").write_text("[server]\nport = 99999\n")
    result = run("serve")
    assert result.returncode == 1
    assert "config.toml: server.port" in result.stderr


@pytest.mark.slow
def test_the_audit_is_verified(run: Run, home: Path):
    assert json.loads(run("audit", "verify", "--json").stdout)["entries"] == 0
    database = BridgeDatabase(home / "bridge.db")
    with database.transaction() as db:
        db.execute("INSERT INTO audit VALUES (1, '{}', 'wrong')")
    database.close()
    result = run("audit", "verify")
    assert result.returncode == 1
    assert "audit chain is broken" in result.stderr


@pytest.mark.slow
def test_one_home_serves_one_bridge(run: Run, home: Path, start):
    write_config(home, "http://127.0.0.1:9")
    _, url = start("--port", "0")
    second = run("serve", "--port", "0")
    assert second.returncode == 1
    assert "Another bridge serves" in second.stderr
    assert httpx.get(f"{url}/healthz", trust_env=False).json() == {"status": "ok"}


@pytest.mark.slow
def test_a_terminated_bridge_ends_by_itself(home: Path, start):
    write_config(home, "http://127.0.0.1:9")
    process, url = start("--port", "0")
    httpx.get(f"{url}/healthz", trust_env=False)
    process.terminate()
    assert process.wait(15) in {0, -signal.SIGTERM}


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_bridge_killed_in_a_call_repeats_it_with_the_same_key_and_says_so(
    run: Run, home: Path, start, upstream: RecordingUpstream, tmp_path: Path
):
    upstream.will(Answer(text="half a", pieces="odd", hold_after=2), Answer(text="the whole answer"))
    write_config(home, upstream.url)
    key = DeviceKey.load_or_create(tmp_path / "device.pem")
    run("devices", "enroll", "laptop", "--public-key", key.public_id)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    process, url = start("--port", port)
    asked = escalation()
    async with open_http() as http:
        device = RemoteBridge(url, key, http)
        events = device.escalate(asked)
        assert isinstance(await anext(events), Served)
        process.kill()
        with pytest.raises(Unavailable) as caught:
            await collect(events)
        assert caught.value.code == "bridge_cut"
        with pytest.raises(Unavailable) as caught:
            await collect(device.escalate(asked))
        assert caught.value.code == "cloud_unreachable"

        start("--port", port)
        assert text_of(await collect(device.escalate(asked))) == "the whole answer"
        assert text_of(await collect(device.escalate(asked))) == "the whole answer"
    first, second = upstream.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body
    database = BridgeDatabase(home / "bridge.db")
    records = [json.loads(row["record"]) for row in database.rows("SELECT record FROM audit ORDER BY seq")]
    database.close()
    assert [record["repeated"] for record in records] == [False, True]


@pytest.mark.slow
def test_the_upstream_runs_as_a_process_of_its_own(tmp_path: Path):
    command = [sys.executable, "-m", "tests.upstream", "--answer", '{"text": "hello", "pieces": "characters"}']
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        url = json.loads(process.stdout.readline())["url"]
        request = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        with httpx.Client(trust_env=False) as http:
            answer = http.post(f"{url}/v1/chat/completions", json=request).json()
            assert answer["choices"][0]["message"]["content"] == "hello"
            http.post(f"{url}/__upstream/will", json=[{"status": 503}])
            assert http.post(f"{url}/v1/messages", json=request).status_code == 503
            recorded = http.get(f"{url}/__upstream/requests").json()["requests"]
        assert [item["path"] for item in recorded] == ["/v1/chat/completions", "/v1/messages"]
    finally:
        process.kill()
        process.communicate()
