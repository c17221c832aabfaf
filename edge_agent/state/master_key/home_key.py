"""The master key of one home: opened, made, replaced, moved.

A change is written beside what it replaces:

    1 the new key, or the key in its new place, as `<record>.next`
    2 the database, in one transaction: session keys wrapped anew, the ledger's head and the key's fingerprint with them
    3 the copies made before upgrades, each in one transaction
    4 the old record becomes `<record>.old`, and `.next` takes its place
    5 the old key is overwritten and removed

The database's fingerprint says which key counts, so a process may be killed anywhere: before 2 has ended the old key
opens the home, afterwards the new one, and the home's next owner finishes or undoes the rest (`settle`).
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from cloud_bridge.protocol.problems import Broken, Conflict, Problem
from edge_agent.state import rekey
from edge_agent.state.database import connect, readable_errors
from edge_agent.state.keys import KEY_BYTES, KeyRing
from edge_agent.state.master_key import record as records
from edge_agent.state.master_key.file_place import FilePlace
from edge_agent.state.master_key.keyring_place import KeyringPlace
from edge_agent.state.master_key.passphrase_place import PassphrasePlace
from edge_agent.state.master_key.place import Choice, Place, PlaceName
from edge_agent.state.migrations import backups
from edge_agent.state.state import State

_NEXT, _OLD = ".next", ".old"
_PASSING = frozenset({"state_busy", "disk_full", "state_unwritable"})
"""Codes of problems with a copy that is whole: it is written when they are over."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A key that a place keeps for the home."""

    place: Place
    record: Path

    @property
    def fingerprint(self) -> str | None:
        """The key's, without unlocking it; None where the record is damaged."""
        return self.place.fingerprint(self.record)


