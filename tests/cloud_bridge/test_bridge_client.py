"""The bridge as a device's agent sees it: embedded, or off; and the key it signs with."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_bridge.client import BridgeClient, BridgeOff, EmbeddedBridge, embedded_bridge
from cloud_bridge.device_key import DeviceKey
from cloud_bridge.devices import decode_key
from cloud_bridge.outbound import open_http
from cloud_bridge.protocol.problems import Broken, InvalidRequest, Unavailable
from cloud_bridge.reachability import Reachability
from cloud_bridge.remote import RemoteBridge
from tests.cloud_bridge.conftest import (
    ENVIRON,
    PROMPT,
    Departures,
    MakeBridge,
    collect,
    escalation,
    provider_config,
    text_of,
)
from tests.upstream import RecordingUpstream

pytestmark = pytest.mark.anyio


async def test_an_embedded_bridge_answers(upstream: RecordingUpstream, tmp_path: Path, departures: Departures):
    async with embedded_bridge([provider_config(upstream)], tmp_path / "calls.db", environ=ENVIRON) as bridge:
        client: BridgeClient = bridge
        assert client.configured
        assert await client.reachable()
        assert text_of(await collect(client.escalate(escalation(), departures))) == PROMPT
    assert departures.seen[0].body == upstream.requests[0].body


async def test_reachable_means_an_address_that_answers_and_a_key(upstream: RecordingUpstream, make_bridge: MakeBridge):
    async with RecordingUpstream() as gone:
        down = provider_config(gone, "down")
    keyless = provider_config(upstream, "keyless", api_key_env="UNSET_KEY")
    assert not await EmbeddedBridge(await make_bridge()).reachable()
    assert not await EmbeddedBridge(await make_bridge(down, keyless)).reachable()
    assert await EmbeddedBridge(await make_bridge(down, provider_config(upstream))).reachable()
    assert upstream.requests == []
    assert "sk-" not in "".join(probe.head.decode() for probe in upstream.probes)


async def test_reachability_is_kept_for_a_few_seconds_and_asked_once():
    now, results, asked = [100.0], [True, False], []

    async def probe() -> bool:
        asked.append(now[0])
        await asyncio.sleep(0)
        return results[len(asked) - 1]

    reachability = Reachability(probe, clock=lambda: now[0], kept_s=5)
    assert await asyncio.gather(*(reachability.now() for _ in range(5))) == [True] * 5
    now[0] = 104.9
    assert await reachability.now()
    now[0] = 105.0
    assert not await reachability.now()
    assert asked == [100.0, 105.0]


async def test_a_bridge_that_is_off_says_how_to_turn_it_on():
    client: BridgeClient = BridgeOff()
    assert not client.configured
    assert not await client.reachable()
    for ask in (lambda: client.preview(escalation()), lambda: anext(client.escalate(escalation()))):
        with pytest.raises(Unavailable) as caught:
            await ask()
        assert caught.value.code == "cloud_unreachable"
        assert "[bridge]" in caught.value.hint


@pytest.mark.parametrize("url", ["", "bridge.example", "ftp://bridge.example", "https://bridge.example/?a=b"])
async def test_a_bridge_url_that_cannot_work_is_refused(url, tmp_path: Path):
    async with open_http() as http:
        with pytest.raises(InvalidRequest, match="url"):
            RemoteBridge(url, DeviceKey.load_or_create(tmp_path / "key"), http)


def test_a_device_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path):
    path = tmp_path / "home" / "device.pem"
    key = DeviceKey.load_or_create(path)
    assert DeviceKey.load_or_create(path).public_id == key.public_id
    assert len(decode_key(key.public_id)) == 32
    assert [file.name for file in path.parent.iterdir()] == ["device.pem"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_device_key_is_named_and_never_replaced(content, tmp_path: Path):
    path = tmp_path / "device.pem"
    path.write_bytes(content)
    with pytest.raises(Broken) as caught:
        DeviceKey.load_or_create(path)
    assert caught.value.code == "device_key_unreadable"
    assert "device.pem" in str(caught.value)
    assert path.read_bytes() == content


async def test_a_session_id_that_a_client_chose_stays_on_the_device(tmp_path: Path):
    async with open_http() as http:
        bridge = RemoteBridge("https://bridge.example", DeviceKey.load_or_create(tmp_path / "device.key"), http)
        body = bridge.preview(replace(escalation(), session_id="margaret@brightwater.example")).body
    assert b"margaret" not in body
