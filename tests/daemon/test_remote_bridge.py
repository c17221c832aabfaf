"""A daemon, a bridge elsewhere and a provider, each a process of its own; each may be killed."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.daemon.bridge_process import BridgeProcess, bridge_process
from tests.daemon.conftest import SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.daemon.upstream_process import UpstreamProcess, upstream
from tests.upstream import Answer

pytestmark = pytest.mark.slow
TEXT = "Please write to Rebecca Thornbury (rebecca.thornbury@example.com) about the meeting."


Chain = tuple[RunningDaemon, BridgeProcess, UpstreamProcess]


@pytest.fixture
def chain(models_home: Path, tmp_path: Path) -> Iterator[Chain]:
    """An enrolled device, its bridge, and the provider behind it."""
    with upstream() as cloud, bridge_process(tmp_path / "bridge", cloud.url) as bridge:
        config = SMOL + f'[bridge]\nmode = "remote"\nurl = "http://127.0.0.1:{bridge.port}"\n'
        with daemon(tmp_path / "edge", models_home, config) as running:
            bridge.enroll(running, "laptop")
            yield running, bridge, cloud


def test_what_goes_through_a_bridge_is_masked_and_comes_back(chain: Chain) -> None:
    running, bridge, cloud = chain
    cloud.will(Answer(pieces="characters"))
    answer = running.chat(TEXT, model="cloud").json()
    assert answer["choices"][0]["message"]["content"] == TEXT
    assert answer["edge"]["provider"] == "stand-in"
    assert b"Thornbury" not in cloud.requests[0].body
    entry = running.http.get(f"/edge/v1/ledger/{answer['edge']['privacy']['ledger_id']}").json()
    assert entry["provider"] == "cloud-bridge"
    assert "Thornbury" not in entry["body"]
    for path in bridge.home.iterdir():
        if path.is_file():
            assert b"Thornbury" not in path.read_bytes(), path.name
    bridge.command("audit", "verify")
    bridge.command("devices", "revoke", "laptop")
    refused = running.chat(TEXT, model="cloud", edge={"defer": "never", "cache": False})
    assert refused.status_code == 503
    assert refused.json()["error"]["type"] == "unavailable_error"


def test_a_bridge_that_is_killed_in_the_middle_loses_nothing(chain: Chain) -> None:
    running, bridge, cloud = chain
    cloud.will(Answer(text="Never told.", pieces="characters", hold_after=2))
    answers: list[httpx.Response] = []
    ask = threading.Thread(
        target=lambda: answers.append(running.chat(TEXT, model="cloud", edge={"session_id": "killed"}))
    )
    ask.start()
    cloud.wait_for(1)
    bridge.kill()
    ask.join()
    assert answers[0].json()["edge"]["provisional"]
    cloud.will(Answer(text="Told in the end."))
    bridge.start()
    running.wait_for_jobs("done")
    turn = running.http.get("/edge/v1/sessions/killed").json()["turns"][-1]
    assert turn["answers"][-1]["text"] == "Told in the end."
    assert len({recorded.headers["idempotency-key"] for recorded in cloud.requests}) == 1


def test_a_device_that_dies_never_causes_a_second_provider_call(chain: Chain) -> None:
    running, _, cloud = chain
    cloud.will(Answer(text="Made once, told late.", pieces="characters", hold_after=2))

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            running.chat(TEXT, model="cloud", edge={"session_id": "died"})

    client = threading.Thread(target=ask)
    client.start()
    cloud.wait_for(1)
    running.stop(signal.SIGKILL)
    client.join()
    cloud.release()
    running.start()
    running.wait_for_jobs("done")
    turn = running.http.get("/edge/v1/sessions/died").json()["turns"][-1]
    assert turn["answers"][-1]["text"] == "Made once, told late."
    assert len(cloud.requests) == 1
