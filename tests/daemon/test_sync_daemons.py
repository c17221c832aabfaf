"""Two daemons of one person, a bridge and a provider, each a process of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.bridge_process import BridgeProcess, bridge_process
from tests.daemon.conftest import SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.daemon.upstream_process import UpstreamProcess, upstream
from tests.upstream import Answer

pytestmark = pytest.mark.slow

TEXT = "Please write to Rebecca Thornbury (rebecca.thornbury@example.com) about the meeting."


@dataclass(frozen=True)
class Pair:
    """Two devices in one group."""

    laptop: RunningDaemon
    phone: RunningDaemon
    bridge: BridgeProcess
    cloud: UpstreamProcess


@pytest.fixture(scope="module")
def pair(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    base = tmp_path_factory.mktemp("pair")
    with upstream() as cloud, bridge_process(base / "bridge", cloud.url) as bridge:
        config = (
            SMOL
            + f"""[bridge]
mode = "remote"
url = "http://127.0.0.1:{bridge.port}"
[cache]
exact = false
[sync]
interval_s = 1
"""
        )
        with (
            daemon(base / "laptop", models_home, config) as laptop,
            daemon(base / "phone", models_home, config) as phone,
        ):
            bridge.enroll(laptop, "laptop")
            bridge.enroll(phone, "phone")
            told(laptop, "sync", "start", "--json")
            invitation = told(laptop, "sync", "invite", "--json")["invitation"]
            told(phone, "sync", "join", invitation, "--yes", "--json")
            yield Pair(laptop, phone, bridge, cloud)


def told(running: RunningDaemon, *words: str) -> Any:
    done = running.command(*words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def session(running: RunningDaemon, session_id: str) -> Any:
    found = running.http.get(f"/edge/v1/sessions/{session_id}")
    return found.json() if found.status_code == 200 else None


def texts(found: Any) -> list[list[str]]:
    return [[answer["text"] for answer in turn["answers"]] for turn in found["turns"]] if found else []


def wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_session_goes_on_on_the_other_device(pair: Pair) -> None:
    pair.cloud.will(Answer(pieces="characters"))
    asked = pair.laptop.chat(TEXT, model="cloud", edge={"session_id": "meeting"}).json()
    said = asked["choices"][0]["message"]["content"]
    wait_until(lambda: texts(session(pair.phone, "meeting")) == [[said]])
    messages = [
        {"role": "user", "content": TEXT},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "And tell Rebecca Thornbury that it is on Monday."},
    ]
    pair.cloud.will(Answer(text="Done, <PERSON_1>."))
    body = {"model": "cloud", "messages": messages, "edge": {"session_id": "meeting"}}
    answer = pair.phone.http.post("/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"] == "Done, Rebecca Thornbury."
    wait_until(lambda: len(texts(session(pair.laptop, "meeting"))) == 2)
    turns = session(pair.laptop, "meeting")["turns"]
    assert turns[1]["parent"] == turns[0]["answers"][0]["id"]
    first, second = (json.loads(request.body)["messages"] for request in pair.cloud.requests[-2:])
    history = [message for message in first if message["role"] != "system"]
    assert [message for message in second if message["role"] != "system"][: len(history)] == history


def test_the_bridge_has_neither_values_nor_words(pair: Pair) -> None:
    pair.laptop.chat("Say hello to Rebecca Thornbury, quietly.", edge={"session_id": "quiet-words"}, max_tokens=8)
    wait_until(lambda: session(pair.phone, "quiet-words") is not None)
    for path in pair.bridge.home.iterdir():
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in (b"Thornbury", b"quietly", b"quiet-words") if word in content], path.name
    ledger = pair.laptop.http.get("/edge/v1/ledger").json()["entries"]
    assert any(entry["url"].endswith("/bridge/v1/sync") for entry in ledger)


def test_forgotten_here_is_forgotten_there(pair: Pair) -> None:
    pair.laptop.chat("Remember the blue heron.", edge={"session_id": "heron"}, max_tokens=8)
    wait_until(lambda: session(pair.phone, "heron") is not None)
    assert pair.phone.command("sessions", "forget", "heron").returncode == 0
    wait_until(lambda: session(pair.laptop, "heron") is None)
    problem = pair.laptop.http.get("/edge/v1/sessions/heron").json()["error"]
    assert problem["code"] == "session_forgotten"


def test_what_a_device_said_while_it_was_alone_arrives_later(pair: Pair) -> None:
    pair.bridge.kill()
    try:
        answer = pair.laptop.chat("Alone?", edge={"session_id": "alone"}, max_tokens=8).json()
        assert answer["choices"]
    finally:
        pair.bridge.start()
    wait_until(lambda: texts(session(pair.phone, "alone")) != [])
    assert session(pair.phone, "alone")["turns"][0]["messages"][0]["parts"][0]["text"] == "Alone?"
