"""A passphrase, from whoever has it: a file, as service managers hand out credentials, a variable, or a person."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

from cloud_bridge.protocol.problems import InvalidRequest, NotAuthenticated

FILE = "EDGE_AGENT_PASSPHRASE_FILE"
NEW_FILE = "EDGE_AGENT_NEW_PASSPHRASE_FILE"
VARIABLE = "EDGE_AGENT_VAULT__PASSPHRASE"
MIN_LENGTH = 8
"""Characters of a new one: what NIST SP 800-63B asks of a secret that people remember."""
_MAX_BYTES = 65536


class Passphrase:
    """Asked for when it is needed, and only once. `ask(prompt)` asks a person; None where nobody is there."""

    def __init__(self, environ: Mapping[str, str], ask: Callable[[str], str] | None) -> None:
        self._environ = environ
        self._ask = ask
        self._known: bytes | None = None

    def known(self) -> bytes:
        """The one that unlocks the vault.

        Raises NotAuthenticated `passphrase_missing`, InvalidRequest `passphrase_unreadable`.
        """
        if self._known is None:
            found = self._told() or self._asked("Passphrase of the vault: ")
            if not found:
                raise NotAuthenticated(
                    "The vault is locked: its passphrase is missing.",
                    code="passphrase_missing",
                    hint=f"Put it into a file that only you can read and set {FILE} to that file, or set {VARIABLE}.",
                )
            self._known = found
        return self._known

    def fresh(self, *, replaces: bool) -> bytes:
        """The one to lock the vault with from now on; a person is asked twice.

        `replaces`: there is one already, which the file and the variable hold; the new one must come from elsewhere.
        Raises InvalidRequest `passphrase_too_short` | `passphrases_differ`, and as `known`.
        """
        path = self._environ.get(NEW_FILE)
        found = _of_file(path, NEW_FILE) if path else None if replaces else self._told()
        if found is None:
            found = self._asked("New passphrase: ")
            if found != self._asked("Once more: "):
                raise InvalidRequest(
                    "The two passphrases differ.", code="passphrases_differ", hint="Run the command again."
                )
        if found is None:
            variable = NEW_FILE if replaces else FILE
            raise NotAuthenticated(
                "There is no new passphrase.",
                code="passphrase_missing",
                hint=f"Put it into a file that only you can read, and set {variable} to that file.",
            )
        if len(found.decode("utf-8", "replace")) < MIN_LENGTH:
            raise InvalidRequest(
                f"The passphrase is shorter than {MIN_LENGTH} characters.",
                code="passphrase_too_short",
                hint="Take a longer one: several words that nobody else would put together.",
            )
        self._known = found
        return found

    def _asked(self, prompt: str) -> bytes | None:
        """What the person says; None where nobody is there, or nobody says anything."""
        try:
            return _normal(self._ask(prompt)) if self._ask is not None else None
        except EOFError:
            return None

    def _told(self) -> bytes | None:
        path = self._environ.get(FILE)
        if path:
            return _of_file(path, FILE)
        said = self._environ.get(VARIABLE)
        return _normal(said) if said else None


def _of_file(path: str, variable: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be read ({error.strerror}).",
            code="passphrase_unreadable",
            hint=f"{variable} names the file that holds the passphrase; check it, its owner and its permissions.",
        ) from error
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content or len(content) > _MAX_BYTES:
        raise InvalidRequest(
            f"{path} holds no passphrase.",
            code="passphrase_unreadable",
            hint=f"{variable} names a file with the passphrase on one line.",
        )
    try:
        return _normal(content.decode())
    except UnicodeDecodeError:
        return content


def _normal(said: str) -> bytes:
    """Keyboards compose letters differently; what looks the same is the same."""
    return os.fsencode(unicodedata.normalize("NFC", said))
