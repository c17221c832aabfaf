"""What happens at the edges of a request: a client that leaves, an answer that fails, a state that fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import pytest
from starlette.requests import ClientDisconnect

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.envelope import Escalation
from cloud_bridge.protocol.events import Event, OtherChoice, ReasoningDelta, Served, TextDelta
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import Conflict, Unavailable
from cloud_bridge.protocol.trace import Traceparent
from edge_agent.answer_cache import AnswerCache, CacheRules
from edge_agent.escalate import LONGEST_WAIT_S, Escalator, wait_s
from edge_agent.feed import Feed
from edge_agent.http.requests import until_gone
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mask import anonymize_text
from edge_agent.privacy.vault import Vault
from edge_agent.record import Recorder
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from edge_agent.turn import Request, Turn
from tests.daemon.staged_agent import Stage, asking
from tests.state import two_devices

pytestmark = pytest.mark.anyio

ASKED = Request(Conversation((Message("user", (Text("Hello."),)),)))
SERVED = Served("cloud", "big", "", 1.0, 1.0)


class Client:
    """A client that goes away when it is told to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def test_a_client_that_leaves_does_not_abandon_what_is_being_recorded():
    client, begun, recorded = Client(), threading.Event(), threading.Event()
    outcome: list[str] = []

    def record() -> str:
        begun.set()
        recorded.wait(5)
        return "on record"

    async def work() -> None:
        outcome.append(await anyio.to_thread.run_sync(record))
        await asyncio.sleep(60)

    waiting = asyncio.create_task(until_gone(client, work()))  # type: ignore[arg-type]
    await asyncio.to_thread(begun.wait, 5)
    client.left.set()
    await asyncio.sleep(0.05)
    recorded.set()
    with pytest.raises(ClientDisconnect):
        await waiting
    assert outcome == ["on record"]


async def test_an_answer_in_time_is_given_to_the_client():
    async def work() -> int:
        return 7

    assert await until_gone(Client(), work()) == 7  # type: ignore[arg-type]


def turn() -> Turn:
    return Turn(ASKED, "request", "decision", "session", Traceparent("1" * 32, "2" * 16), 0.0)


def test_an_answer_that_failed_before_its_first_word_leaves_no_trace():
    made = turn()
    made.note(SERVED)
    assert not made.answered
    made.start_over()
    assert (made.events, made.report().provider, made.report().model) == ([], None, None)


@pytest.mark.parametrize("event", [TextDelta("Hi"), ReasoningDelta("Hmm"), OtherChoice(1, TextDelta("Hi"))])
def test_what_was_passed_on_can_no_longer_be_replaced(event: Event):
    made = turn()
    made.note(event)
    assert made.answered


@pytest.mark.parametrize("attempts", [0, 3, 5_000])
def test_the_wait_grows_to_five_minutes_and_no_further(attempts: int):
    expected = min(LONGEST_WAIT_S, 2.0 * 2 ** min(attempts, 16))
    away = Unavailable("Away.", code="cloud_unreachable")
    assert wait_s(away, attempts=attempts, random=lambda _, longest: longest) == expected
    assert all(0 <= wait_s(away, attempts=attempts) <= expected for _ in range(20))


def test_what_a_provider_asks_for_is_waited_for_and_no_more_than_an_hour_of_it():
    asked = Unavailable("Busy.", code="rate_limited", retry_after_s=30)
    assert 30 <= wait_s(asked, attempts=0) <= 32
    for_ever = Unavailable("Busy.", code="rate_limited", retry_after_s=1e12)
    assert 3600 <= wait_s(for_ever, attempts=0) <= 3602


async def test_a_request_whose_client_left_has_its_decision_on_record(tmp_path: Path):
    with State.open(tmp_path / "state.db", HomeKey(tmp_path).open()) as state:
        recorder = Recorder(state, Feed())
        accepted = await recorder.accept(ASKED)
        await recorder.fail(accepted, "client_gone")
        assert state.decision(accepted.decision_id)["session_id"] == accepted.session_id


async def test_leaving_a_delivery_closes_the_call_at_once():
    closed: list[bool] = []

    async def escalate(*_: Any) -> AsyncGenerator[Event]:
        try:
            yield SERVED
            yield TextDelta("never heard")
        finally:
            closed.append(True)

    asked = Escalation(Masked(ASKED.conversation, {}), "key", "s", "")
    state: Any = SimpleNamespace(escalation=lambda _: asked, load=lambda _: (), check_clock=lambda: None)
    bridge: Any = SimpleNamespace(escalate=escalate)
    escalator = Escalator(
        detector=Detector(lambda _: Path("none")),
        vault=Vault(state),
        bridge=bridge,
        state=state,
        cache=AnswerCache(state, CacheRules(exact=False)),
    )
    delivery = escalator.deliver(SimpleNamespace(id="j", session_id="s"), None)  # type: ignore[arg-type]
    assert await anext(delivery) == SERVED
    await delivery.aclose()
    assert closed == [True]


async def test_a_request_that_is_forgotten_before_it_is_masked_leaves_no_value_behind(tmp_path: Path):
    asked = Request(Conversation((Message("user", (Text("Is Ada Lovelace in?"),)),)))
    with State.open(tmp_path / "state.db", HomeKey(tmp_path).open()) as state:
        escalator = Escalator(
            detector=two_devices.Detector(),  # type: ignore[arg-type]
            vault=Vault(state),
            bridge=SimpleNamespace(),  # type: ignore[arg-type]
            state=state,
            cache=AnswerCache(state, CacheRules(exact=False)),
        )
        stays, goes = [await Recorder(state, Feed()).accept(asked) for _ in range(2)]
        state.forget(goes.session_id)
        await escalator.mask(stays)
        with pytest.raises(Conflict) as caught:
            await escalator.mask(goes)
        assert caught.value.code == "session_forgotten"
        assert [entry.value for entry in state.load(stays.session_id)] == ["Ada Lovelace"]
        assert state.load(goes.session_id) == []


async def test_a_mapping_that_is_forgotten_meanwhile_does_not_come_back(tmp_path: Path):
    class Forgetful(two_devices.Detector):
        def detect(self, text: str, stop: threading.Event | None = None) -> list[Any]:
            if state.load("m"):
                state.forget("m")
            return super().detect(text, stop)

    detector: Any = Forgetful()
    with State.open(tmp_path / "state.db", HomeKey(tmp_path).open()) as state:
        await anonymize_text("Is Ada Lovelace in?", detector, Vault(state), "m")
        with pytest.raises(Conflict) as caught:
            await anonymize_text("Is Alan Turing in?", detector, Vault(state), "m")
        assert caught.value.code == "session_forgotten"
        assert state.load("m") == []


async def test_an_answer_that_could_not_be_recorded_is_not_lost(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    def busy(*_: object, **__: object) -> None:
        raise Unavailable("busy", code="state_busy")

    monkeypatch.setattr(stage.state, "finish_request", busy)
    with pytest.raises(Unavailable):
        await stage.answer(asking(n=1, model="cloud"))
    (job,) = stage.state.jobs()
    assert job.status == "queued"
    escalation = stage.state.escalation(job.id)
    assert escalation.idempotency_key == job.idempotency_key
