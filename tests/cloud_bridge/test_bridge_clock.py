"""A bridge whose wall clock is years off, and set right again: nothing is called twice, and nothing kept for ever."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_bridge.ages import GAP_S
from cloud_bridge.database import BridgeDatabase
from cloud_bridge.device_key import DeviceKey
from cloud_bridge.devices import DeviceRegistry
from cloud_bridge.protocol.events import Finish, Served, TextDelta
from cloud_bridge.protocol.problems import NotAuthenticated
from cloud_bridge.protocol.signatures import Signature
from cloud_bridge.store import CallStore

HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S
ANSWER = (Served("p", "m"), TextDelta("remember-the-<PERSON_1>"), Finish())


@dataclass(eq=False)
class Machine:
    """A bridge's store on a machine with two clocks: one that counts, one that people set."""

    folder: Path
    counted: float = 5.0
    wall: float = 1.7e9
    database: BridgeDatabase = field(init=False)
    store: CallStore = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.database = BridgeDatabase(self.folder / "calls.db", clock=lambda: self.counted)
        self.store = CallStore(self.database, retention_hours=24, now=lambda: self.wall)

    def run(self, seconds: float) -> None:
        """Time passes while the bridge runs."""
        self.counted += seconds
        self.wall += seconds

    def restart(self, off_s: float) -> None:
        """The machine is off for a while; what counts begins anew."""
        self.database.close()
        self.counted = 5.0
        self.wall += off_s
        self.start()

    def answer(self, key: str) -> None:
        self.store.begin("", key, "f")
        self.store.finish("", key, "p", ANSWER)

    def is_known(self, key: str) -> bool:
        return self.store.begin("", key, "f") == ANSWER


@contextmanager
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory() as folder:
        made = Machine(Path(folder))
        yield made
        made.database.close()


@pytest.mark.parametrize("years", [50, -50, -53.9, 7000])
def test_an_answer_outlives_a_clock_that_is_set_wrong_and_right_again(years):
    with machine() as bridge:
        bridge.answer("before")
        bridge.wall += years * YEAR_S
        assert bridge.is_known("before")
        bridge.answer("meanwhile")
        bridge.restart(0)
        bridge.wall -= years * YEAR_S
        assert bridge.is_known("before")
        assert bridge.is_known("meanwhile")


@pytest.mark.parametrize("years", [50, -50])
def test_an_answer_that_came_while_the_clock_was_wrong_is_kept(years):
    with machine() as bridge:
        bridge.store.begin("", "k", "f")
        bridge.wall += years * YEAR_S
        bridge.store.finish("", "k", "p", ANSWER)
        bridge.wall -= years * YEAR_S
        assert bridge.is_known("k")
        bridge.run(25 * HOUR_S)
        assert not bridge.is_known("k")


@pytest.mark.parametrize("years", [0, 50, -50])
def test_an_answer_is_deleted_when_the_bridge_has_run_for_its_retention(years):
    with machine() as bridge:
        bridge.answer("k")
        for _ in range(20):
            bridge.run(HOUR_S)
            bridge.store.purge()
        bridge.wall += years * YEAR_S
        for _ in range(6):
            bridge.run(HOUR_S)
            bridge.store.purge()
        assert not bridge.is_known("k")
        assert bridge.store.call("", "k").repeated


def test_a_call_whose_process_died_is_not_remembered_for_ever():
    with machine() as bridge:
        bridge.store.begin("", "k", "f")
        bridge.run(29 * 24 * HOUR_S)
        bridge.store.purge()
        assert bridge.store.call("", "k")
        bridge.run(2 * 24 * HOUR_S)
        bridge.store.purge()
        assert bridge.store.call("", "k") is None


jumps = st.floats(-60, 60).map(lambda years: years * YEAR_S) | st.floats(-2 * HOUR_S, 2 * HOUR_S)
events = st.one_of(
    st.tuples(st.just("run"), st.floats(0, 5 * HOUR_S)),
    st.tuples(st.just("jump"), jumps),
    st.tuples(st.just("off"), jumps),
    st.tuples(st.just("answer"), st.just(0.0)),
)


