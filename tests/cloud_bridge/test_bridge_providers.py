"""What leaves for a provider, byte for byte, and what is made of its answer."""

from __future__ import annotations

import json

import pytest

from cloud_bridge.outbound import open_http
from cloud_bridge.protocol.events import Finish, Served, ToolCallDelta, Usage
from cloud_bridge.protocol.gathered import gather
from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from cloud_bridge.providers.anthropic import AnthropicWire
from cloud_bridge.providers.config import ProviderConfig
from cloud_bridge.providers.openai import OpenAiWire
from tests.cloud_bridge.conftest import (
    KEY,
    PROMPT,
    TRACEPARENT,
    Departures,
    MakeBridge,
    collect,
    escalation,
    provider_config,
    text_of,
)
from tests.upstream import Answer, RecordingUpstream

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://a.example", "https://a.example/v1/chat/completions"),
        ("https://a.example/", "https://a.example/v1/chat/completions"),
        ("https://a.example/v1", "https://a.example/v1/chat/completions"),
        ("https://a.example/v1/", "https://a.example/v1/chat/completions"),
        ("https://a.example/v1beta/openai", "https://a.example/v1beta/openai/chat/completions"),
        ("https://a.example/openai/v1?api-version=1", "https://a.example/openai/v1/chat/completions?api-version=1"),
    ],
)
def test_an_openai_base_url_may_be_written_in_any_usual_way(base_url, url):
    assert OpenAiWire().url(base_url) == url


@pytest.mark.parametrize("base_url", ["https://a.example", "https://a.example/", "https://a.example/v1"])
def test_an_anthropic_base_url_may_be_written_in_any_usual_way(base_url):
    assert AnthropicWire().url(base_url) == "https://a.example/v1/messages"


@pytest.mark.parametrize("base_url", ["", "a.example/v1", "ftp://a.example", "https://", "https://u:p@a.example"])
def test_a_base_url_that_cannot_work_is_refused_by_name(base_url):
    with pytest.raises(InvalidRequest) as caught:
        ProviderConfig("mine", "openai", base_url, "K", "m")
    assert caught.value.code == "bad_config"
    assert caught.value.param == "base_url"
    assert "mine" in str(caught.value)


@pytest.mark.parametrize("pieces", ["whole", "characters", "odd"])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_the_answer_comes_back_whole_however_it_is_cut(
    kind, pieces, upstream: RecordingUpstream, make_bridge: MakeBridge
):
    text = "Dear <PERSON_1>, the naïve ship 🚢 is late."
    upstream.will(Answer(text=text, pieces=pieces, byte_cuts=None if pieces == "whole" else 3))
    bridge = await make_bridge(provider_config(upstream, kind=kind, usd_per_mtok_in=2, usd_per_mtok_out=4, region="eu"))
    events = await collect(bridge.escalate(escalation()))
    assert events[0] == Served("first", "first-model", "eu", 2, 4)
    assert text_of(events) == text
    assert events[-1] == Finish("stop", Usage(11, 7))
    assert [type(event) for event in events].count(Finish) == 1


async def test_several_answers_come_back_each_under_its_index(upstream: RecordingUpstream, make_bridge: MakeBridge):
    upstream.will(Answer(text="Dear <PERSON_1> 🚢", pieces="characters", byte_cuts=3))
    bridge = await make_bridge(provider_config(upstream))
    asked = escalation(n=3)
    for _ in range(2):  # the second time from the store
        events = await collect(bridge.escalate(asked))
        answer = gather(events)
        assert answer.text == "Dear <PERSON_1> 🚢"
        assert {index: (each.text, each.finish.reason) for index, each in answer.others.items()} == {
            1: ("1: Dear <PERSON_1> 🚢", "stop"),
            2: ("2: Dear <PERSON_1> 🚢", "stop"),
        }
        assert events[-1] == Finish("stop", Usage(11, 21))
    assert len(upstream.requests) == 1
    assert upstream.requests[0].json["n"] == 3


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_tool_call_comes_back_whole(kind, upstream: RecordingUpstream, make_bridge: MakeBridge):
    arguments = '{"to": "<EMAIL_ADDRESS_1>"}'
    upstream.will(Answer(tool_call=("send_mail", arguments), pieces="characters"))
    bridge = await make_bridge(provider_config(upstream, kind=kind))
    events = await collect(bridge.escalate(escalation()))
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    assert calls[0].name == "send_mail"
    assert "".join(call.arguments for call in calls) == arguments
    assert events[-1].reason == "tool_calls"


