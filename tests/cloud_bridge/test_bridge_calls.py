"""One idempotency key, one finished provider call, whoever asks how often."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloud_bridge.database import BridgeDatabase
from cloud_bridge.protocol.events import Finish, Served, TextDelta
from cloud_bridge.protocol.problems import Conflict, Unavailable
from cloud_bridge.store import CallStore
from tests.cloud_bridge.conftest import MakeBridge, collect, escalation, provider_config, served, text_of
from tests.upstream import Answer, RecordingUpstream

pytestmark = pytest.mark.anyio


async def test_a_finished_key_is_answered_from_the_store_also_after_a_restart(
    upstream: RecordingUpstream, make_bridge: MakeBridge
):
    asked = escalation("same question")
    first = await collect((await make_bridge(provider_config(upstream))).escalate(asked))
    again = await collect((await make_bridge(provider_config(upstream))).escalate(asked))
    assert not served(first).replayed
    assert served(again).replayed
    assert again[1:] == first[1:]
    assert len(upstream.requests) == 1


async def test_a_key_that_is_being_answered_is_joined(upstream: RecordingUpstream, make_bridge: MakeBridge):
    upstream.will(Answer(text="a long answer", pieces="odd", hold_after=2))
    bridge = await make_bridge(provider_config(upstream))
    asked = escalation()
    first = asyncio.create_task(collect(bridge.escalate(asked)))
    await upstream.wait_for_requests(1)
    second = asyncio.create_task(collect(bridge.escalate(asked)))
    await asyncio.sleep(0.05)
    upstream.release()
    assert text_of(await first) == text_of(await second) == "a long answer"
    assert len(upstream.requests) == 1


async def test_a_key_belongs_to_one_question(upstream: RecordingUpstream, make_bridge: MakeBridge):
    upstream.will(Answer(hold_after=0))
    bridge = await make_bridge(provider_config(upstream))
    running = asyncio.create_task(collect(bridge.escalate(escalation("one", key="k"))))
    await upstream.wait_for_requests(1)
    with pytest.raises(Conflict) as caught:
        await collect(bridge.escalate(escalation("two", key="k")))
    assert caught.value.code == "idempotency_key_reused"
    upstream.release()
    await running
    with pytest.raises(Conflict):
        await collect(bridge.escalate(escalation("two", key="k")))
    assert len(upstream.requests) == 1


async def test_two_devices_may_choose_the_same_key(upstream: RecordingUpstream, make_bridge: MakeBridge):
    bridge = await make_bridge(provider_config(upstream))
    one = await collect(bridge.escalate(escalation("one", key="k"), caller="laptop"))
    two = await collect(bridge.escalate(escalation("two", key="k"), caller="phone"))
    assert (text_of(one), text_of(two)) == ("one", "two")
    keys = {request.headers["idempotency-key"] for request in upstream.requests}
    assert len(keys) == 2


async def test_a_failed_key_is_called_again(upstream: RecordingUpstream, make_bridge: MakeBridge):
    upstream.will(Answer(status=503), Answer(text="now"))
    bridge = await make_bridge(provider_config(upstream))
    asked = escalation()
    with pytest.raises(Unavailable):
        await collect(bridge.escalate(asked))
    assert text_of(await collect(bridge.escalate(asked))) == "now"
    first, second = upstream.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


async def test_a_service_finishes_a_call_that_nobody_listens_to(upstream: RecordingUpstream, make_bridge: MakeBridge):
    upstream.will(Answer(text="a long answer", pieces="odd", hold_after=2))
    bridge = await make_bridge(provider_config(upstream), keeps_calls=True)
    asked = escalation()
    listener = bridge.escalate(asked)
    assert isinstance(await anext(listener), Served)
    await listener.aclose()
    upstream.release()
    await upstream.wait_for_answers(1)
    assert text_of(await collect(bridge.escalate(asked))) == "a long answer"
    assert len(upstream.requests) == 1


async def test_inside_a_device_a_call_ends_when_nobody_listens(upstream: RecordingUpstream, make_bridge: MakeBridge):
    upstream.will(Answer(text="a long answer", pieces="odd", hold_after=2), Answer(text="again"))
    bridge = await make_bridge(provider_config(upstream))
    asked = escalation()
    listener = bridge.escalate(asked)
    assert isinstance(await anext(listener), Served)
    await listener.aclose()
    # Asked again at once, before the old call is gone: a new one, not a dying one.
    assert text_of(await collect(bridge.escalate(asked))) == "again"


async def test_a_closed_bridge_tells_its_listeners(upstream: RecordingUpstream, make_bridge: MakeBridge):
    upstream.will(Answer(hold_after=0))
    bridge = await make_bridge(provider_config(upstream), keeps_calls=True)
    listener = asyncio.create_task(collect(bridge.escalate(escalation())))
    await upstream.wait_for_requests(1)
    await bridge.close()
    with pytest.raises(Unavailable) as caught:
        await listener
    assert caught.value.code == "bridge_stopped"


def test_a_call_left_started_is_begun_again_and_says_so(tmp_path: Path):
    dead = CallStore.open(tmp_path / "calls.db")
    assert dead.begin("", "k", "f") is None
    dead.close()
    store = CallStore.open(tmp_path / "calls.db")
    assert store.begin("", "k", "f") is None
    call = store.call("", "k")
    assert (call.repeated, call.attempts, call.status) == (True, 2, "started")
    store.close()


def test_answers_are_deleted_when_their_time_is_over_and_a_later_call_says_so(tmp_path: Path):
    now = [1_000_000.0]
    path = tmp_path / "calls.db"
    database = BridgeDatabase(path, clock=lambda: now[0])
    store = CallStore(database, retention_hours=24, now=lambda: now[0])
    answer = (Served("p", "m"), TextDelta("remember-the-<PERSON_1>"), Finish())
    store.begin("", "k", "f")
    store.finish("", "k", "p", answer)
    now[0] += 23 * 3600
    assert store.begin("", "k", "f") == answer
    now[0] += 2 * 3600
    store.purge()
    assert store.call("", "k").status == "expired"
    assert store.begin("", "k", "f") is None
    assert store.call("", "k").repeated
    store.close()
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"remember-the" not in left
    assert path.stat().st_mode & 0o077 == 0


def test_a_newer_database_is_left_alone(tmp_path: Path):
    database = BridgeDatabase(tmp_path / "calls.db")
    with database.transaction() as db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('cloud_bridge', 'm999', 'x')"
        )
    database.close()
    with pytest.raises(Conflict) as caught:
        BridgeDatabase(tmp_path / "calls.db")
    assert caught.value.code == "schema_newer"
