"""A device and a `cloud-bridge serve`, over real HTTP: who may call, and what comes back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cloud_bridge.client import remote_bridge
from cloud_bridge.device_key import DeviceKey
from cloud_bridge.http import MAX_BODY_BYTES, PATH
from cloud_bridge.outbound import open_http
from cloud_bridge.protocol.envelope import encode_escalation
from cloud_bridge.protocol.events import Finish, Served
from cloud_bridge.protocol.problems import Conflict, InvalidRequest, Problem, Unavailable
from cloud_bridge.protocol.signatures import HttpRequest, sign_request
from cloud_bridge.remote import RemoteBridge
from tests.cloud_bridge.conftest import (
    PROMPT,
    TRACEPARENT,
    Departures,
    RunningService,
    Serve,
    collect,
    collect_until_problem,
    escalation,
    section,
    served,
    text_of,
)
from tests.upstream import Answer, RecordingUpstream

pytestmark = pytest.mark.anyio


async def refusal(device: RemoteBridge, upstream: RecordingUpstream) -> Problem:
    """The problem that the device is told of; nothing may have been passed on."""
    with pytest.raises(Problem) as caught:
        await collect(device.escalate(escalation()))
    assert upstream.requests == []
    assert PROMPT not in str(caught.value)
    return caught.value


async def test_an_enrolled_device_is_answered(upstream: RecordingUpstream, serve: Serve, departures: Departures):
    upstream.will(Answer(pieces="characters"))
    bridge = await serve(section(upstream, region="eu", usd_per_mtok_in=2))
    bridge.enroll()
    device = bridge.device()
    asked = escalation()
    events = await collect(device.escalate(asked, departures))
    assert served(events) == Served("first", "first-model", "eu", 2)
    assert text_of(events) == PROMPT
    assert isinstance(events[-1], Finish)
    assert departures.seen == [device.preview(asked)]
    assert departures.seen[0].body == encode_escalation(replace(asked, session_id=""))
    assert departures.seen[0].url == bridge.url + PATH
    assert upstream.requests[0].headers["traceparent"] == TRACEPARENT


async def test_the_failure_of_all_providers_reaches_the_device(upstream: RecordingUpstream, serve: Serve):
    upstream.will(Answer(status=500, body="secret", headers=(("Retry-After", "5"),)))
    bridge = await serve(section(upstream))
    bridge.enroll()
    with pytest.raises(Unavailable) as caught:
        await collect(bridge.device().escalate(escalation()))
    assert caught.value.code == "cloud_unreachable"
    assert caught.value.retry_after_s == 5
    assert "secret" not in str(caught.value)


async def test_a_cut_in_the_middle_reaches_the_device_after_what_came(upstream: RecordingUpstream, serve: Serve):
    upstream.will(Answer(text="one two", pieces="odd", cut_after=2))
    bridge = await serve(section(upstream))
    bridge.enroll()
    events, problem = await collect_until_problem(bridge.device().escalate(escalation()))
    assert isinstance(problem, Unavailable)
    assert problem.code == "provider_cut"
    assert text_of(events) == "one"


async def test_a_device_that_goes_away_and_asks_again_causes_one_provider_call(
    upstream: RecordingUpstream, serve: Serve
):
    upstream.will(Answer(text="a long answer", pieces="odd", hold_after=2))
    bridge = await serve(section(upstream))
    bridge.enroll()
    device = bridge.device()
    asked = escalation()
    first = device.escalate(asked)
    assert isinstance(await anext(first), Served)
    await first.aclose()
    upstream.release()
    await upstream.wait_for_answers(1)
    events = await collect(device.escalate(asked))
    assert text_of(events) == "a long answer"
    assert len(upstream.requests) == 1
    assert served(await collect(device.escalate(asked))).replayed
    with pytest.raises(Conflict):
        await collect(device.escalate(escalation("another question", key=asked.idempotency_key)))


async def test_an_unknown_device_is_refused_and_told_what_to_do(upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream))
    problem = await refusal(bridge.device("stranger"), upstream)
    # Unavailable, not "wrong key": that is between device and bridge, and no client's fault.
    assert isinstance(problem, Unavailable)
    assert problem.code == "unknown_device"
    assert "devices enroll" in problem.hint


async def test_a_revoked_device_is_refused_at_once(upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream))
    bridge.enroll()
    bridge.service.devices.revoke("laptop")
    problem = await refusal(bridge.device(), upstream)
    assert problem.code == "device_revoked"


@pytest.mark.parametrize(("skew_s", "words"), [(3600, "s ahead of"), (-3600, "s behind")])
async def test_a_wrong_clock_is_named_with_its_error(skew_s, words, upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream))
    bridge.enroll()
    bridge.skew_s = skew_s
    problem = await refusal(bridge.device(), upstream)
    assert isinstance(problem, Unavailable)
    assert problem.code == "signature_expired"
    assert words in problem.hint
    assert any(str(seconds) in problem.hint for seconds in range(3590, 3611))


async def test_a_clock_that_is_a_little_wrong_is_borne(upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream))
    bridge.enroll()
    bridge.skew_s = 250
    assert text_of(await collect(bridge.device().escalate(escalation()))) == PROMPT


def signed(bridge: RunningService, body: bytes, **changes: str) -> dict[str, str]:
    """The header fields of a good request for `body`."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": json.loads(body)["idempotency_key"], **changes}
    key = bridge.key("laptop")
    request = HttpRequest("POST", bridge.url + PATH, tuple(headers.items()), body)
    created = int(bridge.service.now())
    nonce = f"nonce-{len(body)}-{headers['Idempotency-Key']}"
    return headers | sign_request(request, key_id=key.public_id, sign=key.sign, created=created, nonce=nonce)