@pytest.mark.parametrize(
    ("kind", "path", "credentials"),
    [
        ("openai", "/v1/chat/completions", {"authorization": f"Bearer {KEY}"}),
        ("anthropic", "/v1/messages", {"x-api-key": KEY, "anthropic-version": "2023-06-01"}),
    ],
)
async def test_what_leaves_is_what_was_announced_byte_for_byte(
    *, kind, path, credentials, upstream: RecordingUpstream, make_bridge: MakeBridge, departures: Departures
):
    bridge = await make_bridge(provider_config(upstream, kind=kind))
    asked = escalation(key="the-key")
    preview = bridge.preview(asked)
    await collect(bridge.escalate(asked, departures))
    (request,) = upstream.requests
    assert [preview] == departures.seen
    assert request.body == preview.body
    assert preview.provider == "first"
    assert preview.url == f"{upstream.url}{path}"
    assert request.path == path
    expected = {"idempotency-key": "the-key", "traceparent": TRACEPARENT, "content-type": "application/json"}
    assert (expected | credentials).items() <= request.headers.items()
    content = request.json["messages"][-1]["content"]
    assert (content if isinstance(content, str) else content[0]["text"]) == PROMPT
    assert request.json["stream"] is True


async def test_the_departure_is_on_record_before_the_first_byte_leaves(
    upstream: RecordingUpstream, make_bridge: MakeBridge
):
    seen_then: list[int] = []

    async def record(_):
        seen_then.append(len(upstream.requests))

    bridge = await make_bridge(provider_config(upstream))
    await collect(bridge.escalate(escalation(), record))
    assert seen_then == [0]


async def test_where_the_departure_cannot_be_recorded_nothing_leaves_for_anyone(
    upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge
):
    async def record(_):
        raise Unavailable("The ledger is full.", code="disk_full")

    bridge = await make_bridge(provider_config(upstream), provider_config(second, "second"))
    with pytest.raises(Unavailable) as caught:
        await collect(bridge.escalate(escalation(), record))
    assert caught.value.code == "disk_full"
    assert upstream.requests == second.requests == []


async def test_a_preview_sends_nothing(upstream: RecordingUpstream, make_bridge: MakeBridge):
    bridge = await make_bridge(provider_config(upstream))
    departure = bridge.preview(escalation())
    assert json.loads(departure.body)["model"] == "first-model"
    assert upstream.requests == upstream.probes == []


async def test_keys_never_follow_a_redirect(
    upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge
):
    upstream.will(Answer(status=307, headers=(("Location", f"{second.url}/v1/chat/completions"),)))
    bridge = await make_bridge(provider_config(upstream))
    with pytest.raises(Unavailable, match="another address"):
        await collect(bridge.escalate(escalation()))
    assert second.requests == second.probes == []


async def test_a_provider_that_ignores_streaming_is_understood(make_bridge: MakeBridge, upstream: RecordingUpstream):
    class Whole(RecordingUpstream):
        async def _answer(self, request, answer, reader, writer):
            return await super()._answer(_unstreamed(request), answer, reader, writer)

    async with Whole() as server:
        server.will(Answer(text="All at once."))
        bridge = await make_bridge(provider_config(server))
        events = await collect(bridge.escalate(escalation(n=2)))
    assert text_of(events) == "All at once."
    assert gather(events).others[1].text == "1: All at once."


async def test_a_server_without_a_key_gets_none(upstream: RecordingUpstream, make_bridge: MakeBridge):
    bridge = await make_bridge(provider_config(upstream, api_key_env=""))
    await collect(bridge.escalate(escalation()))
    assert "authorization" not in upstream.requests[0].headers


async def test_cookies_of_a_provider_are_not_kept(upstream: RecordingUpstream, make_bridge: MakeBridge):
    upstream.will(Answer(status=500, headers=(("Set-Cookie", "id=me"),)), Answer())
    bridge = await make_bridge(provider_config(upstream))
    with pytest.raises(Unavailable):
        await collect(bridge.escalate(escalation()))
    await collect(bridge.escalate(escalation()))
    assert "cookie" not in upstream.requests[1].headers


async def test_what_is_meant_for_this_machine_goes_through_no_proxy(
    upstream: RecordingUpstream, second: RecordingUpstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HTTP_PROXY", second.url)
    async with open_http() as http:
        await http.post(upstream.url, content=b'{"messages": [{"role": "user", "content": "x"}], "model": "m"}')
    assert len(upstream.requests) == 1
    assert second.requests == []


def _unstreamed(request):
    body = json.dumps({**request.json, "stream": False}).encode()
    return type(request)(request.method, request.path, request.headers, request.head, body)
