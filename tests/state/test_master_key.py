"""Where the master key lives: a file, the system's keyring, a passphrase; and what is said where it cannot be had."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import keyring
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keyring.backends.fail import Keyring as FailKeyring
from keyring.backends.null import Keyring as NullKeyring
from keyring.errors import KeyringLocked

from cloud_bridge.protocol.problems import Broken, Conflict, InvalidRequest, NotAuthenticated, Problem, Unavailable
from edge_agent.state.master_key.file_place import FilePlace
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.master_key.keyring_place import KeyringPlace
from edge_agent.state.master_key.passphrase import FILE, NEW_FILE, VARIABLE, Passphrase
from edge_agent.state.master_key.passphrase_place import PassphrasePlace
from edge_agent.state.state import State
from tests.state.disk_keyring import DiskKeyring

PASSPHRASE = "correct horse battery"
MakeKey = Callable[..., HomeKey]


@pytest.fixture
def system_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file behind a keyring that this system has for as long as the test runs."""
    path = tmp_path / "keyring.json"
    monkeypatch.setenv("DISK_KEYRING", str(path))
    before = keyring.get_keyring()
    keyring.set_keyring(DiskKeyring())
    yield path
    keyring.set_keyring(before)


@pytest.fixture
def key(home: Path) -> MakeKey:
    """The home's key, as a process finds it that was told `environ`; scrypt at a cost for tests."""

    def make(choice: str = "auto", ask: Callable[[str], str] | None = None, **environ: str) -> HomeKey:
        cheap = PassphrasePlace(Passphrase(environ, ask), cost=16)
        return HomeKey(home, choice=choice, keyring=KeyringPlace(), passphrase=cheap)

    return make


def problem_of(call: Callable[[], object], kind: type[Problem]) -> Problem:
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.hint
    return caught.value


def records(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "keys").iterdir())


def test_a_new_home_takes_the_keyring_where_there_is_one(key: MakeKey, home: Path, system_keyring: Path) -> None:
    made = key().open()
    assert records(home) == ["master.keyring"]
    (entry,) = json.loads(system_keyring.read_text()).values()
    record = (home / "keys" / "master.keyring").read_text()
    assert entry not in record
    assert key().open().fingerprint == made.fingerprint == key("keyring").open().fingerprint


@pytest.mark.parametrize("backend", [FailKeyring, NullKeyring])
def test_without_a_real_keyring_a_new_home_takes_the_file(key: MakeKey, home: Path, backend: type) -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(backend())
    try:
        key().open()
        assert records(home) == ["master.key"]
        other = key("keyring")
        (home / "keys" / "master.key").unlink()
        assert problem_of(other.open, Unavailable).code == "keyring_unavailable"
        assert records(home) == []
    finally:
        keyring.set_keyring(before)


def test_a_keyring_that_keeps_keys_in_plain_files_is_not_taken_unasked(
    key: MakeKey, home: Path, system_keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiskKeyring, "priority", 0.5)
    key().open()
    assert records(home) == ["master.key"]
    assert not system_keyring.exists()


def test_a_keyring_that_fails_leaves_a_new_home_with_the_file(key: MakeKey, home: Path, system_keyring: Path) -> None:
    system_keyring.with_name("keyring.json.locked").touch()
    key().open()
    assert records(home) == ["master.key"]
    assert problem_of(key("keyring").open, Conflict).code == "vault_elsewhere"


def test_a_locked_keyring_opens_nothing_and_says_so(key: MakeKey, home: Path, system_keyring: Path) -> None:
    fingerprint = key().open().fingerprint
    lock = system_keyring.with_name("keyring.json.locked")
    lock.touch()
    problem = problem_of(key().open, Unavailable)
    assert problem.code == "keyring_locked"
    assert "Unlock" in problem.hint
    assert KeyringLocked.__name__ in problem.message
    assert "planted" not in str(problem)
    lock.unlink()
    assert key().open().fingerprint == fingerprint


def test_a_key_that_the_keyring_lost_is_not_replaced(key: MakeKey, home: Path, system_keyring: Path) -> None:
    key().open()
    system_keyring.unlink()
    assert problem_of(key().open, Broken).code == "master_key_missing"
    assert not system_keyring.exists()


def test_homes_have_entries_of_their_own(tmp_path: Path, system_keyring: Path) -> None:
    keys = [HomeKey(tmp_path / name, keyring=KeyringPlace()) for name in ("one", "two")]
    assert len({one.open().fingerprint for one in keys}) == 2
    assert len(json.loads(system_keyring.read_text())) == 2


