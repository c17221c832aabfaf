"""Only a provider in an allowed region is asked, by whichever bridge; and one that names no region is in none."""

from __future__ import annotations

import json

import pytest

from cloud_bridge.client import EmbeddedBridge
from cloud_bridge.protocol.envelope import VERSION, VERSION_WITH_RESIDENCY, decode_escalation, encode_escalation
from cloud_bridge.protocol.problems import InvalidRequest, NotAllowed, Unavailable
from cloud_bridge.protocol.residency import allows, narrowed, regions
from tests.cloud_bridge.conftest import (
    Departures,
    MakeBridge,
    Serve,
    collect,
    escalation,
    provider_config,
    section,
    served,
)
from tests.upstream import Answer, RecordingUpstream

pytestmark = pytest.mark.anyio


def test_regions_are_equal_but_for_case_or_they_are_not():
    eu = regions(["EU ", "eu", "", "Eu-West"])
    assert eu == ("eu", "eu-west")
    assert allows(eu, " Eu")
    assert not any(allows(eu, region) for region in ("", "us", "eu-west-2", "e"))
    assert allows(None, "")
    assert not allows((), "eu")
    assert narrowed(None, None) is None
    assert narrowed(None, eu) == narrowed(eu, None) == narrowed(eu, eu) == eu
    assert narrowed(eu, ("us",)) == ()


async def test_a_provider_elsewhere_is_passed_over_and_nothing_leaves_for_it(
    upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge, departures: Departures
):
    bridge = await make_bridge(provider_config(upstream, region="us"), provider_config(second, "second", region="EU"))
    asked = escalation(residency=("eu",))
    assert bridge.preview(asked).provider == "second"
    assert served(await collect(bridge.escalate(asked, departures))).region == "EU"
    assert [departure.provider for departure in departures.seen] == ["second"]
    assert upstream.requests == []


async def test_where_the_one_that_fits_fails_no_other_is_asked(
    upstream: RecordingUpstream, second: RecordingUpstream, make_bridge: MakeBridge
):
    upstream.will(Answer(status=503))
    bridge = await make_bridge(provider_config(upstream, region="eu"), provider_config(second, "second", region="us"))
    with pytest.raises(Unavailable):
        await collect(bridge.escalate(escalation(residency=("eu",))))
    assert second.requests == []


@pytest.mark.parametrize(("region", "residency"), [("us", ("eu",)), ("", ("eu",)), ("eu", ())])
async def test_where_none_fits_nothing_leaves(
    region: str,
    residency: tuple[str, ...],
    upstream: RecordingUpstream,
    make_bridge: MakeBridge,
    departures: Departures,
):
    bridge = await make_bridge(provider_config(upstream, region=region))
    assert not EmbeddedBridge(bridge).serves(residency)
    with pytest.raises(NotAllowed) as caught:
        await collect(bridge.escalate(escalation(residency=residency), departures))
    assert caught.value.code == "residency"
    assert "config.toml" in caught.value.hint
    assert (departures.seen, upstream.requests) == ([], [])


async def test_a_bridge_elsewhere_honours_it_or_refuses(
    upstream: RecordingUpstream, second: RecordingUpstream, serve: Serve
):
    bridge = await serve(section(upstream, region="us"), section(second, "second", region="eu"))
    bridge.enroll()
    device = bridge.device()
    assert device.serves(("eu",))
    assert served(await collect(device.escalate(escalation(residency=("eu",))))).provider == "second"
    with pytest.raises(NotAllowed) as caught:
        await collect(device.escalate(escalation(residency=("ch",))))
    assert caught.value.code == "residency"
    assert upstream.requests == []
    assert len(second.requests) == 1


def test_an_older_bridge_refuses_rather_than_looking_past_it():
    assert json.loads(encode_escalation(escalation()))["version"] == VERSION
    document = json.loads(encode_escalation(escalation(residency=("eu",))))
    assert (document["version"], document["residency"]) == (VERSION_WITH_RESIDENCY, ["eu"])
    assert decode_escalation(json.dumps(document).encode()).residency == ("eu",)


@pytest.mark.parametrize("residency", [None, "eu", [1], {"eu": 1}])
def test_a_residency_that_cannot_be_read_is_refused(residency):
    document = {**json.loads(encode_escalation(escalation(residency=("eu",)))), "residency": residency}
    with pytest.raises(InvalidRequest) as caught:
        decode_escalation(json.dumps(document).encode())
    assert caught.value.code == "malformed_envelope"


async def test_a_clock_that_the_bridge_would_refuse_sends_nothing(
    upstream: RecordingUpstream, serve: Serve, departures: Departures
):
    bridge = await serve(section(upstream))
    bridge.enroll()
    bridge.skew_s = -3600
    device = bridge.device()
    assert await device.reachable()  # by which the device learns what time it is there
    with pytest.raises(Unavailable) as caught:
        await collect(device.escalate(escalation(), departures))
    assert caught.value.code == "clock_wrong"
    assert "behind the bridge's" in caught.value.hint
    assert departures.seen == []
