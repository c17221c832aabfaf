"""Kills a change of the master key before each of its steps, in a process of its own, and opens the home afterwards.

    python killed_changes.py FOLDER FROM rotate|TO

Prints one JSON object: how often the old and the new key opened the home, or stops at the first that does not hold.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.envelope import Departure
from edge_agent.state.keys import KeyRing
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.master_key.home_key import HomeKey
from edge_agent.state.master_key.keyring_place import KeyringPlace
from edge_agent.state.master_key.passphrase import FILE, NEW_FILE, Passphrase
from edge_agent.state.master_key.passphrase_place import PassphrasePlace
from edge_agent.state.state import State

CHANGES_FILES = {"link", "unlink", "replace"}
CHANGES_DATABASES = {"_begun", "rekey", "rekey_copy", "reseal_head", "erase_traces"}
"""The functions whose statements do."""
ENTRIES = [StoredMapping("<PERSON_1>", "PERSON", "Ada Lovelace")]


def home_key(home: Path, choice: str = "auto") -> HomeKey:
    environ = {FILE: str(home.parent / "passphrase"), NEW_FILE: str(home.parent / "new")}
    cheap = PassphrasePlace(Passphrase(environ, None), cost=16)
    return HomeKey(home, choice=choice, keyring=KeyringPlace(), passphrase=cheap)


def prepare(home: Path, place: str) -> None:
    (home.parent / "passphrase").write_text("correct horse\n")
    (home.parent / "new").write_text("correct horse\n")
    with State.open(home / "state.db", home_key(home, place).open()) as state:
        state.add("s", ENTRIES)
        state.record_departure("s", None, Departure("p", "https://p.example", b"body"))
        with closing(sqlite3.connect(home / "state.db")) as db:
            db.execute("VACUUM INTO ?", [str(home / "state.db.before-002")])


def change(home: Path, to: str, count: Any) -> None:
    key = home_key(home)
    with State.open(home / "state.db", key.open(), owner=True) as state:
        sys.setprofile(count)
        key.rotate(state) if to == "rotate" else key.move(state, to)
        sys.setprofile(None)


def is_step(caller: str, called: Any) -> bool:
    if called.__module__ in {"posix", "os"}:
        return called.__name__ in CHANGES_FILES
    return caller in CHANGES_DATABASES and called.__name__.startswith("execute")


def killed_before(step: int, home: Path, to: str) -> bool:
    """Whether the change got as far as that step, and was killed there."""
    child = os.fork()
    if child == 0:
        left = step

        def count(frame: Any, event: str, what: Any) -> None:
            nonlocal left
            if event == "c_call" and is_step(frame.f_code.co_name, what):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        change(home, to, count)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in {0, signal.SIGKILL}, status
    return status == signal.SIGKILL


def opened(home: Path, *, owner: bool) -> str:
    """What opens the home; all that was kept is there, and more can be kept."""
    key = home_key(home)
    with State.open(home / "state.db", key.open(), owner=owner) as state:
        if owner:
            key.settle(state)
        assert state.load("s") == ENTRIES
        assert state.verify_ledger() == 1
        if owner:
            state.add("new", ENTRIES)
            assert state.load("new") == ENTRIES
        return state.key_fingerprint


def check_settled(home: Path, fingerprint: str) -> None:
    key = home_key(home)
    assert key.is_settled()
    left = [path.name for path in (home / "keys").iterdir() if "master" in path.name]
    assert len(left) == 1, left
    found = key.find()
    assert found.fingerprint == fingerprint
    path = Path(os.environ["DISK_KEYRING"])
    entries = json.loads(path.read_text()) if path.exists() else {}
    assert len(entries) == (found.place.name == "keyring"), entries
    with closing(sqlite3.connect(home / "state.db.before-002")) as copy:
        ring = KeyRing(found.place.read(found.record))
        assert copy.execute("SELECT value FROM facts WHERE name = 'master_key'").fetchone()[0] == fingerprint
        for session_id, key_id, wrapped in copy.execute("SELECT session_id, id, wrapped FROM session_keys"):
            ring.unwrap(wrapped, key_id, session_id)


def main(folder: Path, place: str, to: str) -> None:
    os.environ["DISK_KEYRING"] = str(folder / "work" / "keyring.json")
    (folder / "work").mkdir(parents=True)
    prepare(folder / "work" / "home", place)
    (folder / "work").rename(folder / "before")
    found = {"old": 0, "new": 0}
    old, step, was_killed = None, 0, True
    while was_killed:
        step += 1
        shutil.rmtree(folder / "work", ignore_errors=True)
        shutil.copytree(folder / "before", folder / "work")
        home = folder / "work" / "home"
        old = old or home_key(home).find().fingerprint
        was_killed = killed_before(step, home, to)
        fingerprint = opened(home, owner=False)
        assert opened(home, owner=True) == fingerprint
        check_settled(home, fingerprint)
        at = home_key(home).find().place.name
        found["old" if (fingerprint, at) == (old, place) else "new"] += 1
    json.dump({"steps": step, **found}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