def test_without_the_package_the_keyring_is_named_and_the_file_taken(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['keyring'] = None\n"
        "from pathlib import Path\n"
        "from edge_agent.state.master_key.home_key import HomeKey, KeyringPlace\n"
        "home = Path(sys.argv[1])\n"
        "try: HomeKey(home, choice='keyring', keyring=KeyringPlace()).open()\n"
        "except Exception as error: print(error.code, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("keyring_missing Run: pip install 'edge-agent[keyring]'")


def test_a_passphrase_opens_what_it_closed(key: MakeKey, home: Path, tmp_path: Path) -> None:
    made = key("passphrase", **{VARIABLE: PASSPHRASE}).open()
    assert records(home) == ["master.passphrase"]
    record = home / "keys" / "master.passphrase"
    assert record.stat().st_mode & 0o777 == 0o600
    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\n")
    for opened in (key(**{FILE: str(file)}), key(ask=lambda prompt: PASSPHRASE)):
        assert opened.open().fingerprint == made.fingerprint
    assert PASSPHRASE not in record.read_text()


def test_a_person_is_asked_once_and_twice_for_a_new_one(key: MakeKey, home: Path) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return PASSPHRASE

    key("passphrase", ask=ask).open()
    assert len(asked) == 2
    opener = key(ask=ask)
    opener.open()
    opener.open()
    assert len(asked) == 3


@pytest.mark.parametrize("written", ["u\u0308ber den Wolken", "\u00fcber den Wolken"])
def test_a_passphrase_is_the_same_on_every_keyboard(key: MakeKey, written: str) -> None:
    made = key("passphrase", **{VARIABLE: "\u00fcber den Wolken"}).open()
    assert key(**{VARIABLE: written}).open().fingerprint == made.fingerprint


def test_a_passphrase_that_is_missing_wrong_or_weak_is_told_apart(key: MakeKey, home: Path, tmp_path: Path) -> None:
    short = problem_of(key("passphrase", **{VARIABLE: "seven77"}).open, InvalidRequest)
    assert short.code == "passphrase_too_short"
    answers = iter([PASSPHRASE, "another one"])
    differ = problem_of(key("passphrase", ask=lambda prompt: next(answers)).open, InvalidRequest)
    assert differ.code == "passphrases_differ"
    assert not (home / "keys").exists()

    key("passphrase", **{VARIABLE: PASSPHRASE}).open()
    missing = problem_of(key().open, NotAuthenticated)
    assert (missing.code, FILE in missing.hint) == ("passphrase_missing", True)
    wrong = problem_of(key(**{VARIABLE: "correct horse batterie"}).open, NotAuthenticated)
    assert wrong.code == "wrong_passphrase"
    assert "batterie" not in str(wrong)
    for content in (None, b"", b"\n", b"x" * 70_000):
        file = tmp_path / "passphrase"
        if content is not None:
            file.write_bytes(content)
        unreadable = problem_of(key(**{FILE: str(file)}).open, InvalidRequest)
        assert unreadable.code == "passphrase_unreadable"
        assert str(file) in unreadable.message


def test_a_record_that_was_altered_opens_nothing(key: MakeKey, home: Path) -> None:
    key("passphrase", **{VARIABLE: PASSPHRASE}).open()
    record = home / "keys" / "master.passphrase"
    fields = json.loads(record.read_text())
    for name, value in (("n", 2**40), ("n", 3), ("n", "many"), ("kdf", "none"), ("salt", "zz"), ("nonce", "00")):
        record.write_text(json.dumps({**fields, name: value}))
        assert problem_of(key(**{VARIABLE: PASSPHRASE}).open, Broken).code == "master_key_damaged"
    for name in ("wrapped", "salt", "fingerprint"):
        altered = fields[name][:-2] + ("00" if fields[name][-2:] != "00" else "11")
        record.write_text(json.dumps({**fields, name: altered}))
        assert problem_of(key(**{VARIABLE: PASSPHRASE}).open, NotAuthenticated).code == "wrong_passphrase"
    for content in ("[]", "{", ""):
        record.write_text(content)
        assert problem_of(key(**{VARIABLE: PASSPHRASE}).open, Broken).code == "master_key_damaged"


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=8, max_size=40), st.text(min_size=1, max_size=40))
def test_only_the_passphrase_itself_opens(said: str, other: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "keys" / "record"
        PassphrasePlace(Passphrase({VARIABLE: said}, None), cost=2).keep(record, b"m" * 32)
        assert PassphrasePlace(Passphrase({VARIABLE: said}, None)).read(record) == b"m" * 32
        if unicodedata.normalize("NFC", said) != unicodedata.normalize("NFC", other):
            with pytest.raises(NotAuthenticated):
                PassphrasePlace(Passphrase({VARIABLE: other}, None)).read(record)


FIELDS = {"kdf": "scrypt", "n": 2, "r": 8, "p": 1, "salt": "00" * 16, "nonce": "00" * 12, "wrapped": "00" * 48}
junk = st.none() | st.integers(-2, 2**70) | st.text(max_size=8) | st.floats() | st.lists(st.integers(), max_size=2)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.dictionaries(st.sampled_from([*FIELDS, "fingerprint", "account"]), junk))
@example({"n": math.inf})
@example({"n": 2.5})
@example({"p": True})
@example({"n": 2**70})
@example({"salt": "\ud800"})
def test_any_rubbish_in_a_record_ends_in_a_clear_problem(written: bytes | dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record"
        whole = {**FIELDS, "fingerprint": "f", **written} if isinstance(written, dict) else None
        record.write_bytes(written if isinstance(written, bytes) else json.dumps(whole).encode())
        for place in (PassphrasePlace(Passphrase({VARIABLE: PASSPHRASE}, None)), FilePlace()):
            if place.fingerprint(record) is None:
                problem_of(partial(place.read, record), Broken)
            elif isinstance(place, PassphrasePlace):
                problem_of(partial(place.read, record), Problem)
        KeyringPlace().fingerprint(record)


def test_a_key_elsewhere_than_the_settings_say_is_refused(key: MakeKey, home: Path, system_keyring: Path) -> None:
    key("file").open()
    problem = problem_of(key("keyring").open, Conflict)
    assert problem.code == "vault_elsewhere"
    assert "edge-agent vault move keyring" in problem.hint
    assert '[vault] key = "file"' in problem.hint


def test_a_key_moves_from_place_to_place_and_leaves_nothing(key: MakeKey, home: Path, system_keyring: Path) -> None:
    told = {VARIABLE: PASSPHRASE}
    with State.open(home / "state.db", key("file").open(), owner=True) as state:
        state.append("hello", "s", {})
        master = (home / "keys" / "master.key").read_bytes()
        for to in ("keyring", "passphrase", "file", "passphrase", "keyring", "file"):
            mover = key(**told)
            assert mover.move(state, to)
            assert to == "passphrase" or not mover.move(state, to)
            names = {"keyring": "master.keyring", "passphrase": "master.passphrase", "file": "master.key"}
            assert records(home) == [names[to]]
            held = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
            assert (master in held) == (to == "file")
            entries = json.loads(system_keyring.read_text())
            assert list(entries.values()) == ([master.hex()] if to == "keyring" else [])
            assert key(**told).open().fingerprint == state.key_fingerprint


def test_another_passphrase_replaces_the_first(key: MakeKey, home: Path, tmp_path: Path) -> None:
    told = {VARIABLE: PASSPHRASE}
    with State.open(home / "state.db", key("passphrase", **told).open(), owner=True) as state:
        missing = problem_of(lambda: key(**told).move(state, "passphrase"), NotAuthenticated)
        assert NEW_FILE in missing.hint
        (tmp_path / "new").write_text("a quite different one")
        assert key(**told, **{NEW_FILE: str(tmp_path / "new")}).move(state, "passphrase")
        assert records(home) == ["master.passphrase"]
        assert problem_of(key(**told).open, NotAuthenticated).code == "wrong_passphrase"
        assert key(**{VARIABLE: "a quite different one"}).open().fingerprint == state.key_fingerprint


def test_a_move_to_a_keyring_that_does_not_work_changes_nothing(key: MakeKey, home: Path, system_keyring: Path) -> None:
    with State.open(home / "state.db", key("file").open(), owner=True) as state:
        system_keyring.with_name("keyring.json.locked").touch()
        assert problem_of(lambda: key().move(state, "keyring"), Unavailable).code == "keyring_locked"
        assert records(home) == ["master.key"]
        assert key().open().fingerprint == state.key_fingerprint


def test_an_old_key_that_cannot_be_removed_is_told_and_removed_later(
    key: MakeKey, home: Path, system_keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with State.open(home / "state.db", key().open(), owner=True) as state:

        def refuse(*_: object) -> None:
            raise KeyringLocked

        with monkeypatch.context() as patch:
            patch.setattr(DiskKeyring, "delete_password", refuse)
            problem = problem_of(lambda: key().move(state, "file"), Conflict)
            assert problem.code == "old_key_left"
            assert problem_of(lambda: key().rotate(state), Conflict).code == "old_key_left"
            assert not key().is_settled()
        assert key("file").open().fingerprint == state.key_fingerprint
        key().settle(state)
        assert key().is_settled()
        assert json.loads(system_keyring.read_text()) == {}


def test_a_key_file_is_repaired_to_be_its_owners_only(key: MakeKey, home: Path) -> None:
    key().open()
    path = home / "keys" / "master.key"
    for mode in (0o644, 0o640, 0o666, 0o604):
        path.chmod(mode)
        key().open()
        assert path.stat().st_mode & 0o777 == 0o600


def test_no_key_is_in_what_is_printed(home: Path) -> None:
    ring = HomeKey(home).open()
    master = (home / "keys" / "master.key").read_bytes()
    shown = f"{ring!r} {ring} {HomeKey(home)!r} {HomeKey(home).find()!r} {Passphrase({VARIABLE: PASSPHRASE}, None)!r}"
    assert master.hex() not in shown
    assert repr(master)[2:-1] not in shown
    assert PASSPHRASE not in shown
    assert os.environ.get(VARIABLE) is None
