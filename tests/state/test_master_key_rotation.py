"""A new master key: everything stays readable, nothing of the old one is left, and a kill at any step harms nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.problems import Broken, Conflict, Unavailable
from edge_agent.state.keys import KeyRing
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State

ENTRIES = [StoredMapping("<PERSON_1>", "PERSON", "Ada Lovelace")]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def used(state: State) -> State:
    for number in range(20):
        state.add(f"s{number}", ENTRIES)
    state.record_departure("s1", None, Departure("p", "https://p.example", b"body"))
    state.forget("s3")
    return state


@pytest.fixture
def owner(used: State, open_at: Any) -> State:
    return open_at(owner=True)


def wrapped_keys(state: State) -> list[bytes]:
    with state._log.reading() as tx:
        return [row[0] for row in tx.db.execute("SELECT wrapped FROM session_keys")]


def everything(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_a_new_key_opens_everything_and_the_old_one_nothing(owner: State, home: Path, open_at: Any) -> None:
    old_master = (home / "keys" / "master.key").read_bytes()
    old_wrapped, old_fingerprint = wrapped_keys(owner), owner.key_fingerprint
    assert HomeKey(home).rotate(owner) == 19
    for state in (owner, open_at()):
        assert state.key_fingerprint == HomeKey(home).find().fingerprint != old_fingerprint
        assert state.load("s7") == ENTRIES
        assert state.load("s3") == []
        assert state.verify_ledger() == 1
        assert state.ledger_entry(state.ledger()[0].id).body == b"body"
        state.add("after", ENTRIES)
    held = everything(home)
    assert old_master not in held
    assert [wrapped for wrapped in old_wrapped if wrapped in held] == []
    assert [path.name for path in (home / "keys").glob("*master*")] == ["master.key"]
    with pytest.raises(Broken) as caught:
        State.open(home / "state.db", KeyRing(old_master))
    assert caught.value.code == "wrong_master_key"


def test_another_process_that_still_has_the_old_key_writes_nothing(owner: State, home: Path, used: State) -> None:
    HomeKey(home).rotate(owner)
    for call in (lambda: used.add("late", ENTRIES), lambda: used.load("s1"), used.verify_ledger):
        with pytest.raises(Conflict) as caught:
            call()
        assert caught.value.code == "master_key_rotated"
        assert "again" in caught.value.hint
    assert owner.load("late") == []


def test_copies_made_before_upgrades_follow(owner: State, home: Path) -> None:
    copy = home / "state.db.before-003"
    owner._log._db.execute("VACUUM INTO ?", [str(copy)])
    damaged = home / "state.db.before-002"
    damaged.write_bytes(b"no database at all, " * 100)
    old_wrapped = wrapped_keys(owner)
    HomeKey(home).rotate(owner)
    assert [wrapped for wrapped in old_wrapped if wrapped in copy.read_bytes()] == []
    with State.open(copy, HomeKey(home).open()) as restored:
        assert restored.load("s5") == ENTRIES
        assert restored.verify_ledger() == 1


def test_a_copy_that_cannot_be_written_now_keeps_the_old_key_until_it_can(owner: State, home: Path) -> None:
    copy = home / "state.db.before-003"
    owner._log._db.execute("VACUUM INTO ?", [str(copy)])
    in_its_way = home / f"{copy.name}-journal"
    in_its_way.mkdir()
    with pytest.raises(Conflict) as caught:
        HomeKey(home).rotate(owner)
    assert caught.value.code == "old_key_left"
    assert copy.name in caught.value.message
    assert caught.value.hint.startswith(f"Make {copy} writable, or move it away, and run 'edge-agent vault")
    assert HomeKey(home).open().fingerprint == owner.key_fingerprint
    in_its_way.rmdir()
    HomeKey(home).settle(owner)
    assert HomeKey(home).is_settled()
    with State.open(copy, HomeKey(home).open()) as restored:
        assert restored.load("s5") == ENTRIES


def test_a_ledger_that_was_altered_is_not_made_good(owner: State, home: Path) -> None:
    with owner._log.transaction() as tx:
        tx.db.execute("UPDATE ledger_head SET mac = ?", ("0" * 64,))
    HomeKey(home).rotate(owner)
    with pytest.raises(Broken) as caught:
        owner.verify_ledger()
    assert caught.value.code == "ledger_altered"


def test_a_damaged_session_key_stops_the_rotation_and_changes_nothing(owner: State, home: Path) -> None:
    with owner._log.transaction() as tx:
        tx.db.execute("UPDATE session_keys SET wrapped = zeroblob(60) WHERE session_id = 's2'")
    fingerprint = owner.key_fingerprint
    with pytest.raises(Broken) as caught:
        HomeKey(home).rotate(owner)
    assert caught.value.code == "state_damaged"
    assert HomeKey(home).open().fingerprint == fingerprint == owner.key_fingerprint
    assert HomeKey(home).is_settled()
    assert owner.load("s7") == ENTRIES


def test_a_reader_that_does_not_end_leaves_traces_and_is_told(owner: State, home: Path, open_at: Any) -> None:
    reader = open_at()
    owner._log._db.execute("PRAGMA busy_timeout = 50")
    with reader._log.reading() as tx:
        tx.rows("SELECT * FROM events")
        with pytest.raises(Unavailable) as caught:
            owner.forget("s5")
        assert caught.value.code == "traces_left"
        with pytest.raises(Unavailable):
            HomeKey(home).rotate(owner)
    assert HomeKey(home).is_settled()
    assert HomeKey(home).open().fingerprint == owner.key_fingerprint
    assert owner.load("s7") == ENTRIES


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process that is killed is forked")
@pytest.mark.parametrize(("place", "change"), [("file", "rotate"), ("keyring", "rotate"), ("passphrase", "keyring")])
def test_killed_at_any_step_the_home_opens_with_the_old_key_or_the_new(tmp_path: Path, place: str, change: str) -> None:
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHON_KEYRING_BACKEND": "tests.state.disk_keyring.DiskKeyring",
    }
    command = [sys.executable, ROOT / "tests" / "state" / "killed_changes.py", tmp_path / "kills", place, change]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["steps"] > 8
    assert found["old"] > 3
    assert found["new"] > 3
