"""A device and its bridge in two network namespaces, and what a real network does between them."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cloud_bridge.device_key import DeviceKey
from tests.crashes.clients import PLANTED
from tests.crashes.link import CALM, STORM, Link, inside, link, why_not
from tests.daemon.bridge_process import BridgeProcess
from tests.daemon.conftest import KEY, SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.daemon.upstream_process import UpstreamProcess, provider_config, upstream
from tests.upstream import Answer

pytestmark = pytest.mark.slow


@dataclass
class Network:
    """The device here; the bridge and the provider there."""

    link: Link
    running: RunningDaemon
    cloud: UpstreamProcess

    def ask(self, number: int, **more: Any) -> dict[str, Any]:
        edge = {"session_id": f"session-{number}", "cache": False, **more}
        answer = self.running.chat(f"Tell {PLANTED} about number {number}.", model="cloud", edge=edge)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def calls(self) -> Counter[str]:
        """How often the provider was called, by idempotency key."""
        with inside(self.link.there):
            return Counter(recorded.headers["idempotency-key"] for recorded in self.cloud.requests)

    def answers(self, number: int) -> list[str]:
        turn = self.running.http.get(f"/edge/v1/sessions/session-{number}").json()["turns"][-1]
        return [answer["text"] for answer in turn["answers"]]

    def until_empty(self, within_s: float = 40) -> None:
        """Wait until nothing waits in the outbox, flushing it as a person would."""
        deadline = time.monotonic() + within_s
        while any(job["status"] in {"queued", "sending"} for job in self.running.http.get(OUTBOX).json()["jobs"]):
            assert time.monotonic() < deadline
            self.running.http.post(f"{OUTBOX}/flush", json={})
            time.sleep(0.5)


OUTBOX = "/edge/v1/outbox"


@pytest.fixture(scope="module")
def network(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("link")
    with ExitStack() as stack:
        between = stack.enter_context(link(Random(7)))  # noqa: S311 - weather, not secrets
        with inside(between.there):
            cloud = stack.enter_context(upstream())
            bridge = _bridge(folder / "bridge", cloud.url, between.address)
            stack.callback(bridge.kill)
        stack.enter_context(inside(between.here))
        url = f"http://{between.address}:{bridge.port}"
        config = SMOL + f'[bridge]\nmode = "remote"\nurl = "{url}"\n'
        running = stack.enter_context(daemon(folder / "edge", models_home, config, module="tests.crashes.light_daemon"))
        device = DeviceKey.load_or_create(folder / "edge" / "keys" / "device.key")
        bridge.command("devices", "enroll", "laptop", "--public-key", device.public_id)
        yield Network(between, running, cloud)


def _bridge(home: Path, provider_url: str, address: str) -> BridgeProcess:
    home.mkdir()
    config = provider_config(provider_url).replace("[[bridge.providers]]", "[[providers]]")
    (home / "config.toml").write_text(f'{config}\n[server]\nhost = "{address}"\n')
    bridge = BridgeProcess(home, environ={**os.environ, "CLOUD_BRIDGE_HOME": str(home), "STAND_IN_KEY": KEY})
    bridge.start()
    return bridge


@pytest.fixture
def calm(network: Network) -> Network:
    network.link.plug()
    network.link.weather = CALM
    with inside(network.link.there):
        network.cloud.will(Answer(pieces="odd", piece_delay_s=0.01))
    return network


def test_packets_that_are_lost_late_and_out_of_order_change_nothing(calm: Network) -> None:
    calm.link.weather = STORM
    clients = [threading.Thread(target=calm.ask, args=(number,)) for number in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    calm.link.weather = CALM
    calm.until_empty()
    for number in range(8):
        assert f"Tell {PLANTED} about number {number}." in calm.answers(number)
    assert set(calm.calls().values()) == {1}
    assert calm.link.lost > 0
    assert calm.link.overtaken > 0


def test_a_link_that_is_pulled_in_the_middle_of_an_answer_loses_nothing(calm: Network) -> None:
    with inside(calm.link.there):
        calm.cloud.will(Answer(text="Told in the end.", pieces="characters", piece_delay_s=0.1))
    before = calm.calls()
    answers: list[dict[str, Any]] = []
    client = threading.Thread(target=lambda: answers.append(calm.ask(100, deadline_ms=2500)))
    client.start()
    while calm.calls() == before:
        time.sleep(0.05)
    time.sleep(0.3)
    calm.link.pull()
    client.join()
    assert answers[0]["edge"]["provisional"]
    calm.link.plug()
    calm.until_empty()
    assert calm.answers(100)[-1] == "Told in the end."
    assert set((calm.calls() - before).values()) == {1}


def test_a_link_that_is_away_for_a_moment_only_makes_an_answer_late(calm: Network) -> None:
    with inside(calm.link.there):
        calm.cloud.will(Answer(text="Told at once.", pieces="characters", piece_delay_s=0.1))
    before = calm.calls()
    pulling = threading.Timer(0.6, calm.link.pull)
    plugging = threading.Timer(1.4, calm.link.plug)
    for timer in (pulling, plugging):
        timer.start()
    answer = calm.ask(101)
    assert answer["choices"][0]["message"]["content"] == "Told at once."
    assert answer["edge"]["route"] == "cloud"
    assert set((calm.calls() - before).values()) == {1}


def test_a_week_without_a_link_is_sent_once_when_it_is_back(calm: Network) -> None:
    calm.link.pull()
    before = calm.calls()
    time.sleep(5.1)  # what is known of the bridge is up to five seconds old
    given = [calm.ask(number) for number in range(200, 206)]
    assert all(answer["edge"]["provisional"] for answer in given)
    assert calm.calls() == before
    calm.link.plug()
    calm.until_empty()
    for number in range(200, 206):
        assert calm.answers(number)[-1] == f"Tell {PLANTED} about number {number}."
    made = calm.calls() - before
    assert len(made) == 6
    assert set(made.values()) == {1}