async def post(bridge: RunningService, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return await bridge.http.post(bridge.url + PATH, content=body, headers=headers)


async def test_a_request_is_good_once(upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream))
    bridge.enroll()
    body = encode_escalation(escalation())
    headers = signed(bridge, body)
    assert (await post(bridge, body, headers)).status_code == 200
    again = await post(bridge, body, headers)
    assert again.status_code == 401
    assert again.json()["error"]["code"] == "request_replayed"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (lambda body, headers: (body.replace(b"delay", b"money"), headers), "digest_mismatch"),
        (lambda body, headers: (body, headers | {"Idempotency-Key": "other"}), "signature_wrong"),
        (lambda body, headers: (body, headers | {"Content-Type": "text/plain"}), "signature_wrong"),
        (lambda body, headers: (body, {k: v for k, v in headers.items() if k != "Signature"}), "signature_missing"),
        (lambda body, headers: (body, headers | {"Signature": "device=:AAAA:"}), "signature_wrong"),
        (lambda body, headers: (body, headers | {"Signature-Input": "device=nonsense"}), "signature_malformed"),
    ],
)
async def test_a_request_that_was_changed_on_the_way_is_refused(
    tamper, code, upstream: RecordingUpstream, serve: Serve
):
    bridge = await serve(section(upstream))
    bridge.enroll()
    good = encode_escalation(escalation())
    response = await post(bridge, *tamper(good, signed(bridge, good)))
    assert response.status_code == 401
    error = response.json()["error"]
    assert error["code"] == code
    assert error["hint"]
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b'{"idempotency_key": "k"}', {}, "malformed_envelope"),
        (encode_escalation(escalation(key="k")), {"Idempotency-Key": "other"}, "idempotency_key_mismatch"),
        (encode_escalation(escalation(key="k k")), {}, "bad_idempotency_key"),
    ],
)
async def test_a_signed_envelope_must_also_be_sound(body, headers, code, upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream))
    bridge.enroll()
    response = await post(bridge, body, signed(bridge, body, **headers))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code
    assert upstream.requests == []


async def test_an_escalation_may_only_be_so_large(upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream))
    bridge.enroll()
    with pytest.raises(InvalidRequest) as caught:
        await collect(bridge.device().escalate(escalation("x" * MAX_BODY_BYTES)))
    assert caught.value.code == "payload_too_large"


