"""What the other devices are told of a stretch: masked, withheld, left out, or nothing for now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_bridge.protocol.problems import Unsafe
from edge_agent.privacy.adopted import adoptable
from edge_agent.privacy.detect import privacy_failed
from edge_agent.privacy.second_check import SecondCheck
from edge_agent.privacy.spans import Span
from edge_agent.privacy.vault import Vault
from edge_agent.sharing import Sharing
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State
from edge_agent.state.sync.exchanged import Stretch
from edge_agent.state.sync.replica import Replica
from tests.state import two_devices

pytestmark = pytest.mark.anyio


class Detector(two_devices.Detector):
    """Does something first: forget a session, or fail."""

    def __init__(self) -> None:
        self.first: Callable[[], object] = lambda: None

    def detect(self, text: str, stop: threading.Event | None = None) -> list[Span]:
        self.first()
        return super().detect(text, stop)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(tmp_path / "state.db", HomeKey(tmp_path).open(), owner=True) as opened:
        yield opened


@pytest.fixture
def detector() -> Detector:
    return Detector()


@pytest.fixture
def sharing(state: State, detector: Detector) -> Sharing:
    return Sharing(
        state=state,
        detector=detector,  # type: ignore[arg-type]
        vault=Vault(state),
        check=SecondCheck(),
        never_leave=frozenset(),
    )


def say(state: State, session_id: str, text: str) -> str:
    message = {"role": "user", "name": None, "parts": [{"type": "text", "text": text}]}
    return state.accept_request(session_id, {"messages": [message], "tools": []})


def stretch(state: State, after: int = 0) -> Stretch:
    found = Replica(state.log, adoptable).stretch(state.device, after)
    assert found is not None
    return found


def failing(problem: Unsafe) -> Callable[[], None]:
    def fail() -> None:
        raise problem

    return fail


async def test_what_is_forgotten_before_it_is_masked_does_not_come_back(state, sharing):
    say(state, "s", "Is Ada Lovelace in?")
    found = stretch(state)
    state.forget("s")
    assert await sharing.told(found) == {}
    assert (state.load("s"), state.sessions()) == ([], [])


async def test_what_is_forgotten_while_it_is_masked_does_not_come_back(state, sharing, detector):
    say(state, "s", "Is Ada Lovelace in?")
    other = say(state, "t", "Is Alan Turing in?")
    detector.first = lambda: [state.forget(each.id) for each in state.sessions() if each.id == "s"]
    assert list(await sharing.told(stretch(state))) == [other]
    assert state.load("s") == []


async def test_a_session_that_began_anew_does_not_get_the_values_that_were_forgotten(state, sharing):
    say(state, "s", "Is Ada Lovelace in?")
    found = stretch(state)
    state.forget("s")
    say(state, "s", "Is Alan Turing in?")
    assert await sharing.told(found) == {}
    assert state.load("s") == []


async def test_while_the_detector_fails_nothing_is_withheld(state, sharing, detector):
    event_id = say(state, "s", "Is Ada Lovelace in?")
    detector.first = failing(privacy_failed("Masking failed."))
    for _ in range(5):
        with pytest.raises(Unsafe):
            await sharing.told(stretch(state))
    detector.first = lambda: None
    told = (await sharing.told(stretch(state)))[event_id]
    assert (told.withheld, [entry.value for entry in told.mapping]) == ("", ["Ada Lovelace"])


async def test_a_text_that_is_refused_is_withheld_at_once(state, sharing, detector):
    event_id = say(state, "s", "Is Ada Lovelace in?")
    detector.first = failing(Unsafe("A value is left.", code="value_left"))
    told = (await sharing.told(stretch(state)))[event_id]
    assert (told.masked, told.withheld) == (None, "value_left")


@pytest.mark.parametrize("code", ["privacy_timeout", "pattern_too_slow"])
async def test_a_text_that_takes_too_long_is_withheld_the_third_time(state, sharing, detector, code):
    event_id = say(state, "s", "Is Ada Lovelace in?")
    detector.first = failing(Unsafe("It took too long.", code=code))
    for _ in range(2):
        with pytest.raises(Unsafe):
            await sharing.told(stretch(state))
    found = stretch(state)
    assert (await sharing.told(found))[event_id].withheld == code
    assert (await sharing.told(found))[event_id].withheld == code  # what was told may not have arrived

    detector.first = lambda: None
    say(state, "s", "And Alan Turing?")
    await sharing.told(stretch(state, found.through))
    assert not sharing._too_slow


@pytest.mark.parametrize("envelope", [b'{"version": 0}', b"\xff", b"[]"])
async def test_a_text_whose_envelope_cannot_be_read_is_masked_afresh(state, sharing, envelope):
    event_id = say(state, "s", "Is Ada Lovelace in?")
    found = stretch(state)
    told = await sharing.told(replace(found, events=[replace(found.events[0], escalation=envelope)]))
    assert [entry.value for entry in told[event_id].mapping] == ["Ada Lovelace"]


async def test_a_text_that_the_others_would_not_unpack_is_withheld(state, sharing):
    event_id = say(state, "s", "a" * 3_000_000)
    assert (await sharing.told(stretch(state)))[event_id].withheld == "too_large"
