"""Opening a home: schema, ownership, damage, keys."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from cloud_bridge.protocol.problems import Broken, Conflict
from edge_agent.state import migrations
from edge_agent.state.database import connect
from edge_agent.state.keys import KeyRing
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.state import State


def test_each_migration_is_recorded(state: State, home: Path) -> None:
    db = Database(str(home / "state.db"))
    applied = [migration.name for migration in migrations.schema().applied(db)]
    assert applied == [
        *("m001_log", "m002_views", "m003_ledger_signatures", "m004_checks"),
        *("m005_cached_answers", "m006_routing_facts", "m007_sync"),
        *("m008_outbox", "m010_choices"),
    ]
    db.close()
    assert migrations.backups(home / "state.db") == []  # nothing to lose yet


def test_an_older_database_is_brought_forward_after_a_copy(home: Path, tmp_path: Path) -> None:
    path = home / "state.db"
    db = connect(path)
    migrations.schema().apply(Database(db), stop_before="m002_views")
    db.close()
    with State.open(path, KeyRing(b"m" * 32)) as state:
        state.append("hello", "s", {})
    (copy,) = migrations.backups(path)
    assert copy.name == "state.db.before-002"
    assert copy.stat().st_mode & 0o777 == 0o600
    old = sqlite3.connect(copy)
    assert [name for (name,) in old.execute("SELECT name FROM _sqlite_migrations")] == ["m001_log"]
    old.close()


@pytest.mark.parametrize("is_older", [True, False])
def test_a_copy_that_was_cut_off_is_removed(home: Path, *, is_older: bool) -> None:
    path = home / "state.db"
    db = connect(path)
    migrations.schema().apply(Database(db), stop_before="m002_views" if is_older else None)
    db.close()
    left = [home / f"state.db.before-002.4711.part{end}" for end in ("", "-journal")]
    for each in left:
        each.write_bytes(b"wrapped keys")
    State.open(path, KeyRing(b"m" * 32)).close()
    assert not any(each.exists() for each in left)
    assert len(migrations.backups(path)) == is_older


def test_a_copy_that_fails_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "state.db"
    db = connect(path)
    migrations.schema().apply(Database(db), stop_before="m002_views")

    def full(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        migrations.migrate(db, path)
    db.close()
    assert {each.name for each in home.iterdir() if each.name.startswith("state.db.")} == set()


def test_a_migration_that_fails_leaves_the_database_as_it_was(home: Path) -> None:
    db = connect(home / "state.db")
    db.execute("CREATE TABLE sessions (surprise TEXT)")
    with pytest.raises(sqlite3.OperationalError):
        migrations.migrate(db, home / "state.db")
    assert set(Database(db).table_names()) == {"sessions"}
    db.close()


def test_a_newer_schema_is_refused_and_untouched(state: State, home: Path) -> None:
    path = home / "state.db"
    with sqlite3.connect(path) as db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES"
            " ('edge_agent.state', 'm999_from_the_future', '')"
        )
    db.close()
    with pytest.raises(Conflict) as caught:
        State.open(path, HomeKey(home).open())
    assert caught.value.code == "schema_newer"
    assert "m999_from_the_future" in caught.value.message
    assert "Upgrade" in caught.value.hint


def test_many_may_open_a_new_home_at_once(home: Path) -> None:
    def open_and_write(index: int) -> str:
        with State.open(home / "state.db", HomeKey(home).open()) as state:
            state.append("hello", f"s{index}", {})
            return state.device

    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(open_and_write, range(12)))) == 1


def test_a_new_file_that_another_is_writing_is_waited_for(home: Path) -> None:
    """Another program that begins with the same file holds it for a moment."""
    home.mkdir(parents=True, exist_ok=True)
    other = sqlite3.connect(home / "state.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    waited = threading.Timer(0.3, other.rollback)
    waited.start()
    State.open(home / "state.db", HomeKey(home).open()).close()
    waited.join()
    other.close()


def test_one_daemon_owns_a_home_and_commands_may_look_in(open_at: Any, home: Path) -> None:
    owner = open_at(owner=True)
    with pytest.raises(Conflict) as caught:
        open_at(owner=True)
    assert caught.value.code == "home_in_use"
    assert "EDGE_AGENT_HOME" in caught.value.hint
    open_at().append("hello", "s", {})
    assert len(owner.events("s")) == 1
    owner.close()
    open_at(owner=True)


def test_another_key_is_refused(state: State, home: Path) -> None:
    with pytest.raises(Broken) as caught:
        State.open(home / "state.db", KeyRing(b"x" * 32))
    assert caught.value.code == "wrong_master_key"
    assert "keys folder" in caught.value.hint


def test_what_is_no_database_is_named(home: Path) -> None:
    home.mkdir()
    keys = HomeKey(home).open()
    (home / "state.db").write_bytes(b"this is not a database, " * 100)
    with pytest.raises(Broken) as caught:
        State.open(home / "state.db", keys)
    assert caught.value.code == "state_damaged"
    assert "backup" in caught.value.hint


def test_damage_is_found_when_the_daemon_starts(state: State, home: Path, talk: Any) -> None:
    for index in range(30):
        state.accept_request("s", talk(f"text {index} " * 50))
    state._log.erase_traces()
    state.close()
    path = home / "state.db"
    content = bytearray(path.read_bytes())
    assert len(content) > 10 * 4096
    for page in range(3, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(Broken) as caught:
        State.open(path, HomeKey(home).open(), owner=True)
    assert caught.value.code == "state_damaged"
    # The failed start holds nothing: the home can be mended and opened.
    shutil.move(path, path.with_name("broken.db"))
    State.open(path, HomeKey(home).open(), owner=True).close()


def test_what_must_survive_is_configured_to(state: State) -> None:
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
    found = {pragma: state._log._db.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


def test_a_failed_transaction_leaves_nothing(state: State) -> None:
    def half() -> None:
        with state._log.transaction() as tx:
            tx.append("mapping.added", "s", b"{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert state.events("s") == []
    assert state.sessions() == []
    state.append("hello", "s", {})
    assert [event.seq for event in state.events("s")] == [1]
