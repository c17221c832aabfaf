"""Whatever breaks, nothing leaves: told by a provider that records every byte it gets."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import Escalation
from cloud_bridge.protocol.masked import Masked
from edge_agent.composition import open_state
from edge_agent.state.state import State
from tests.daemon.conftest import KEY, SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.daemon.upstream_process import UpstreamProcess, provider_config, upstream
from tests.upstream import Answer

pytestmark = pytest.mark.slow

TEXT = "Prove that the square root of two is irrational, and mail it to margarethe.lindqvist@example.org."
POLICY = """[privacy]
never_leave = ["US_SSN", "ORGANIZATION", "PROJECT_NAME"]
[[privacy.recognizers]]
type = "PROJECT_NAME"
pattern = 'Falcon-[0-9]+'
"""
TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
Escalating = tuple[RunningDaemon, UpstreamProcess]


def queued_before(home: Path) -> dict[str, str]:
    """Jobs that waited when the daemon was down, by what is wrong with them now. Returns their ids."""
    wrong = {
        "never_leaves": Masked(said("Look up <US_SSN_1>."), {"US_SSN": 1}),
        "value_left": Masked(said("Charge 4111 1111 1111 1111."), {}),
        "none": Masked(said("Write to <PERSON_1>."), {"PERSON": 1}),
    }
    with open_state(home) as state:
        return {code: queued(state, code, masked) for code, masked in wrong.items()}


def queued(state: State, key: str, masked: Masked) -> str:
    request_id = state.accept_request(key, {"messages": [], "tools": []})
    return state.enqueue(Escalation(masked, key, key, TRACE), "cloud_unreachable", request_id=request_id).id


def said(text: str) -> Conversation:
    return Conversation((Message("user", (Text(text),)),))


@pytest.fixture(scope="module")
def cloud() -> Iterator[UpstreamProcess]:
    with upstream() as process:
        yield process


@pytest.fixture(scope="module")
def jobs() -> dict[str, str]:
    return {}


@pytest.fixture(scope="module")
def escalating(
    models_home: Path, tmp_path_factory: pytest.TempPathFactory, cloud: UpstreamProcess, jobs: dict[str, str]
) -> Iterator[RunningDaemon]:
    """A daemon with a provider in the US, and jobs from before its settings changed."""
    home = tmp_path_factory.mktemp("edge")
    jobs |= queued_before(home)
    # What was answered before would be answered again, with nothing leaving.
    config = POLICY + SMOL + provider_config(cloud.url) + 'region = "us-east"\n[cache]\nexact = false\n'
    with daemon(home, models_home, config, STAND_IN_KEY=KEY) as running:
        running.wait_for_jobs("failed", number=2)
        running.wait_for_jobs("done")
        yield running


@contextmanager
def nothing_leaves(cloud: UpstreamProcess) -> Iterator[None]:
    before = len(cloud.requests)
    yield
    assert len(cloud.requests) == before


@contextmanager
def refusing_to_keep(home: Path, kind: str) -> Iterator[None]:
    """A database that takes no event of that kind: as a full disk, at the very step."""
    with closing(sqlite3.connect(home / "state.db", isolation_level=None)) as db:
        db.execute(
            f"CREATE TRIGGER no BEFORE INSERT ON events WHEN NEW.kind = '{kind}' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        try:
            yield
        finally:
            db.execute("DROP TRIGGER no")


def code_of(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert "lindqvist" not in answer.text
    return str(answer.json()["error"]["code"])


def would_answer_here(running: RunningDaemon, reason: str, **more: Any) -> None:
    """The decision for `auto`, as explain tells it: no local model has to be waited for."""
    body = {"model": "auto", "messages": [{"role": "user", "content": TEXT}], **more}
    found = running.http.post("/edge/v1/explain", json=body).json()
    assert found["decision"]["route"] == "local", found
    assert reason in found["decision"]["reasons"]
    assert found["would_send"] is None


def test_without_the_detectors_model_nothing_leaves(models_home: Path, tmp_path: Path, cloud: UpstreamProcess) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "smollm2-135m-instruct-q4_1").symlink_to(models_home / "smollm2-135m-instruct-q4_1")
    config = '[privacy]\nmodels = ["spacy-en-core-web-sm"]\n' + SMOL + provider_config(cloud.url)
    with nothing_leaves(cloud), daemon(tmp_path / "edge", models, config, STAND_IN_KEY=KEY) as running:
        assert code_of(running.chat(TEXT, model="cloud"), 500) == "privacy_failed"
        would_answer_here(running, "privacy:failed:privacy_failed")
        assert running.http.get("/edge/v1/ledger").json()["entries"] == []


def test_when_detection_takes_too_long_nothing_leaves(
    models_home: Path, tmp_path: Path, cloud: UpstreamProcess
) -> None:
    config = "[privacy]\ntimeout_s = 0.001\n" + SMOL + provider_config(cloud.url)
    with nothing_leaves(cloud), daemon(tmp_path, models_home, config, STAND_IN_KEY=KEY) as running:
        assert code_of(running.chat(TEXT, model="cloud"), 500) == "privacy_timeout"
        would_answer_here(running, "privacy:failed:privacy_timeout")
        running.stop(signal.SIGKILL)  # it still loads what was not waited for


def test_with_a_wrong_clock_nothing_leaves_and_jobs_wait(
    models_home: Path, tmp_path: Path, cloud: UpstreamProcess
) -> None:
    with State.open(tmp_path / "state.db", open_keys(tmp_path), now=lambda: time.time() + 30 * 86_400) as ahead:
        queued(ahead, "waits", Masked(said("Write to <PERSON_1>."), {"PERSON": 1}))
    config = SMOL + provider_config(cloud.url)
    with nothing_leaves(cloud), daemon(tmp_path, models_home, config, STAND_IN_KEY=KEY) as running:
        refused = running.chat(TEXT, model="cloud")
        assert code_of(refused, 503) == "clock_wrong"
        assert "Set this device's clock" in refused.json()["error"]["message"]
        would_answer_here(running, "cloud:refused:clock_wrong")
        (job,) = running.wait_for_jobs("queued")
        assert job["reason"] in {"clock_wrong", "cloud_unreachable"}
        assert running.http.post("/edge/v1/outbox/flush", json={}).json()["sent"] == 0
        running.wait_for_jobs("queued")
        assert running.http.get("/edge/v1/outbox").json()["held"] == "clock_wrong"


def open_keys(home: Path) -> Any:
    with open_state(home) as state:
        return state._log.keys


def test_when_the_vault_cannot_be_written_nothing_leaves(escalating: RunningDaemon, cloud: UpstreamProcess) -> None:
    with nothing_leaves(cloud), refusing_to_keep(escalating.home, "mapping.added"):
        assert code_of(escalating.chat(TEXT, model="cloud"), 500) == "privacy_failed"
        edge = escalating.chat(TEXT, max_tokens=1).json()["edge"]
        assert (edge["route"], edge["reasons"][-1]) == ("local", "privacy:failed:privacy_failed")
        assert edge["privacy"]["bytes_sent"] == 0


def test_when_the_vault_cannot_be_read_nothing_leaves(escalating: RunningDaemon, cloud: UpstreamProcess) -> None:
    cloud.will(Answer(text="ok"))
    edge = {"session_id": "to-be-damaged"}
    assert escalating.chat(TEXT, model="cloud", edge=edge).status_code == 200
    with closing(sqlite3.connect(escalating.home / "state.db")) as db:
        db.executescript(
            "DROP TRIGGER events_are_immutable; UPDATE events SET body = randomblob(length(body))"
            " WHERE kind = 'mapping.added' AND session_id = 'to-be-damaged'"
        )
    with nothing_leaves(cloud):
        assert code_of(escalating.chat(TEXT, model="cloud", edge=edge), 500) == "state_damaged"
        would_answer_here(escalating, "privacy:failed:state_damaged", edge=edge)


def test_when_the_ledger_cannot_be_written_nothing_leaves(escalating: RunningDaemon, cloud: UpstreamProcess) -> None:
    with nothing_leaves(cloud), refusing_to_keep(escalating.home, "ledger.departed"):
        assert code_of(escalating.chat(TEXT, model="cloud"), 500) == "internal_error"


def test_when_the_ledger_cannot_be_signed_nothing_leaves(escalating: RunningDaemon, cloud: UpstreamProcess) -> None:
    key = escalating.home / "keys" / "device.key"
    whole = key.read_bytes()
    key.write_bytes(b"no key")
    try:
        with nothing_leaves(cloud):
            assert code_of(escalating.chat(TEXT, model="cloud"), 500) == "device_key_unreadable"
    finally:
        key.write_bytes(whole)


def test_what_waits_in_the_outbox_is_held_to_the_rules_of_now(
    escalating: RunningDaemon, cloud: UpstreamProcess, jobs: dict[str, str]
) -> None:
    for code in ("never_leaves", "value_left"):
        job = escalating.http.get(f"/edge/v1/jobs/{jobs[code]}").json()
        assert (job["status"], job["reason"]) == ("failed", code)
    sent = b"".join(request.body for request in cloud.requests).decode()
    assert "US_SSN" not in sent
    assert "4111" not in sent
    assert escalating.http.get(f"/edge/v1/jobs/{jobs['none']}").json()["status"] == "done"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"role": "user", "content": "I work for Siemens AG and wonder why."}, "ORGANIZATION"),
        ({"role": "user", "content": "How late is Falcon-77?"}, "PROJECT_NAME"),
        ({"role": "tool", "tool_call_id": "c", "content": '{"ssn": "536-90-4399"}'}, "US_SSN"),
    ],
)
def test_a_type_that_never_leaves_stays_wherever_it_stands(
    escalating: RunningDaemon, cloud: UpstreamProcess, message: dict[str, str], kind: str
) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    before = [{"role": "user", "content": "Look it up."}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    messages = [*before, message] if message["role"] == "tool" else [message]
    with nothing_leaves(cloud):
        refused = escalating.http.post("/v1/chat/completions", json={"model": "cloud", "messages": messages})
        assert code_of(refused, 403) == "never_leaves"
        assert kind in refused.json()["error"]["message"]


def test_where_no_provider_is_in_an_allowed_region_nothing_leaves(
    escalating: RunningDaemon, cloud: UpstreamProcess
) -> None:
    with nothing_leaves(cloud):
        assert code_of(escalating.chat(TEXT, model="cloud", edge={"residency": ["eu"]}), 403) == "residency"
        would_answer_here(escalating, "cloud:refused:residency", edge={"residency": ["eu"]})
        for wrong in ([], [""], "eu", [1], ["eu"] * 33):
            assert escalating.chat(TEXT, model="cloud", edge={"residency": wrong}).status_code == 400
    cloud.will(Answer(text="ok"))
    assert escalating.chat(TEXT, model="cloud", edge={"residency": ["eu", "US-East"]}).status_code == 200


def test_explain_shows_each_masked_span_where_it_stood(escalating: RunningDaemon, cloud: UpstreamProcess) -> None:
    arguments = '{"to":"\\u00e9\\n ada@example.org"}'
    call = {"id": "c", "type": "function", "function": {"name": "send", "arguments": arguments}}
    messages = [
        {"role": "user", "content": TEXT},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "sent"},
    ]
    with nothing_leaves(cloud):
        found = escalating.http.post("/edge/v1/explain", json={"model": "cloud", "messages": messages}).json()
    mails = [entity for entity in found["entities"] if entity["type"] == "EMAIL_ADDRESS"]
    strings = {"messages[0].content": TEXT, "messages[1].tool_calls[0].function.arguments": arguments}
    assert [(entity["path"], strings[entity["path"]][entity["start"] : entity["end"]]) for entity in mails] == [
        ("messages[0].content", "margarethe.lindqvist@example.org"),
        ("messages[1].tool_calls[0].function.arguments", "ada@example.org"),
    ]
    assert all(entity["placeholder"] in found["would_send"]["body"] for entity in mails)
    assert mails[0]["score"] >= 0.95
    assert "lindqvist" not in (escalating.home / "stderr.log").read_text()
