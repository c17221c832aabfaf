"""Who is described without a name: what stays, what leaves, and what the user is told, at the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.conftest import KEY, SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon
from tests.daemon.upstream_process import UpstreamProcess, provider_config, upstream
from tests.upstream import Answer

pytestmark = pytest.mark.slow

Escalating = tuple[RunningDaemon, UpstreamProcess]
# Both are hard, so that `auto` would rather ask the cloud.
PLAIN = "Write a detailed proof that there are infinitely many prime numbers, in formal notation."
TELLING = f"{PLAIN} It is for the only female judge in the district, the one who walked out of the trial in March."
START = len(PLAIN) + 1


@pytest.fixture(scope="module")
def described(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Escalating]:
    with upstream() as cloud:
        config = SMOL + provider_config(cloud.url)
        with daemon(tmp_path_factory.mktemp("implicit"), models_home, config, STAND_IN_KEY=KEY) as running:
            yield running, cloud


def test_auto_answers_here_what_masking_cannot_hide(described: Escalating) -> None:
    running, cloud = described
    cloud.will(Answer(text="ok"))
    sent = running.chat(PLAIN, model="auto").json()["edge"]
    assert sent["route"] == "cloud"
    assert sent["privacy"]["implicit"]["passages"] == []
    before = len(cloud.requests)
    kept = running.chat(TELLING, model="auto").json()["edge"]
    assert kept["route"] == "local"
    assert kept["reasons"] == ["requested:auto", "privacy:implicit_identity"]
    assert kept["privacy"]["bytes_sent"] == 0
    assert len(cloud.requests) == before


def test_a_cloud_asked_for_by_name_is_asked_and_the_report_warns(described: Escalating) -> None:
    running, cloud = described
    cloud.will(Answer(text="ok"))
    before = len(cloud.requests)
    edge = running.chat(TELLING, model="cloud").json()["edge"]
    assert edge["route"] == "cloud"
    assert len(cloud.requests) == before + 1
    found = edge["privacy"]["implicit"]
    assert found["score"] >= found["threshold"]
    assert [(p["message"], p["part"], p["start"], p["end"]) for p in found["passages"]] == [(0, 0, START, len(TELLING))]


@pytest.mark.parametrize("model", ["auto", "cloud", "local"])
def test_explain_warns_before_anything_is_sent(described: Escalating, model: str) -> None:
    running, cloud = described
    before = len(cloud.requests)
    body = {
        "model": model,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TELLING}],
    }
    found = running.http.post("/edge/v1/explain", json=body).json()
    (warning,) = found["warnings"]
    assert warning["code"] == "implicit_identity"
    assert [(p["message"], p["start"]) for p in warning["passages"]] == [(1, START)]
    assert (found["would_send"] is not None) == (model == "cloud")
    assert (
        running.http.post("/edge/v1/explain", json={**body, "messages": body["messages"][:1]}).json()["warnings"] == []
    )
    assert len(cloud.requests) == before


def test_no_log_holds_a_word_of_it(described: Escalating) -> None:
    running, _ = described
    assert "judge" not in (running.home / "stderr.log").read_text()
    assert "judge" not in running.http.get("/metrics").text
    assert "judge" not in running.http.get("/edge/v1/decisions").text


def test_offline_it_is_not_queued(described: Escalating) -> None:
    running, cloud = described
    cloud.kill()
    kept = running.chat(TELLING, model="auto", edge={"defer": "always"}).json()["edge"]
    assert (kept["route"], kept["provisional"]) == ("local", False)
    assert running.http.get("/edge/v1/outbox").json()["jobs"] == []


def test_it_is_refused_where_the_settings_say_so(described: Escalating) -> None:
    running, _ = described
    running.stop()
    running.environ["EDGE_AGENT_PRIVACY__IMPLICIT"] = "refuse"
    running.start()
    refused = running.chat(TELLING, model="cloud")
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "implicit_identity"
    assert running.http.get("/edge/v1/outbox").json()["jobs"] == []
