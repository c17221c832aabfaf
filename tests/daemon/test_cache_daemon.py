"""A question that was answered before is answered from here, whoever's names are in it: nothing leaves again."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.daemon.conftest import KEY, SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon, text_of
from tests.daemon.upstream_process import UpstreamProcess, provider_config, upstream
from tests.upstream import Answer

pytestmark = pytest.mark.slow

Escalating = tuple[RunningDaemon, UpstreamProcess]
TOOLS = [{"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def asking(models_home: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Escalating]:
    with upstream() as cloud:
        config = SMOL + provider_config(cloud.url)
        with daemon(tmp_path_factory.mktemp("cache"), models_home, config, STAND_IN_KEY=KEY) as running:
            yield running, cloud


def ask(running: RunningDaemon, text: str, **more: Any) -> tuple[str, dict[str, Any]]:
    answer = running.chat(text, model="cloud", **more).json()
    return answer["choices"][0]["message"]["content"], answer["edge"]


@pytest.mark.parametrize("stream", [True, False])
def test_the_same_question_with_other_names_is_not_sent_again(asking: Escalating, stream: bool) -> None:
    running, cloud = asking
    topic = "a birthday" if stream else "a wedding"
    cloud.will(Answer(text="Dear <PERSON_1>, all the best! I told <EMAIL_ADDRESS_1>."))
    first, edge = ask(running, f"Congratulate Rebecca Thornbury, rebecca@example.org, on {topic}.")
    assert (first, edge["route"]) == ("Dear Rebecca Thornbury, all the best! I told rebecca@example.org.", "cloud")
    sent, left = len(cloud.requests), len(running.http.get("/edge/v1/ledger").json()["entries"])
    other = f"Congratulate Margarethe Lindqvist, m.lindqvist@example.com, on {topic}."
    if stream:
        chunks = running.stream(other, model="cloud")
        second, edge = text_of(chunks), chunks[-1]["edge"]
    else:
        second, edge = ask(running, other)
    assert second == "Dear Margarethe Lindqvist, all the best! I told m.lindqvist@example.com."
    assert len(cloud.requests) == sent
    assert len(running.http.get("/edge/v1/ledger").json()["entries"]) == left
    assert (edge["route"], edge["reasons"][-1], edge["provider"]) == ("cache", "cache:exact", "stand-in")
    assert (edge["cost_usd"], edge["privacy"]["bytes_sent"]) == (0, 0)
    assert edge["saved_usd"] == pytest.approx((11 * 1.0 + 7 * 2.0) / 1e6)
    (turn,) = running.http.get(f"/edge/v1/sessions/{edge['session_id']}").json()["turns"]
    assert turn["answers"][0]["text"] == second


def test_calls_of_tools_are_given_again_with_the_right_names(asking: Escalating) -> None:
    running, cloud = asking
    cloud.will(Answer(tool_call=("send", json.dumps({"to": "<EMAIL_ADDRESS_1>"}))))
    calls = []
    for address in ("first@example.org", "second@example.org"):
        answer = running.chat(f"Send the report to {address}.", model="cloud", tools=TOOLS).json()
        calls += answer["choices"][0]["message"]["tool_calls"]
        assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert answer["edge"]["route"] == "cache"
    assert [json.loads(call["function"]["arguments"])["to"] for call in calls] == [
        "first@example.org",
        "second@example.org",
    ]
    assert calls[0]["id"] != calls[1]["id"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"temperature": 0.8}, {}),
        ({"edge": {"cache": False}}, {}),
        ({}, {"Cache-Control": "no-cache"}),
        ({}, {"Cache-Control": "max-age=0"}),
        ({}, {"Cache-Control": "no-store"}),
    ],
)
def test_who_wants_a_fresh_answer_gets_one(asking: Escalating, body: Any, headers: dict[str, str]) -> None:
    running, cloud = asking
    cloud.will(Answer(text="Perhaps."))
    question = {"model": "cloud", "messages": [{"role": "user", "content": f"Will it rain? {body} {headers}"}]}
    for number in (1, 2):
        answer = running.http.post("/v1/chat/completions", json={**question, **body}, headers=headers).json()
        assert answer["edge"]["route"] == "cloud", number
    kept = headers.get("Cache-Control") in {"no-cache", "max-age=0"}
    again = running.http.post("/v1/chat/completions", json=question).json()
    assert again["edge"]["route"] == ("cache" if kept else "cloud")


def test_who_wants_a_kept_answer_or_none_has_nobody_asked(asking: Escalating) -> None:
    running, cloud = asking
    cloud.will(Answer(text="A strait."))
    only = {"Cache-Control": "only-if-cached, max-age=600"}

    def answer(text: str, model: str, headers: dict[str, str]) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8}
        return running.http.post("/v1/chat/completions", json=body, headers=headers)

    sent = len(cloud.requests)
    for model in ("cloud", "auto", "local"):
        missed = answer("What is a sound, by Clara Osei?", model, only)
        assert (missed.status_code, missed.json()["error"]["code"]) == (504, "not_in_cache"), model
        assert "only-if-cached" in missed.json()["error"]["message"]
    assert len(cloud.requests) == sent
    assert answer("What is a sound, by Clara Osei?", "cloud", {}).json()["edge"]["route"] == "cloud"
    for model in ("cloud", "auto"):
        hit = answer("What is a sound, by Derek Vane?", model, only)
        assert hit.json()["edge"]["route"] == "cache", hit.text
        assert hit.json()["choices"][0]["message"]["content"] == "A strait."
    time.sleep(1.1)
    assert (
        answer("What is a sound, by Derek Vane?", "cloud", {"Cache-Control": "max-age=60"}).json()["edge"]["route"]
        == "cache"
    )
    old = answer("What is a sound, by Derek Vane?", "cloud", {"Cache-Control": "only-if-cached, max-age=1"})
    assert old.status_code == 504
    assert len(cloud.requests) == sent + 1


def test_an_answer_that_was_cut_short_is_not_given_again(asking: Escalating) -> None:
    running, cloud = asking
    cloud.will(Answer(text="It is a long", finish="length"))
    assert ask(running, "Tell me of the Odyssey.")[1]["route"] == "cloud"
    assert ask(running, "Tell me of the Odyssey.")[1]["route"] == "cloud"


def test_what_a_forgotten_session_asked_is_asked_again(asking: Escalating) -> None:
    running, cloud = asking
    cloud.will(Answer(text="On a hill."))
    assert ask(running, "Where was Troy?", edge={"session_id": "gone"})[1]["route"] == "cloud"
    assert ask(running, "Where was Troy?")[1]["route"] == "cache"
    assert running.command("sessions", "forget", "gone").returncode == 0
    assert ask(running, "Where was Troy?")[1]["route"] == "cloud"


def test_the_report_counts_them_and_every_decision_replays(asking: Escalating) -> None:
    running, cloud = asking
    cloud.will(Answer(text="Of water."))
    for _ in range(2):
        ask(running, "What is a fjord made of?")
    running.chat("Hello there!", model="local")
    told = running.command("routing", "report", "--replay", "--json")
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    routes = {each["name"]: each["count"] for each in report["routes"]}
    assert routes["cache"] >= 1
    assert routes["cloud"] >= 1
    assert routes["local"] >= 1
    assert report["replay"]["different"] == []
    assert report["replay"]["unrecorded"] == 0
    # Of a session that was forgotten nothing is left to decide by.
    assert report["decisions"] - 1 <= report["replay"]["same"] <= report["decisions"]
    over_http = running.http.get("/edge/v1/routing/report", params={"since": "1d"}).json()
    assert over_http["routes"] == report["routes"]
    assert running.http.get("/edge/v1/routing/report", params={"since": "long"}).status_code == 400
    shown = running.command("routing", "report")
    assert "cache:exact" in shown.stdout
    assert "fjord" not in shown.stdout + told.stdout


def test_another_models_answer_is_not_given_and_offline_an_old_one_is(asking: Escalating) -> None:
    """The last one: it changes the settings, and ends the provider."""
    running, cloud = asking
    cloud.will(Answer(text="A lagoon."))
    question = "What is a haff?"
    assert ask(running, question)[1]["route"] == "cloud"
    config = running.home / "config.toml"
    running.stop(signal.SIGTERM)
    config.write_text(config.read_text().replace("stand-in-1", "stand-in-2") + "\n[cache]\nttl_s = 1\n")
    running.start()
    assert ask(running, question)[1]["route"] == "cloud"
    cloud.kill()
    text, edge = ask(running, question, edge={"defer": "never"})
    assert text == "A lagoon."
    assert edge["route"] == "cache"
    assert edge["reasons"][-1] in {"cache:exact", "cache:offline"}
    assert running.chat("What is a liman?", model="cloud", edge={"defer": "never"}).status_code == 503
