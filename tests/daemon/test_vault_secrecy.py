"""What goes wrong, in every way that can be had, says nothing of what was said: log, errors, metrics, files."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.daemon.conftest import KEY, SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.daemon.upstream_process import UpstreamProcess, provider_config, upstream
from tests.upstream import Answer

pytestmark = pytest.mark.slow
CHAT = "/v1/chat/completions"
PLANTED = {
    "person": "Wilhelmina Achterberg",
    "e-mail": "w.achterberg@example.org",
    "IBAN": "NL91ABNA0417164300",
    "card": "4111111111111111",
    "plain words": "zanzibarquokka",
}
TEXT = "Please write to " + ", ".join(PLANTED.values()) + "."


def provider_fails(running: RunningDaemon, cloud: UpstreamProcess) -> list[httpx.Response]:
    """A provider that quotes what it got, breaks off, and speaks nonsense."""
    quoted = json.dumps({"error": {"message": f"cannot do: {TEXT}", "type": TEXT, "code": TEXT}})
    answers = []
    for answer in (Answer(status=400, body=quoted), Answer(status=200, body=TEXT), Answer(cut_after=1)):
        cloud.will(answer)
        answers.append(running.chat(TEXT, model="cloud", edge={"defer": "never", "session_id": "failing"}))
    cloud.will(Answer(status=500, body=quoted))
    answers.append(running.chat(TEXT, model="cloud"))
    return answers


def client_fails(running: RunningDaemon) -> list[httpx.Response]:
    """Requests that no parser can take, with values where none belong."""
    message = {"role": "user", "content": TEXT}
    whole = {"model": "local", "messages": [message]}
    bad = (
        {**whole, "messages": TEXT},
        {**whole, "messages": [{**message, "role": TEXT}]},
        {**whole, "temperature": TEXT},
        {**whole, "edge": {"session_id": f"{TEXT}\n"}},
        {**whole, "tools": [{"type": "function", "function": {"name": TEXT, "parameters": TEXT}}]},
        {**whole, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": TEXT}}}},
    )
    answers = [running.http.post(CHAT, json=body) for body in bad]
    cut = json.dumps(whole)[:-3]
    headers = {"Content-Type": "application/json"}
    answers.append(running.http.post(CHAT, content=cut, headers=headers))
    answers.append(running.http.get(f"/edge/v1/sessions/{TEXT}"))
    answers.append(running.http.post("/edge/v1/restore", json={"text": TEXT, "mapping_id": TEXT}))
    return answers


def vault_fails(running: RunningDaemon) -> list[httpx.Response]:
    """A database that can be neither read nor written."""
    with closing(sqlite3.connect(running.home / "state.db", isolation_level=None)) as db:
        db.execute("PRAGMA legacy_alter_table = ON")
        db.execute("ALTER TABLE events RENAME TO gone")
        answers = [running.chat(TEXT, model=model) for model in ("cloud", "local")]
        db.execute("ALTER TABLE gone RENAME TO events")
    return answers


def model_dies(running: RunningDaemon) -> None:
    """The process that has the text in its memory crashes in the midst of the answer."""
    assert running.process is not None
    running.chat("Hello", model="local", max_tokens=1)
    body = {"model": "local", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 300, "stream": True}
    with running.http.stream("POST", CHAT, json=body) as response:
        lines = response.iter_lines()
        for _ in range(4):
            next(lines)
        own = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
        for worker in own.read_text().split():
            os.kill(int(worker), signal.SIGSEGV)
        for _ in lines:
            pass


def test_nothing_that_was_said_is_told_when_things_fail(models_home: Path, tmp_path: Path) -> None:
    with upstream() as cloud:
        config = SMOL + provider_config(cloud.url)
        with daemon(tmp_path / "edge", models_home, config, STAND_IN_KEY=KEY) as running:
            failed = [*provider_fails(running, cloud), *client_fails(running), *vault_fails(running)]
            if Path("/proc/self/task").is_dir():
                model_dies(running)
            assert running.http.get("/healthz").status_code == 200
            metrics = running.http.get("/metrics").text
            running.stop(signal.SIGKILL)  # nothing is tidied up
            told = {
                "metrics": metrics.encode(),
                "errors": b"\n".join(answer.content for answer in failed if answer.status_code >= 400),
                **{path.name: path.read_bytes() for path in running.home.rglob("*") if kept(path)},
            }
    assert sum(answer.status_code >= 400 for answer in failed) > 8
    assert {"state.db", "state.db-wal", "stderr.log"} <= told.keys()
    assert b"Traceback" not in told["stderr.log"]
    for where, content in told.items():
        for kind, value in PLANTED.items():
            if kind == "plain words" and where.startswith("bridge.db"):
                continue  # the bridge keeps what it was sent, to send nothing twice: masked text, as it left
            for form in (value, *value.split()):
                assert form.lower().encode() not in content.lower(), (kind, where)


def kept(path: Path) -> bool:
    return path.is_file() and "models" not in path.parts[-3:]
