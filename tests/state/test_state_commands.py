"""`edge-agent sessions|ledger|outbox`, against a real home; `flush` against a real server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.problems import Broken, Conflict, NotFound, Problem, Unavailable
from edge_agent.cli import ledger, outbox, sessions
from edge_agent.state.state import State


@pytest.fixture
def run(home: Path, state: State) -> Any:
    def command(app: Any, *arguments: str) -> Result:
        result = CliRunner().invoke(app, arguments, env={"EDGE_AGENT_HOME": str(home)})
        if isinstance(result.exception, Problem):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return command


@pytest.fixture
def used(state: State, talk: Any, report: Any, escalation: Any) -> State:
    request_id = state.accept_request("s", talk("hello there"))
    state.enqueue(escalation("k"), "cloud_unreachable", request_id=request_id)
    state.record_departure("s", "d", Departure("acme", "https://acme.example", b'{"text": "Hi <PERSON_1>"}'))
    state.finish_request(request_id, "hi", report(provisional=True))
    return state


def test_empty_homes_say_so(run: Any) -> None:
    assert run(sessions.app, "list").output == "No sessions yet.\n"
    assert run(ledger.app, "list").output == "Nothing has left this device.\n"
    assert run(outbox.app, "list").output == "Nothing waits.\n"
    assert json.loads(run(sessions.app, "list", "--json").output) == {"sessions": []}


def test_sessions(run: Any, used: State) -> None:
    (listed,) = json.loads(run(sessions.app, "list", "--json").output)["sessions"]
    assert (listed["id"], listed["turns"], listed["jobs_pending"]) == ("s", 1, 1)
    assert "s" in run(sessions.app, "list").output
    shown = json.loads(run(sessions.app, "show", "s", "--json").output)
    assert shown["turns"][0]["answers"][0]["text"] == "hi"
    assert "hello there" in run(sessions.app, "show", "s").output
    assert run(sessions.app, "export", "s").output == "".join(used.export("s", "jsonl"))
    assert run(sessions.app, "export", "s", "--format", "markdown").output == "".join(used.export("s", "markdown"))
    assert json.loads(run(sessions.app, "forget", "s", "--json").output) == {"forgotten": "s"}
    with pytest.raises(NotFound) as caught:
        run(sessions.app, "show", "s")
    assert caught.value.code == "session_forgotten"


def test_ledger(run: Any, used: State) -> None:
    (entry,) = json.loads(run(ledger.app, "list", "--json").output)["entries"]
    assert (entry["provider"], entry["bytes"], "body" in entry) == ("acme", 25, False)
    assert json.loads(run(ledger.app, "show", entry["id"], "--json").output)["body"] == '{"text": "Hi <PERSON_1>"}'
    assert run(ledger.app, "show", entry["id"]).stdout_bytes.endswith(b'\n\n{"text": "Hi <PERSON_1>"}\n')
    assert json.loads(run(ledger.app, "verify", "--json").output) == {"entries": 1, "intact": True}
    assert run(ledger.app, "verify").output == "The ledger holds: 1 entry, none altered.\n"
    with used._log.transaction() as tx:
        tx.db.execute("UPDATE ledger SET hash = 'x'")
    with pytest.raises(Broken) as caught:
        run(ledger.app, "verify")
    assert caught.value.code == "ledger_altered"
    used.forget("s")
    assert "forgotten" in run(ledger.app, "show", entry["id"]).output


def test_outbox(run: Any, used: State) -> None:
    (job,) = json.loads(run(outbox.app, "list", "--json").output)["jobs"]
    assert {key: job[key] for key in ("status", "session_id", "reason", "answer")} == {
        "status": "queued",
        "session_id": "s",
        "reason": "cloud_unreachable",
        "answer": None,
    }
    assert job["id"] in run(outbox.app, "list").output
    assert json.loads(run(outbox.app, "drop", job["id"], "--json").output)["status"] == "dropped"
    assert json.loads(run(outbox.app, "list", "--json").output)["jobs"] == []
    assert json.loads(run(outbox.app, "list", "--all", "--json").output)["jobs"][0]["status"] == "dropped"


def test_a_failed_job_is_listed_with_what_to_do_and_can_be_sent_after_all(
    run: Any, state: State, talk: Any, escalation: Any
) -> None:
    request = state.accept_request("s", talk("hello there"))
    ids = [state.enqueue(escalation(f"k{n}"), "offline", request_id=request).id for n in range(3)]
    state.fail_job(ids[0], "provider_rejected")
    listed = run(outbox.app, "list").output
    assert f"{ids[0]}: Every provider refused it. Check base_url and model, then retry it." in listed
    page = run(outbox.app, "list", "--limit", "2")
    assert f"--after {ids[1]}" in page.output
    assert ids[2] in run(outbox.app, "list", "--after", ids[1]).output
    document = json.loads(run(outbox.app, "list", "--json", "--limit", "1").output)
    assert [job["id"] for job in document["jobs"]] == ids[:1]
    assert (document["counts"]["queued"], document["counts"]["failed"]) == (2, 1)
    assert run(outbox.app, "retry", ids[0]).output == f"Queued {ids[0]} again; the daemon sends it.\n"
    assert state.claim_next(1e12).id == ids[0]
    with pytest.raises(Conflict) as caught:
        run(outbox.app, "retry", ids[0], "--json")
    assert caught.value.code == "job_not_failed"


@pytest.fixture
def daemon(home: Path, state: State) -> Iterator[list[str]]:
    """Something that answers as the daemon does; the test sees what it was asked."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            body = b'{"sent": 2, "queued": 1, "failed": 0}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    (home / "token").write_text("edge-test\n")
    (home / "daemon.json").write_text(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}))
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_flush_asks_the_daemon(run: Any, daemon: list[str]) -> None:
    assert run(outbox.app, "flush").output == "Sent 2, still queued 1, failed 0.\n"
    assert json.loads(run(outbox.app, "flush", "--json").output)["sent"] == 2
    assert daemon == ["/edge/v1/outbox/flush"] * 2


def test_flush_without_a_daemon_says_so(run: Any, home: Path) -> None:
    (home / "token").write_text("edge-test\n")
    (home / "daemon.json").write_text(json.dumps({"url": "http://127.0.0.1:9"}))
    with pytest.raises(Unavailable) as caught:
        run(outbox.app, "flush")
    assert caught.value.code == "daemon_not_running"
