"""With `[privacy] style = "surrogate"` the provider gets stand-ins, and the client the values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.conftest import KEY, SMOL
from tests.daemon.running_daemon import RunningDaemon, daemon, text_of
from tests.daemon.upstream_process import UpstreamProcess, provider_config, upstream
from tests.upstream import Answer

pytestmark = pytest.mark.slow

NAME, EMAIL = "Margarethe Lindqvist", "margarethe.lindqvist@acme-widgets.com"
CARD, IBAN = "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"
TEXT = (
    f"Please write a reminder to {NAME} ({EMAIL}). Her transfer from {IBAN} failed, and card {CARD} was refused. "
    "Her password: hunter2horse"
)
EDGE = {"session_id": "surrogates"}
Escalating = tuple[RunningDaemon, UpstreamProcess]


@pytest.fixture(scope="module")
def surrogates(models_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Escalating]:
    """A daemon that uses surrogates, passwords included in what may leave, and an upstream."""
    with upstream() as cloud:
        config = SMOL + '[privacy]\nstyle = "surrogate"\nnever_leave = []\n' + provider_config(cloud.url, kind="openai")
        with daemon(tmp_path_factory.mktemp("surrogates"), models_home, config, STAND_IN_KEY=KEY) as running:
            yield running, cloud


def sent_text(cloud: UpstreamProcess) -> str:
    """The last user message as the provider got it."""
    return str(next(m["content"] for m in reversed(cloud.requests[-1].json["messages"]) if m["role"] == "user"))


def shown(running: RunningDaemon, session_id: str = EDGE["session_id"]) -> dict[str, str]:
    """What stands for the values of TEXT, by type: as `explain` tells it."""
    body = {"model": "cloud", "messages": [{"role": "user", "content": TEXT}], "edge": {"session_id": session_id}}
    explained = running.http.post("/edge/v1/explain", json=body).json()
    return {
        entity["type"]: entity["placeholder"]
        for entity in explained["entities"]
        if TEXT[entity["start"] : entity["end"]] in {NAME, EMAIL, CARD, IBAN}
    }


def test_the_provider_gets_stand_ins_and_the_client_the_values(surrogates: Escalating) -> None:
    running, cloud = surrogates
    cloud.will(Answer(pieces="characters", byte_cuts=7))  # echoes what it was sent
    chunks = running.stream(TEXT, model="cloud", edge=EDGE)
    assert text_of(chunks) == TEXT
    for recorded in cloud.requests:
        sent = (recorded.head + recorded.body).decode()
        for value in (NAME, EMAIL, CARD, IBAN, "Lindqvist", "Margarethe", "lindqvist", "acme", "hunter2", "4111"):
            assert value not in sent, value
    assert re.findall(r"<(?:PERSON|EMAIL_ADDRESS|CREDIT_CARD|IBAN_CODE)_", sent_text(cloud)) == []
    assert sent_text(cloud).endswith("password: <PASSWORD_1>")
    found = shown(running)
    assert all(surrogate in sent_text(cloud) for surrogate in found.values())
    given, surname = found["PERSON"].lower().split()
    assert re.fullmatch(rf"{given}\.{surname}@[a-z]+\.example\.org", found["EMAIL_ADDRESS"])
    assert chunks[-1]["edge"]["privacy"]["entities"]["PERSON"] >= 1


@pytest.mark.parametrize("stream", [True, False])
def test_what_a_model_makes_of_a_stand_in_comes_back(surrogates: Escalating, stream: bool) -> None:
    running, cloud = surrogates
    cloud.will(Answer(text="ok"))
    running.chat(TEXT, model="cloud", edge=EDGE)
    found = shown(running)
    name, card = found["PERSON"], found["CREDIT_CARD"].replace(" ", "-")
    surname = name.split()[1]
    said = f"**{name.upper()}**: Ms {surname}'s card {card}; ask {found['EMAIL_ADDRESS']}."
    cloud.will(Answer(text=f"{said} {surname[:-2]} {surname}ian", pieces="characters"))
    if stream:
        text = text_of(running.stream("And now?", model="cloud", edge=EDGE))
    else:
        text = running.chat("And now?", model="cloud", edge=EDGE).json()["choices"][0]["message"]["content"]
    assert text == f"**{NAME.upper()}**: Ms Lindqvist's card {CARD}; ask {EMAIL}. {surname[:-2]} {surname}ian"


def test_tool_calls_come_back_as_valid_json(surrogates: Escalating) -> None:
    running, cloud = surrogates
    cloud.will(Answer(text="ok"))
    running.chat(TEXT, model="cloud", edge=EDGE)
    found = shown(running)
    inner = json.dumps({"note": f"line\n{found['PERSON']}"})
    card = int(found["CREDIT_CARD"].replace(" ", ""))
    arguments = json.dumps({"to": found["EMAIL_ADDRESS"], "card": card, "inner": inner})
    cloud.will(Answer(tool_call=("send_mail", arguments), pieces="characters"))
    tool = {"type": "function", "function": {"name": "send_mail", "parameters": {"type": "object"}}}
    chunks = running.stream("Send it.", model="cloud", edge=EDGE, tools=[tool])
    calls = [call for chunk in chunks for c in chunk.get("choices", []) for call in c["delta"].get("tool_calls") or []]
    restored = json.loads("".join(call["function"].get("arguments") or "" for call in calls))
    assert (restored["to"], restored["card"]) == (EMAIL, CARD)
    assert json.loads(restored["inner"]) == {"note": f"line\n{NAME}"}


def test_explain_and_the_ledger_show_the_stand_ins(surrogates: Escalating) -> None:
    running, cloud = surrogates
    cloud.will(Answer(text="ok"))
    body = {"model": "cloud", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 24}
    edge = {"session_id": "explained"}
    found = running.http.post("/edge/v1/explain", json={**body, "edge": edge}).json()
    answer = running.chat(TEXT, model="cloud", edge=edge).json()
    assert found["would_send"]["body"].encode() == cloud.requests[-1].body
    entry = running.http.get(f"/edge/v1/ledger/{answer['edge']['privacy']['ledger_id']}").json()
    for surrogate in shown(running, "explained").values():
        assert surrogate in entry["body"]
