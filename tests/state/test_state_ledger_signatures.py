"""The ledger's signatures: what someone with the database, or even with all but one key, cannot do unseen."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloud_bridge.device_key import DeviceKey
from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.problems import Broken, InvalidRequest, Problem
from edge_agent.cli import ledger as command
from edge_agent.state import ledger, ledger_signatures
from edge_agent.state.event import START
from edge_agent.state.ledger_signatures import Head
from edge_agent.state.state import State

OTHER_KEY = "A" * 43


def depart(state: State, number: int) -> str:
    departure = Departure("acme", "https://acme.example/v1", b"body %d" % number)
    return state.record_departure("s", f"d{number}", departure)


@pytest.fixture
def three(state: State) -> list[str]:
    return [depart(state, number) for number in range(3)]


@pytest.fixture
def run(home: Path) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(command.app, arguments, env={"EDGE_AGENT_HOME": str(home)})
        if isinstance(result.exception, Problem):
            raise result.exception
        return result

    return run


def problem_of(check: Callable[[], object]) -> Broken:
    with pytest.raises(Broken) as caught:
        check()
    assert caught.value.code == "ledger_altered"
    assert caught.value.hint
    return caught.value


def with_file(home: Path, script: str) -> None:
    with sqlite3.connect(home / "state.db") as db:
        db.executescript(f"PRAGMA foreign_keys = OFF; DROP TRIGGER IF EXISTS events_are_kept; {script}")
    db.close()


def cut_off_the_newest(state: State, home: Path, entry_id: str) -> None:
    """What only someone with the master key, too, can do: the record of the newest entry fits again."""
    with_file(
        home,
        f"DELETE FROM ledger WHERE id = '{entry_id}'; DELETE FROM events WHERE id = '{entry_id}'",  # noqa: S608 - that is the point
    )
    with state._log.transaction() as tx:
        seq, link = tx.db.execute("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
        tx.db.execute(
            "UPDATE ledger_head SET seq = ?, hash = ?, mac = ?", (seq, link, ledger._mac(state._log, seq, link))
        )


def test_every_entry_is_signed_with_the_key_that_signs_requests(state: State, home: Path, three: list[str]) -> None:
    key = DeviceKey.load_or_create(home / "keys" / "device.key").public_id
    assert {entry.signed_by for entry in state.ledger()} == {key}
    assert state.verify_ledger(public_key=key) == 3
    assert "not signed with the key" in str(problem_of(lambda: state.verify_ledger(public_key=OTHER_KEY)))


@pytest.mark.parametrize(
    "script",
    [
        "DELETE FROM ledger_signatures WHERE seq = 2",
        "UPDATE ledger_signatures SET signature = zeroblob(64) WHERE seq = 2",
        "UPDATE ledger_signatures SET signature = 'text' WHERE seq = 2",
        "DELETE FROM ledger_signatures WHERE seq = 2; UPDATE ledger_signatures SET seq = 2 WHERE seq = 3",
    ],
)
def test_a_signature_that_is_lost_or_wrong_is_named(state: State, home: Path, three: list[str], script: str) -> None:
    with_file(home, script)
    assert "number 2" in str(problem_of(state.verify_ledger))


def test_rebuilding_the_views_keeps_the_signatures(state: State, three: list[str]) -> None:
    state.rebuild()
    assert state.verify_ledger() == 3


def test_an_end_that_was_cut_off_by_someone_with_the_master_key_shows_by_an_older_head(
    state: State, home: Path, three: list[str]
) -> None:
    kept = state.ledger_head()
    cut_off_the_newest(state, home, three[2])
    assert state.verify_ledger() == 2  # nothing on the device tells
    assert "number 3 was removed since the head was exported" in str(problem_of(lambda: state.verify_ledger(kept=kept)))
    depart(state, 7)  # another one in its place
    assert "number 3, or one before it, was altered" in str(problem_of(lambda: state.verify_ledger(kept=kept)))


def test_a_head_holds_while_the_ledger_grows(state: State, three: list[str]) -> None:
    kept = state.ledger_head()
    depart(state, 3)
    assert state.verify_ledger(kept=kept, public_key=kept.public_key) == 4
    assert (kept.seq, kept.device) == (3, state.device)


def test_an_empty_ledger_has_a_head(state: State) -> None:
    kept = state.ledger_head()
    assert (kept.seq, kept.hash) == (0, START)
    depart(state, 0)
    assert state.verify_ledger(kept=kept) == 1


def test_the_commands_export_a_head_and_check_by_it(
    state: State, three: list[str], run: Callable[..., Result], tmp_path: Path
) -> None:
    exported = run("head", "--json").output
    head = json.loads(exported)
    assert set(head) == {"device", "seq", "hash", "signature", "public_key"}
    assert head["hash"] in run("head").output
    (tmp_path / "head.json").write_text(exported)
    depart(state, 3)
    checked = run("verify", "--head", str(tmp_path / "head.json"), "--public-key", head["public_key"], "--json")
    assert json.loads(checked.output) == {"entries": 4, "intact": True}


@pytest.mark.parametrize(
    "changed",
    [
        {"seq": 2},
        {"hash": "0" * 64},
        {"device": "other"},
        {"public_key": OTHER_KEY},
        {"public_key": "short"},
        {"signature": "bm8="},
        {"signature": 3},
        {"more": 1},
    ],
)
def test_a_head_that_was_altered_is_no_head(
    state: State, three: list[str], run: Callable[..., Result], tmp_path: Path, changed: dict[str, Any]
) -> None:
    file = tmp_path / "head.json"
    file.write_text(json.dumps({**state.ledger_head().to_json(), **changed}))
    with pytest.raises(InvalidRequest) as caught:
        run("verify", "--head", str(file))
    assert caught.value.code == "bad_head"
    assert "ledger head --json" in caught.value.hint


@pytest.mark.parametrize("content", [None, "no json", "[1]"])
def test_a_file_that_is_no_head_is_named(
    state: State, run: Callable[..., Result], tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "head.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidRequest, match=r"head\.json"):
        run("verify", "--head", str(file))


def test_another_devices_head_is_refused(state: State, home: Path, three: list[str]) -> None:
    key = DeviceKey.load_or_create(home / "keys" / "device.key")
    signature = base64.b64encode(ledger_signatures.signed(key, "other", 3, "0" * 64)).decode()
    other = Head.from_json(Head("other", 3, "0" * 64, signature, key.public_id).to_json())
    with pytest.raises(InvalidRequest) as caught:
        state.verify_ledger(kept=other)
    assert caught.value.code == "bad_head"


def test_without_a_key_that_can_be_read_nothing_is_recorded(state: State, home: Path, three: list[str]) -> None:
    (home / "keys" / "device.key").write_text("no key")
    with pytest.raises(Broken) as caught:
        depart(state, 3)
    assert caught.value.code == "device_key_unreadable"
    assert len(state.ledger()) == 3


def depart_unsigned(state: State, seq: int, previous: str) -> str:
    """An entry as it was recorded before there were signatures. Returns its link."""
    meta = {"seq": seq, "previous": previous, "decision_id": "d", "provider": "acme", "url": "u", "bytes": 4}
    with state._log.transaction() as tx:
        event = tx.append("ledger.departed", "s", b"body", meta=meta)
        (link,) = tx.db.execute("SELECT hash FROM ledger WHERE id = ?", (event.id,)).fetchone()
        mac = ledger._mac(state._log, seq, link)
        tx.db.execute("INSERT OR REPLACE INTO ledger_head VALUES (1, ?, ?, ?)", (seq, link, mac))
    return str(link)


def test_a_home_from_before_there_were_signatures_holds_and_is_signed_from_now_on(
    state: State, home: Path, open_at: Any
) -> None:
    link = depart_unsigned(state, 2, depart_unsigned(state, 1, START))
    state.close()
    with_file(home, "DROP TABLE ledger_signatures; DELETE FROM _sqlite_migrations WHERE name LIKE 'm003%'")
    brought_forward = open_at()
    assert brought_forward.verify_ledger() == 2
    kept = brought_forward.ledger_head()
    assert kept.hash == link
    depart(brought_forward, 3)
    assert brought_forward.verify_ledger(public_key=kept.public_key, kept=kept) == 3
    assert [entry.signed_by for entry in brought_forward.ledger()] == [kept.public_key, None, None]


def test_an_unsigned_entry_after_a_signed_one_is_named(state: State, three: list[str]) -> None:
    depart_unsigned(state, 4, state.ledger_head().hash)
    assert "number 4" in str(problem_of(state.verify_ledger))
