"""Providers that vanish, clients that leave, daemons that are killed: nothing accepted is lost or sent twice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.daemon.conftest import KEY, SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon, text_of
from tests.daemon.upstream_process import UpstreamProcess, provider_config, upstream
from tests.upstream import Answer

pytestmark = pytest.mark.slow

Escalating = tuple[RunningDaemon, UpstreamProcess]
HARD = "Write a detailed proof for Rebecca Thornbury that there are infinitely many prime numbers."


@pytest.fixture
def outage(models_home: Path, tmp_path: Path) -> Iterator[Escalating]:
    """A daemon and its upstream, for one test to break."""
    with upstream() as cloud:
        config = SMOL + provider_config(cloud.url)
        with daemon(tmp_path / "edge", models_home, config, STAND_IN_KEY=KEY) as running:
            yield running, cloud


def answers_of(running: RunningDaemon, session: str) -> list[dict[str, object]]:
    return list(running.http.get(f"/edge/v1/sessions/{session}").json()["turns"][-1]["answers"])


def keys_of(cloud: UpstreamProcess) -> list[str]:
    return [recorded.headers["idempotency-key"] for recorded in cloud.requests]


@pytest.mark.parametrize("stream", [True, False])
def test_offline_the_answer_is_provisional_and_revised_later(outage: Escalating, stream: bool) -> None:
    running, cloud = outage
    port = cloud.port
    cloud.kill()
    if stream:
        chunks = running.stream(HARD, model="cloud", edge={"session_id": "s"})
        text, edge = text_of(chunks), chunks[-1]["edge"]
    else:
        whole = running.chat(HARD, model="cloud", edge={"session_id": "s"}).json()
        text, edge = whole["choices"][0]["message"]["content"], whole["edge"]
    assert edge["route"] == "local"
    assert edge["provisional"]
    assert "cloud:unreachable" in edge["reasons"]
    (job,) = running.wait_for_jobs("queued")
    assert job["id"] == edge["job_id"]
    listed = json.loads(running.command("outbox", "list", "--json").stdout)["jobs"]
    assert [each["id"] for each in listed] == [job["id"]]
    with upstream(port, Answer(text="The late answer, for <PERSON_1>.")) as back:
        time.sleep(5.1)  # what is known of the provider is up to five seconds old
        assert running.command("outbox", "flush").returncode == 0
        running.wait_for_jobs("done")
        assert len(back.requests) == 1
        assert b"Thornbury" not in back.requests[0].body
    first, late = answers_of(running, "s")
    assert (first["text"], first["provisional"]) == (text, True)
    assert late["text"] == "The late answer, for Rebecca Thornbury."
    assert late["revises"] == first["id"]
    assert running.http.get(f"/edge/v1/jobs/{job['id']}").json()["answer"] == late["text"]


def test_offline_always_queues_and_never_is_told_at_once(outage: Escalating) -> None:
    running, cloud = outage
    cloud.kill()
    wish = {"priority": "high", "expires_s": 3600}
    queued = running.chat(HARD, model="cloud", edge={"session_id": "q", "defer": "always", **wish})
    assert queued.status_code == 202
    job = running.http.get(f"/edge/v1/jobs/{queued.json()['job_id']}").json()
    assert job["status"] in {"queued", "sending"}
    assert (job["session_id"], job["priority"]) == ("q", "high")
    assert 3000 < job["expires_at"] - time.time() <= 3600
    never = running.chat(HARD, model="cloud", edge={"defer": "never"})
    assert never.status_code == 503
    assert never.json()["error"]["code"] == "cloud_unreachable"
    assert len(running.http.get("/edge/v1/outbox").json()["jobs"]) == 1
    assert running.command("outbox", "drop", job["id"]).returncode == 0
    assert running.http.get(f"/edge/v1/jobs/{job['id']}").json()["status"] == "dropped"
    assert running.http.get("/edge/v1/outbox").json()["counts"]["dropped"] == 1
    assert running.http.post(f"/edge/v1/jobs/{job['id']}/drop", json={}).json()["status"] == "dropped"
    refused = running.http.post(f"/edge/v1/jobs/{job['id']}/retry", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "job_not_failed")


def test_a_provider_that_is_cut_in_the_middle_answers_later(outage: Escalating) -> None:
    running, cloud = outage
    cloud.will(Answer(text="This is cut.", pieces="characters", cut_after=5), Answer(text="The whole answer."))
    chunks = running.stream(HARD, model="cloud", edge={"session_id": "cut"})
    assert text_of(chunks) == "This "
    assert chunks[-1]["error"]["code"] == "provider_cut"
    (job,) = running.wait_for_jobs("done")
    assert job["id"] in chunks[-1]["error"]["message"]
    assert answers_of(running, "cut")[-1]["text"] == "The whole answer."
    assert len(set(keys_of(cloud))) == 1


def test_a_whole_request_that_is_cut_is_answered_here_and_revised(outage: Escalating) -> None:
    running, cloud = outage
    cloud.will(Answer(text="This is cut.", pieces="characters", cut_after=5), Answer(text="The whole answer."))
    answer = running.chat(HARD, model="cloud", edge={"session_id": "cut"}).json()
    assert answer["edge"]["route"] == "local"
    assert answer["edge"]["provisional"]
    running.wait_for_jobs("done")
    assert [each["text"] for each in answers_of(running, "cut")][1:] == ["The whole answer."]


def test_sigkill_in_the_middle_of_an_escalation_loses_nothing(outage: Escalating) -> None:
    running, cloud = outage
    cloud.will(Answer(text="Held back until later.", pieces="characters", hold_after=4))

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            running.stream(HARD, model="cloud", edge={"session_id": "killed"})

    client = threading.Thread(target=ask)
    client.start()
    cloud.wait_for(1)
    running.stop(signal.SIGKILL)
    client.join()
    cloud.will(Answer(text="Told after the restart."))
    running.start()
    (job,) = running.wait_for_jobs("done")
    assert job["repeated"]
    assert answers_of(running, "killed")[-1]["text"] == "Told after the restart."
    assert len(set(keys_of(cloud))) == 1
    time.sleep(3)
    assert len(cloud.requests) == 2
    assert running.command("ledger", "verify").returncode == 0


def test_sigkill_in_the_middle_of_a_local_answer_is_on_record(outage: Escalating) -> None:
    running, _ = outage

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            running.chat("Tell me a very long story.", model="local", max_tokens=900, edge={"session_id": "local"})

    client = threading.Thread(target=ask)
    client.start()
    deadline = time.monotonic() + 30
    while running.http.get("/edge/v1/sessions/local").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    running.stop(signal.SIGKILL)
    client.join()
    running.start()
    (turn,) = running.http.get("/edge/v1/sessions/local").json()["turns"]
    assert turn["status"] == "interrupted"
    assert "long story" in json.dumps(turn["messages"])
    assert running.chat("Hello", model="local").status_code == 200


def test_a_client_that_leaves_stops_the_call_and_nothing_is_sent_again(outage: Escalating) -> None:
    running, cloud = outage
    cloud.will(Answer(text="Nobody listens any more.", pieces="characters", hold_after=3))
    body = {"model": "cloud", "messages": [{"role": "user", "content": HARD}], "stream": True}
    with running.http.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_lines())
    time.sleep(4)
    assert len(cloud.requests) == 1
    assert running.http.get("/edge/v1/outbox").json()["jobs"] == []
    assert running.chat("Hello", model="local").status_code == 200


def test_a_dead_model_process_is_one_failed_request(outage: Escalating) -> None:
    running, _ = outage
    running.chat("Hello", model="local")
    assert running.process is not None
    workers = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    body = {"model": "local", "messages": [{"role": "user", "content": "Tell me a long story."}], "max_tokens": 500}
    lines = []
    with running.http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as response:
        for number, line in enumerate(response.iter_lines()):
            lines.append(line)
            if number == 6:
                for worker in workers:
                    os.kill(int(worker), signal.SIGKILL)
    assert json.loads(lines[-4].removeprefix("data: "))["error"]["code"] == "model_crashed"
    assert running.http.get("/healthz").status_code == 200
    assert running.chat("Hello", model="local").status_code == 200


def test_the_second_provider_answers_for_the_first(models_home: Path, tmp_path: Path) -> None:
    with upstream(answer=Answer(status=500)) as broken, upstream(answer=Answer(text="From the second.")) as second:
        config = SMOL + provider_config(broken.url, name="first") + provider_config(second.url, name="second")
        with daemon(tmp_path / "edge", models_home, config, STAND_IN_KEY=KEY) as running:
            answer = running.chat(HARD, model="cloud").json()
            assert answer["choices"][0]["message"]["content"] == "From the second."
            assert answer["edge"]["provider"] == "second"
            assert len(running.http.get("/edge/v1/ledger").json()["entries"]) == 2


def test_offline_mode_never_asks(models_home: Path, tmp_path: Path) -> None:
    with upstream() as cloud:
        config = SMOL + provider_config(cloud.url) + '[routing]\ncloud = "never"\n'
        with daemon(tmp_path / "edge", models_home, config, STAND_IN_KEY=KEY) as running:
            assert running.chat(HARD).json()["edge"]["route"] == "local"
            refused = running.chat(HARD, model="cloud")
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "cloud_disabled")
        assert cloud.requests == []


def test_a_request_that_every_provider_refuses_is_set_aside(outage: Escalating) -> None:
    running, cloud = outage
    cloud.will(Answer(status=400))
    answer = running.chat(HARD, model="cloud").json()
    assert answer["edge"]["provisional"]
    for _ in range(6):
        running.command("outbox", "flush")
    (job,) = running.wait_for_jobs("failed")
    assert job["reason"] == "provider_rejected"
    assert len(cloud.requests) <= 6


def test_what_the_client_was_refused_is_not_sent_later(outage: Escalating) -> None:
    running, cloud = outage
    cloud.will(Answer(status=500))
    refused = running.chat(HARD, edge={"defer": "never"})
    assert refused.status_code == 503
    sent = len(cloud.requests)
    running.command("outbox", "flush")
    assert len(cloud.requests) == sent


def test_a_refusal_names_what_the_provider_said(outage: Escalating) -> None:
    running, cloud = outage
    cloud.will(Answer(status=401))
    refused = running.chat(HARD, model="cloud", edge={"defer": "never"})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "cloud_unreachable"
    assert "wrong_api_key" in refused.json()["error"]["message"]
    assert "stand-in" in refused.json()["error"]["message"]