async def test_the_audit_tells_who_sent_how_much_and_no_text(upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream))
    bridge.enroll()
    await collect(bridge.device().escalate(escalation()))
    (row,) = bridge.database.rows("SELECT record FROM audit")
    record = json.loads(row["record"])
    assert (record["device"], record["provider"]) == ("laptop", "first")
    assert record["bytes"] == len(upstream.requests[0].body)
    assert record["repeated"] is False
    assert "delay" not in row["record"]
    assert bridge.service.audit.verify().entries == 1


async def test_a_device_sees_whether_the_bridge_lives(upstream: RecordingUpstream, serve: Serve):
    now = [0.0]
    bridge = await serve(section(upstream))
    assert await bridge.device().reachable()
    async with RecordingUpstream() as gone:
        url = gone.url
    device = RemoteBridge(url, bridge.key("laptop"), bridge.http, clock=lambda: now[0])
    assert not await device.reachable()
    with pytest.raises(Unavailable) as caught:
        await collect(device.escalate(escalation()))
    assert caught.value.code == "cloud_unreachable"


async def test_something_else_at_the_bridges_address_is_no_bridge(upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream))
    upstream.will(Answer(status=502, body="<html>secret</html>"))
    device = RemoteBridge(upstream.url, bridge.key("laptop"), bridge.http)
    with pytest.raises(Unavailable) as caught:
        await collect(device.escalate(escalation()))
    assert caught.value.code == "cloud_unreachable"
    assert "secret" not in str(caught.value)


async def test_health_and_readiness(upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream), section(upstream, "keyless", api_key_env="UNSET_KEY"))
    bridge.enroll()
    assert (await bridge.http.get(f"{bridge.url}/healthz")).json() == {"status": "ok"}
    assert (await bridge.http.get(f"{bridge.url}/readyz")).json() == {"ready": True, "providers": 1, "devices": 1}
    nothing = await bridge.http.get(f"{bridge.url}/nothing")
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (404, "unknown_url")


async def test_a_bridge_without_a_usable_provider_is_not_ready(upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream, api_key_env="UNSET_KEY"))
    assert (await bridge.http.get(f"{bridge.url}/readyz")).status_code == 503


async def test_many_devices_at_once(upstream: RecordingUpstream, serve: Serve):
    bridge = await serve(section(upstream))
    names = [f"device-{number}" for number in range(8)]
    for name in names:
        bridge.enroll(name)
    answers = await asyncio.gather(*(collect(bridge.device(name).escalate(escalation(name))) for name in names))
    assert [text_of(events) for events in answers] == names
    assert bridge.service.audit.verify().entries == len(names)


async def test_a_thinking_provider_is_not_taken_for_a_dead_bridge(upstream: RecordingUpstream, serve: Serve):
    upstream.will(Answer(delay_s=1.0))
    bridge = await serve(section(upstream), heartbeat_s=0.1)
    bridge.enroll()
    async with open_http(read_s=0.5) as impatient:
        device = RemoteBridge(bridge.url, bridge.key("laptop"), impatient)
        assert text_of(await collect(device.escalate(escalation()))) == PROMPT


async def test_a_device_that_leaves_while_the_provider_thinks_still_gets_its_answer(
    upstream: RecordingUpstream, serve: Serve
):
    upstream.will(Answer(text="thought", hold_after=0))
    bridge = await serve(section(upstream), heartbeat_s=0.02)
    bridge.enroll()
    asked = escalation()
    waiting = asyncio.create_task(collect(bridge.device().escalate(asked)))
    await upstream.wait_for_requests(1)
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    upstream.release()
    assert text_of(await collect(bridge.device().escalate(asked))) == "thought"
    assert len(upstream.requests) == 1


async def test_a_daemon_can_open_a_remote_bridge_with_a_key_of_its_own(
    upstream: RecordingUpstream, serve: Serve, tmp_path: Path
):
    bridge = await serve(section(upstream))
    key = DeviceKey.load_or_create(tmp_path / "device.pem")
    bridge.service.devices.enroll("laptop", key.public_id)
    async with remote_bridge(bridge.url, tmp_path / "device.pem") as device:
        assert await device.reachable()
        assert text_of(await collect(device.escalate(escalation()))) == PROMPT
