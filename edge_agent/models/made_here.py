"""The models that were made on this machine: folders of the models folder with a manifest.json of their own."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloud_bridge.protocol.problems import Broken
from edge_agent.models.damage import damaged_here, remake_hint
from edge_agent.models.manifest import Manifest, ModelFile, parse, plain

MANIFEST_NAME = "manifest.json"
_MAX_MANIFEST_BYTES = 1 << 20

_Signature = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a manifest.json held when the folder and it looked like this; `whole`: its files were there."""

    signature: _Signature
    manifest: Manifest | Broken
    whole: bool


class MadeHere:
    """The folders under `root` with a manifest.json, by name. `reserved` ids are the catalog's. Thread-safe.

    Every call looks the folders up again, so that what is made or removed meanwhile is seen.
    """

    def __init__(self, root: Path, reserved: AbstractSet[str]) -> None:
        self._root = root
        self._reserved = reserved
        self._seen: dict[str, _Seen] = {}

    def found(self) -> Mapping[str, Manifest | Broken]:
        """The manifest of each, or what is wrong with it. Cheap: what has not changed is not read again."""
        seen: dict[str, _Seen] = {}
        found: dict[str, Manifest | Broken] = {}
        for name, signature in self._folders():
            before = self._seen.get(name)
            if before is None or before.signature != signature:
                before = _Seen(signature, self._read(name), whole=False)
            outcome = before.manifest if before.whole else self._with_files(before.manifest, name)
            seen[name] = before if before.whole else replace(before, whole=isinstance(outcome, Manifest))
            found[name] = outcome
        self._seen = seen
        return found

    def sound(self) -> Sequence[Manifest]:
        """The manifests among `found`."""
        return [outcome for outcome in self.found().values() if isinstance(outcome, Manifest)]

    def checked(self) -> Mapping[str, Manifest | Broken]:
        """As `found`, with the size of every file looked at again."""
        return {name: self._with_files(outcome, name) for name, outcome in self.found().items()}

    def get(self, name: str) -> Manifest | Broken | None:
        """The one of that name, with the size of every file looked at again."""
        outcome = self.found().get(name)
        return self._with_files(outcome, name) if outcome is not None else None

    def _folders(self) -> Iterator[tuple[str, _Signature]]:
        try:
            with os.scandir(self._root) as entries:
                names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
        except OSError:  # no models folder, or none that may be read: nothing was made here
            return
        for name in names:
            folder = f"{self._root}{os.sep}{name}"
            try:
                record = os.lstat(f"{folder}{os.sep}{MANIFEST_NAME}")
                of_folder = os.lstat(folder)
            except OSError:
                continue
            yield name, (of_folder.st_mtime_ns, of_folder.st_mode, record.st_mtime_ns, record.st_size, record.st_ino)

    def _read(self, name: str) -> Manifest | Broken:
        folder = self._root / name
        try:
            if folder.is_symlink():
                return damaged_here(name, "is a link to another folder", "unsafe_path")
            manifest = parse(_document(folder / MANIFEST_NAME, name), f"{plain(name)}/{MANIFEST_NAME}")
            self._check_id(manifest, name)
        except Broken as problem:
            if problem.code == "bad_manifest":
                return Broken(problem.message, code=problem.code, hint=remake_hint(name), param=problem.param)
            return problem
        return manifest

    def _with_files(self, outcome: Manifest | Broken, name: str) -> Manifest | Broken:
        if isinstance(outcome, Manifest):
            try:
                for file in outcome.files:
                    _check_file(self._root / name, file, name)
            except Broken as problem:
                return problem
        return outcome

    def _check_id(self, manifest: Manifest, name: str) -> None:
        if manifest.made is None:
            raise damaged_here(name, "does not say how it was made", "bad_manifest")
        if manifest.id != name:
            raise damaged_here(name, f"calls itself {manifest.id} in its manifest.json", "bad_manifest")
        if name in self._reserved:
            raise damaged_here(name, "has the id of a model of the catalog", "model_id_taken")


def _document(path: Path, name: str) -> Mapping[str, Any]:
    """Bounded and of a regular file only: a pipe of that name would be waited for."""
    try:
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > _MAX_MANIFEST_BYTES:
            raise ValueError  # noqa: TRY301  # one place says it
        document = json.loads(path.read_text("utf-8"))
        if not isinstance(document, dict):
            raise TypeError  # noqa: TRY301
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise damaged_here(name, f"has a {MANIFEST_NAME} that cannot be read", "bad_manifest") from error
    return document


def _check_file(folder: Path, file: ModelFile, name: str) -> None:
    path = folder
    try:
        for part in file.path.split("/"):
            path /= part
            state = path.lstat()
            if stat.S_ISLNK(state.st_mode):
                raise damaged_here(name, f"has a link in place of {file.path}", "unsafe_path")
    except OSError as error:
        raise damaged_here(name, f"has no file {file.path}", "model_file_missing") from error
    if not stat.S_ISREG(state.st_mode):
        raise damaged_here(name, f"has no file {file.path}", "model_file_missing")
    if state.st_size < file.size:
        raise damaged_here(
            name, f"is cut short: {file.path} has {state.st_size} of {file.size} bytes", "model_truncated"
        )
    if state.st_size > file.size:
        extra = state.st_size - file.size
        raise damaged_here(name, f"is damaged: {file.path} has {extra} bytes too many", "model_corrupt")
