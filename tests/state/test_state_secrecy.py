"""Nothing that was said is in the files in the clear, and forgetting holds."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from cloud_bridge.protocol.envelope import Departure
from cloud_bridge.protocol.problems import Broken, Conflict, NotFound, Unavailable
from edge_agent.state import sessions
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.retention import forget_untouched
from edge_agent.state.state import State

SECRETS = ("Wilhelmina Achterberg", "w.achterberg@example.org", "NL91ABNA0417164300")
ENTRIES = [
    StoredMapping("<PERSON_1>", "PERSON", SECRETS[0]),
    StoredMapping("<EMAIL_ADDRESS_1>", "EMAIL_ADDRESS", SECRETS[1]),
    StoredMapping("<IBAN_CODE_1>", "IBAN_CODE", SECRETS[2]),
]


def raw(home: Path) -> bytes:
    """Every byte of the home but the master key."""
    files = [path for path in home.rglob("*") if path.is_file() and path.name != "master.key"]
    assert {"state.db", "state.db-wal"} <= {path.name for path in files}
    return b"".join(path.read_bytes() for path in files)


@pytest.fixture
def spoken(state: State, talk: Any, report: Any, escalation: Any) -> State:
    text = f"I am {SECRETS[0]}, {SECRETS[1]}, {SECRETS[2]}."
    state.add("s", ENTRIES)
    request_id = state.accept_request("s", talk(text), {"note": text})
    state.enqueue(escalation("k", "s", text), "offline", request_id=request_id)
    state.record_departure("s", "d", Departure("p", "https://p.example", text.encode()))
    state.finish_request(request_id, f"Hello {text}", report(note=text))
    state.finish_job(state.claim_next(9e9).id, text)
    state.append("opinion", "s", {"text": text})
    return state


def test_no_value_is_in_the_files(spoken: State, home: Path) -> None:
    content = raw(home)
    for secret in SECRETS:
        for form in (secret, secret.split()[0], secret.lower(), secret.replace(" ", "")):
            assert form.encode() not in content
            assert form.encode("utf-16-le") not in content


def test_files_are_for_their_owner_only(spoken: State, home: Path) -> None:
    assert home.stat().st_mode & 0o777 == 0o700
    for path in home.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_mappings_come_back_in_order_and_only_in_their_session(spoken: State, open_at: Any) -> None:
    spoken.add("s", [StoredMapping("<PERSON_2>", "PERSON", "Ada")])
    spoken.add("s", [])
    loaded = open_at().load("s")
    assert loaded == [*ENTRIES, StoredMapping("<PERSON_2>", "PERSON", "Ada")]
    assert open_at().load("other") == []
    assert SECRETS[0] not in repr(loaded)


def test_forgetting_leaves_nothing_that_can_be_read(spoken: State, open_at: Any, home: Path) -> None:
    other = open_at()
    assert other.load("s")  # another process has the key in its memory
    with spoken._log.reading() as tx:
        _, wrapped = tx.key_row("s")
    assert wrapped in raw(home)
    events = spoken.events("s")

    spoken.forget("s")

    assert wrapped not in raw(home)  # the write-ahead file and free pages included
    for state in (spoken, other, open_at()):
        assert state.load("s") == []
        assert state.sessions() == []
        assert all(state.body(event) is None for event in events)
        with pytest.raises(NotFound) as caught:
            state.session("s")
        assert caught.value.code == "session_forgotten"
        with pytest.raises(NotFound):
            state.decision(state._log._db.execute("SELECT id FROM decisions").fetchone()[0])
        assert state.decisions() == []
        assert state.history("s") == []
    assert spoken.verify_ledger() == 1


def test_what_is_left_of_a_forgotten_session_opens_with_no_key_that_is_left(
    spoken: State, open_at: Any, home: Path
) -> None:
    spoken.add("t", ENTRIES)
    other = open_at()
    other.load("s")
    with spoken._log.reading() as tx:
        sealed = [(event, body) for event, body in tx.scan() if event.session_id == "s" and body is not None]
        _, wrapped = tx.key_row("s")
    assert len(sealed) > 5
    other.forget("s")
    files = {path.name: path.read_bytes() for path in home.glob("state.db*")}
    assert {"state.db", "state.db-wal", "state.db-shm"} <= files.keys()
    for name, content in files.items():
        assert wrapped not in content, name
        assert all(body not in content for _, body in sealed) or name == "state.db"
    with spoken._log.reading() as tx:
        keys = [
            (session_id, key_id, found)
            for session_id, key_id, found in tx.db.execute("SELECT session_id, id, wrapped FROM session_keys")
        ]
    assert [session_id for session_id, _, _ in keys] == ["t"]
    key = spoken._log.keys.unwrap(keys[0][2], keys[0][1], "t")
    for event, body in sealed:
        with pytest.raises(Broken):
            key.open(body, event.bound)


def test_forgetting_one_session_keeps_the_others(spoken: State, talk: Any) -> None:
    spoken.accept_request("t", talk("stay"))
    spoken.add("t", ENTRIES[:1])
    spoken.forget("s")
    assert spoken.load("t") == ENTRIES[:1]
    assert [session.id for session in spoken.sessions()] == ["t"]


def test_another_process_writes_under_the_new_key_after_forgetting(spoken: State, open_at: Any) -> None:
    other = open_at()
    other.load("s")
    spoken.forget("s")
    other.add("s", ENTRIES[:1])
    assert open_at().load("s") == ENTRIES[:1]


def test_values_of_work_that_began_before_a_forgetting_are_not_added_after_it(spoken: State, talk: Any) -> None:
    began = spoken.began("s")
    request_id = next(event.id for event in spoken.events("s") if event.kind == "request.accepted")
    assert began is not None
    assert began == spoken.began("s", request_id)
    spoken.add("s", ENTRIES[:1], began)

    spoken.forget("s")
    for _ in range(2):
        for each in (began, spoken.began("s", request_id)):
            with pytest.raises(Conflict) as caught:
                spoken.add("s", ENTRIES, each)
            assert caught.value.code == "session_forgotten"
        assert spoken.load("s") == []
        spoken.accept_request("s", talk("It begins anew."))


def test_a_session_that_has_nothing_yet_can_be_added_to(spoken: State) -> None:
    assert spoken.began("new") is None
    assert spoken.began("new", "no event") is None
    spoken.add("new", ENTRIES, None)
    assert spoken.load("new") == ENTRIES


def test_forgetting_reaches_the_copies_made_before_upgrades(spoken: State, home: Path) -> None:
    copy = home / "state.db.before-003"
    spoken._log._db.execute("VACUUM INTO ?", [str(copy)])
    with spoken._log.reading() as tx:
        _, wrapped = tx.key_row("s")
    assert wrapped in copy.read_bytes()
    spoken.forget("s")
    assert wrapped not in copy.read_bytes()


def _key_and_copy(state: State, home: Path) -> tuple[bytes, Path]:
    copy = home / "state.db.before-003"
    state._log._db.execute("VACUUM INTO ?", [str(copy)])
    with state._log.reading() as tx:
        row = tx.key_row("s")
    assert row is not None
    assert row[1] in copy.read_bytes()
    return row[1], copy


def test_a_process_that_ends_after_a_forgetting_leaves_no_key_in_the_copies(
    spoken: State, home: Path, open_at: Any
) -> None:
    wrapped, copy = _key_and_copy(spoken, home)
    with spoken.log.transaction() as tx:
        sessions.forget_in(tx, "s")
    assert wrapped in copy.read_bytes()
    open_at(owner=True)
    assert wrapped not in copy.read_bytes()


@pytest.mark.parametrize("by", ["forget", "retention"])
def test_a_reader_that_keeps_a_trace_keeps_no_key_in_the_copies(
    spoken: State, home: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    wrapped, copy = _key_and_copy(spoken, home)
    copy.with_name("state.db.before-002").write_bytes(b"no database at all, " * 100)

    def busy() -> None:
        raise Unavailable("busy", code="traces_left")

    with monkeypatch.context() as patched:
        patched.setattr(spoken.log, "erase_traces", busy)
        with pytest.raises(Unavailable):
            spoken.forget("s") if by == "forget" else forget_untouched(spoken.log, 1 << 45, 5)
    assert wrapped not in copy.read_bytes()
    with contextlib.suppress(NotFound):
        spoken.forget("s")
    assert not any(wrapped in each.read_bytes() for each in home.glob("state.db*"))
