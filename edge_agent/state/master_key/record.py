"""Small files that hold a key or lead to one: whole or not there, for their owner only, overwritten at their end."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from cloud_bridge.durable_files import sync_folder
from cloud_bridge.protocol.problems import Broken


def create(record: Path, content: bytes) -> None:
    """Write `content`, durably. Raises FileExistsError where the record is there: a key is never written over."""
    # One by one: `mode` holds for the last folder only.
    for folder in (record.parent.parent, record.parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = record.with_name(f".{record.name}-{secrets.token_hex(8)}.part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces the key that another process made meanwhile.
        os.link(draft, record)
        sync_folder(record.parent)
    finally:
        draft.unlink(missing_ok=True)


def read(record: Path) -> bytes:
    """The content. A file that group or others could read is theirs no longer."""
    if record.stat().st_mode & 0o077:
        record.chmod(0o600)
    return record.read_bytes()


def read_fields(record: Path) -> dict[str, Any]:
    """A record of JSON. Raises Broken `master_key_damaged`."""
    try:
        fields = json.loads(read(record))
    except ValueError as error:
        raise damaged(record) from error
    if not isinstance(fields, dict):
        raise damaged(record)
    return fields


def wipe(record: Path) -> None:
    """Overwrite the record, then remove it. Old blocks of a drive that writes elsewhere are beyond any program."""
    try:
        with record.open("r+b") as file:
            file.write(os.urandom(record.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        record.unlink()
    except FileNotFoundError:
        return
    sync_folder(record.parent)


def wipe_drafts(folder: Path) -> None:
    """Wipe what processes that were killed while they wrote left in `folder`."""
    for draft in folder.glob(".master.*.part"):
        if draft.stat().st_nlink > 1:  # the record itself, under its first name
            draft.unlink()
        else:
            wipe(draft)


def rename(record: Path, target: Path) -> None:
    """Give the record its name, durably."""
    record.replace(target)
    sync_folder(record.parent)


def damaged(record: Path) -> Broken:
    """The problem to raise for a record that cannot be what was written."""
    return Broken(
        f"{record} is damaged.",
        code="master_key_damaged",
        hint=f"Put the keys folder back from a backup, or move it and {record.parent.parent / 'state.db'} away to start"
        " afresh.",
    )