@settings(deadline=None, max_examples=30)
@given(st.lists(events, max_size=25))
def test_no_answer_is_forgotten_before_its_retention_is_over(plan):
    with machine() as bridge:
        counted = dict[str, float]()  # at most, for each answer
        for number, (what, amount) in enumerate(plan):
            added = 0.0
            match what:
                case "run":
                    bridge.run(amount)
                    added = amount
                case "jump":
                    bridge.wall += amount
                    added = GAP_S + 60
                case "off":
                    bridge.restart(amount)
                    added = GAP_S + 60
                case "answer":
                    bridge.answer(f"k{number}")
                    counted[f"k{number}"] = 0.0
            counted = {key: age + added for key, age in counted.items()}
            for key, age in counted.items():
                assert age >= 24 * HOUR_S or bridge.is_known(key)
            counted = {key: age for key, age in counted.items() if age < 24 * HOUR_S}


@pytest.mark.parametrize("years", [50, -50])
def test_a_signed_request_is_not_good_again_after_the_clock_was_wrong(years):
    with machine() as bridge:
        devices = DeviceRegistry(bridge.database, now=lambda: bridge.wall)
        key = DeviceKey(Ed25519PrivateKey.generate())
        devices.enroll("laptop", key.public_id)
        seen = Signature(key.public_id, int(bridge.wall), "nonce")
        devices.accept_once(seen)
        bridge.wall += years * YEAR_S
        devices.accept_once(Signature(key.public_id, int(bridge.wall), "other"))
        bridge.wall -= years * YEAR_S
        with pytest.raises(NotAuthenticated) as caught:
            devices.accept_once(seen)
        assert caught.value.code == "request_replayed"
        for number in range(4):
            bridge.run(HOUR_S)
            devices.accept_once(Signature(key.public_id, int(bridge.wall), f"later-{number}"))
        bridge.run(3 * HOUR_S)
        devices.accept_once(Signature(key.public_id, int(bridge.wall), "last"))
        kept = {row["nonce"] for row in bridge.database.rows("SELECT nonce FROM nonces")}
        # What was signed ahead of the clock could be good again once the clock gets there.
        assert kept == ({"last", "other"} if years > 0 else {"last"})


@pytest.mark.parametrize("hours", [3, 5, 24])
def test_a_signed_request_is_not_good_again_when_a_clock_that_was_set_back_gets_there(hours):
    with machine() as bridge:
        devices = DeviceRegistry(bridge.database, now=lambda: bridge.wall)
        key = DeviceKey(Ed25519PrivateKey.generate())
        devices.enroll("laptop", key.public_id)
        signed_at = bridge.wall
        seen = Signature(key.public_id, int(signed_at), "nonce")
        devices.accept_once(seen)
        bridge.wall -= hours * HOUR_S
        for number in range(hours * 2):
            bridge.run(HOUR_S / 2)
            devices.accept_once(Signature(key.public_id, int(bridge.wall), f"later-{number}"))
        assert bridge.wall == signed_at
        with pytest.raises(NotAuthenticated) as caught:
            devices.accept_once(seen)
        assert caught.value.code == "request_replayed"
        for number in range(6):
            bridge.run(HOUR_S)
            devices.accept_once(Signature(key.public_id, int(bridge.wall), f"last-{number}"))
        assert not bridge.database.rows("SELECT * FROM nonces WHERE nonce NOT LIKE 'last-%'")


def test_many_may_open_a_new_database_at_once(tmp_path: Path):
    for number in range(3):
        path, ready = tmp_path / f"{number}.db", Barrier(8)

        def open_it(_: int, path: Path = path, ready: Barrier = ready) -> BridgeDatabase:
            ready.wait()
            return BridgeDatabase(path)

        with ThreadPoolExecutor(8) as pool:
            opened = list(pool.map(open_it, range(8)))
        assert {database.row("PRAGMA journal_mode")["journal_mode"] for database in opened} == {"wal"}
        for database in opened:
            database.close()
