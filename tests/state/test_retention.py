"""Sessions that nothing happened in for long are forgotten, by a clock that was lived by."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner

from cloud_bridge.protocol.problems import InvalidRequest, Unavailable
from edge_agent.cli import sessions
from edge_agent.retention import Retention
from edge_agent.state.retention import STEP, lived_until_ms
from edge_agent.state.sessions import ERASE
from edge_agent.state.state import State

pytestmark = pytest.mark.anyio

DAY = 86_400.0
BEGIN = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(open_at: Any, clock: Clock) -> State:
    state: State = open_at(now=clock)
    return state


@pytest.fixture
def use(kept: State, clock: Clock, talk: Any, report: Any) -> Any:
    """Ask something in a session, so many days from the beginning."""

    def ask(session_id: str, day: float) -> None:
        clock.now = BEGIN + day * DAY
        request = kept.accept_request(session_id, talk("hello"))
        kept.finish_request(request, "hi", report(session_id))

    return ask


def _there(state: State) -> set[str]:
    return {session.id for session in state.sessions()}


def _noted(state: State) -> list[Any]:
    """What is still to be erased."""
    with state.log.reading() as tx:
        return tx.db.execute("SELECT name FROM sync_state WHERE name GLOB ?", (ERASE + "*",)).fetchall()


async def test_what_nothing_happened_in_for_long_is_forgotten_and_stays_so(kept: State, use: Any, clock: Clock) -> None:
    for session_id, day in (("old", 0), ("kept", 0), ("new", 25), ("kept", 28), ("other", 31), ("other", 32.5)):
        use(session_id, day)
    retention = Retention(kept.log, 30)
    assert await retention.forget_due() == 1
    assert _there(kept) == {"kept", "new", "other"}
    assert {event.key_id for event in kept.events("old") if event.kind == "session.forgotten"} == {None}
    assert all(kept.body(event) is None for event in kept.events("old"))
    assert await retention.forget_due() == 0
    assert await Retention(kept.log, 0).forget_due() == 0


async def test_a_clock_that_leaps_ahead_ends_nothing_until_it_was_lived_by_for_a_day(kept: State, use: Any) -> None:
    use("a", 0)
    use("b", 1)
    retention = Retention(kept.log, 30)
    use("c", 3650)  # ten years on, and used at once
    use("c", 3650.9)
    assert await retention.forget_due() == 0
    use("d", 2)  # set right
    use("d", 4)
    assert await retention.forget_due() == 0
    use("e", 4000)  # another leap: that the first was a day's use ago by this clock counts for nothing
    assert await retention.forget_due() == 0
    assert _there(kept) == {"a", "b", "c", "d", "e"}


async def test_a_device_that_was_off_for_long_forgets_after_a_day_of_use(kept: State, use: Any) -> None:
    use("a", 0)
    use("b", 90)
    retention = Retention(kept.log, 30)
    assert await retention.forget_due() == 0
    use("b", 91.5)
    assert await retention.forget_due() == 1
    assert _there(kept) == {"b"}


async def test_nothing_is_forgotten_by_a_clock_that_cannot_be_right(kept: State, use: Any, clock: Clock) -> None:
    for day in (0, 40, 42):
        use("a", day)
    clock.now = BEGIN - 400 * DAY
    assert lived_until_ms(kept.log) is None
    assert await Retention(kept.log, 1).forget_due() == 0
    clock.now = 0.0
    assert lived_until_ms(kept.log) is None


async def test_what_waits_to_be_sent_keeps_its_session(
    kept: State, use: Any, clock: Clock, talk: Any, escalation: Any
) -> None:
    request = kept.accept_request("waits", talk("hello"))
    job = kept.enqueue(escalation("k", "waits"), "offline", request_id=request)
    for day in (40, 42):
        use("other", day)
    retention = Retention(kept.log, 30)
    assert await retention.forget_due() == 0
    kept.drop_job(job.id)  # which happened in the session now
    for day in (80, 82):
        use("other", day)
    assert await retention.forget_due() == 1


async def test_many_are_forgotten_in_small_steps(kept: State, use: Any) -> None:
    for number in range(STEP + 3):
        use(f"old-{number}", 0)
    for day in (40, 42):
        use("other", day)
    assert await Retention(kept.log, 30, pause_s=0).forget_due() == STEP + 3
    assert _there(kept) == {"other"}


async def test_it_is_done_again_and_again_and_a_failure_ends_nothing(
    kept: State, use: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use("old", 0)
    retention = Retention(kept.log, 30, every_s=0.01)
    failures = iter([True])

    def busy() -> None:
        if next(failures, False):
            raise Unavailable("busy", code="traces_left")

    monkeypatch.setattr(kept.log, "erase_traces", busy)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(retention.run)
        for day in (40, 42):
            use("new", day)
        for _ in range(500):
            await anyio.sleep(0.01)
            if _there(kept) == {"new"} and not _noted(kept):
                break
        tasks.cancel_scope.cancel()
    assert _there(kept) == {"new"}
    assert not _noted(kept)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "old sessions could not be forgotten: Unavailable"
    ]
    assert "old-" not in caplog.text


def test_a_person_forgets_all_that_is_old(home: Path, state: State, open_at: Any, talk: Any, escalation: Any) -> None:
    long_ago: State = open_at(now=lambda: time.time() - 100 * DAY)
    for session_id in ("old", "waits"):
        request = long_ago.accept_request(session_id, talk("hello"))
    long_ago.enqueue(escalation("k", "waits"), "offline", request_id=request)

    def run(*words: str) -> Any:
        words = (*words, "--yes")  # a device that was never used yet
        return CliRunner().invoke(sessions.app, ["forget", *words], env={"EDGE_AGENT_HOME": str(home)})

    assert "Forgot 0 sessions.\n" in run("--older-than", "9000w").output
    assert run("--older-than", "99d").output == "Forgot 1 session. Of 1 more something waits to be sent: they stay.\n"
    assert json.loads(run("--older-than", "99d", "--json").output) == {"sessions": [], "waiting": 1}
    assert _there(state) == {"waits"}
    for words in ((), ("old", "--older-than", "30d"), ("--older-than", "soon")):
        assert isinstance(run(*words).exception, InvalidRequest)


@pytest.mark.parametrize(
    ("last_used_days_ago", "is_believed"), [((1.4, 0.1), True), ((3652, 3650), False), ((), False)]
)
def test_a_person_is_asked_where_the_clock_may_have_leapt(
    state: State, open_at: Any, talk: Any, report: Any, last_used_days_ago: Any, *, is_believed: bool
) -> None:
    begin = time.time()
    open_at(now=lambda: begin - 4000 * DAY).accept_request("old", talk("hello"))
    for days in last_used_days_ago:
        used = open_at(now=lambda days=days: begin - days * DAY)
        used.finish_request(used.accept_request("new", talk("hello")), "hi", report("new"))
    words, env = ["forget", "--older-than", "3800d"], {"EDGE_AGENT_HOME": str(state.log.path.parent)}
    run = CliRunner().invoke(sessions.app, words, env=env)
    assert ("old" not in _there(state)) is is_believed
    if not is_believed:
        assert isinstance(run.exception, InvalidRequest)
        assert (run.exception.code, "--yes" in run.exception.hint) == ("clock_uncertain", True)
        CliRunner().invoke(sessions.app, [*words, "--yes"], env=env)
    assert "old" not in _there(state)