class HomeKey:
    """Where the home's master key is. `choice` is where it shall be: a key that is elsewhere is refused.

    Nothing is kept in memory between calls. What changes the home (`settle`, `rotate`, `move`) is for its owner:
    the `state` passed in is open with `owner=True`.
    """

    def __init__(
        self,
        home: Path,
        *,
        choice: Choice = "auto",
        keyring: KeyringPlace | None = None,
        passphrase: PassphrasePlace | None = None,
    ) -> None:
        """Places that are not given are not used: without a passphrase's place there is none to ask for."""
        self._folder = home / "keys"
        self._database = home / "state.db"
        self._choice = choice
        self._file = FilePlace()
        self._keyring = keyring
        self._places: dict[PlaceName, Place] = {
            place.name: place for place in (self._file, keyring, passphrase) if place is not None
        }

    def open(self) -> KeyRing:
        """The key, made now in a home that has no state yet.

        Raises Problem: `master_key_missing` or `master_key_damaged`, `vault_elsewhere`, or as its place does.
        """
        try:
            return self._open()
        except FileNotFoundError as error:
            raise Conflict(
                "The master key is being replaced.", code="master_key_rotated", hint="Run the command again."
            ) from error

    def _open(self) -> KeyRing:
        found = self.find()
        if found is None and self._has_state():
            # Another process may have made both since: the key is there before the state is.
            found = self.find()
            if found is None:
                raise Broken(
                    f"{self._folder} holds no master key, and {self._database} cannot be read without it.",
                    code="master_key_missing",
                    hint=f"Put the key back from a backup, or move {self._database} away to start afresh.",
                )
        found = found or self._make()
        if self._choice not in {"auto", found.place.name}:
            raise Conflict(
                f'The master key is in the place "{found.place.name}", and [vault] key says "{self._choice}".',
                code="vault_elsewhere",
                hint=f'Run: edge-agent vault move {self._choice}. Or set [vault] key = "{found.place.name}".',
            )
        return KeyRing(found.place.read(found.record))

    def find(self) -> Stored | None:
        """The key that the database was written with, not unlocked; None where the home has none."""
        stored = [*self._stored(), *self._stored(_NEXT)]
        if len(stored) > 1:
            written_with = self.written_with()
            for one in stored:
                if one.fingerprint == written_with:
                    return one
        return stored[0] if stored else None

    def is_settled(self) -> bool:
        """Whether no rotation or move was interrupted."""
        return not [*self._stored(_NEXT), *self._stored(_OLD)]

    def settle(self, state: State) -> None:
        """Finish or undo what a killed rotation or move left.

        What cannot be reached now, in a locked keyring say, is left to the next owner.
        """
        fingerprint = state.key_fingerprint
        for following in self._stored(_NEXT):
            with suppress(Problem):
                if following.fingerprint == fingerprint and self._opens(following):
                    self._promote(following)
                elif self._counts(fingerprint):
                    following.place.destroy(following.record)
        if self._counts(fingerprint):
            records.wipe_drafts(self._folder)
            for old in self._stored(_OLD):
                with suppress(Problem):
                    old.place.destroy(old.record)

    def rotate(self, state: State) -> int:
        """Replace the key by a new one in the same place; all sessions' keys are wrapped anew. Returns how many.

        Raises Problem: the old key counts then, or, at `old_key_left` and `traces_left`, the new one.
        """
        current = self._ready(state)
        master = secrets.token_bytes(KEY_BYTES)
        following = self._keep_next(current.place, master)
        try:
            number = state.change_master_key(KeyRing(master))
        except BaseException:
            with suppress(Problem):
                self.settle(state)
            raise
        self._promote(following)
        return number

    def move(self, state: State, to: PlaceName) -> bool:
        """Bring the key to another place; to "passphrase" from there: under another passphrase.

        Returns whether anything changed. Raises Problem: the key stays where it is then, or, at `old_key_left`, it is
        in both places.
        """
        current = self._ready(state)
        target = self._places[to]
        is_there = target is current.place
        if is_there and not isinstance(target, PassphrasePlace):
            return False
        following = self._keep_next(target, current.place.read(current.record), another=is_there)
        if not self._opens(following):
            target.destroy(following.record)
            raise Broken(
                f'The key cannot be read back from the place "{to}".',
                code="vault_move_failed",
                hint="It stays where it is. Choose another place.",
            )
        self._promote(following)
        return True

    def _ready(self, state: State) -> Stored:
        """The key that counts, with nothing left of an earlier change."""
        self.settle(state)
        found = self.find()
        if found is None or found.fingerprint != state.key_fingerprint:
            raise Broken(
                "The master key's record was changed meanwhile.",
                code="master_key_rotated",
                hint="Run the command again.",
            )
        if not self.is_settled():
            raise _old_key_left("An earlier change of the master key left a key behind.")
        return found

    def _make(self) -> Stored:
        master = secrets.token_bytes(KEY_BYTES)
        place: Place = self._file
        if self._choice == "auto" and self._keyring is not None and self._keyring.serves_unasked():
            try:
                return self._keep_first(self._keyring, master)
            except Problem:
                place = self._file
        elif self._choice != "auto":
            place = self._places[self._choice]
        return self._keep_first(place, master)

    def _keep_first(self, place: Place, master: bytes) -> Stored:
        with suppress(FileExistsError):  # another process was faster: its key it is
            place.keep(self._folder / place.record_name, master)
        return Stored(place, self._folder / place.record_name)

    def _keep_next(self, place: Place, master: bytes, *, another: bool = False) -> Stored:
        record = self._folder / f"{place.record_name}{_NEXT}"
        if another and isinstance(place, PassphrasePlace):
            place.keep_under_another(record, master)
        else:
            place.keep(record, master)
        return Stored(place, record)

    def _promote(self, following: Stored) -> None:
        """Steps 3 to 5."""
        replaced = list(self._stored())
        for copy in backups(self._database):
            for one in replaced:
                self._rekey_copy(copy, one, following)
        for one in replaced:
            records.rename(one.record, one.record.with_name(f"{one.record.name}{_OLD}"))
        records.rename(following.record, self._folder / following.place.record_name)
        try:
            for one in self._stored(_OLD):
                one.place.destroy(one.record)
        except Problem as problem:
            raise _old_key_left(f"The new key counts, but the old one is still there: {problem.message}") from problem

    def _rekey_copy(self, copy: Path, old: Stored, new: Stored) -> None:
        if old.fingerprint in {None, new.fingerprint}:
            return
        rings = [KeyRing(one.place.read(one.record)) for one in (old, new)]
        try:
            with readable_errors(copy), closing(sqlite3.connect(copy, isolation_level=None)) as db:
                rekey.rekey_copy(db, *rings)
        except (Problem, sqlite3.IntegrityError) as error:
            # A damaged copy cannot be mended here; without the old key nobody reads it.
            if isinstance(error, Problem) and error.code in _PASSING:
                raise _old_key_left(
                    f"The new key counts, but the old one is still there: {error.message}",
                    f"Make {copy} writable, or move it away,",
                ) from error

    def _counts(self, fingerprint: str) -> bool:
        """Whether the key that the database is written with has its final name."""
        return any(one.fingerprint == fingerprint for one in self._stored())

    def _opens(self, one: Stored) -> bool:
        try:
            return KeyRing(one.place.read(one.record)).fingerprint == one.fingerprint
        except Problem:
            return False

    def _stored(self, suffix: str = "") -> list[Stored]:
        records_there = ((place, self._folder / f"{place.record_name}{suffix}") for place in self._places.values())
        return [Stored(place, record) for place, record in records_there if record.exists()]

    def _has_state(self) -> bool:
        return self._database.exists() and self._database.stat().st_size > 0

    def written_with(self) -> str | None:
        """The fingerprint of the key that the database was written with; None where there is none yet."""
        if not self._has_state():
            return None
        with readable_errors(self._database), closing(connect(self._database)) as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'facts'").fetchone() is None:
                return None
            row = db.execute("SELECT value FROM facts WHERE name = 'master_key'").fetchone()
        return None if row is None else str(row[0])


def _old_key_left(message: str, first: str = "Unlock the keyring") -> Conflict:
    return Conflict(
        message,
        code="old_key_left",
        hint=f"{first} and run 'edge-agent vault rotate'; the next start of the daemon tries it, too.",
    )
