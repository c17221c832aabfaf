"""Names of files, as they may appear in a manifest or inside a wheel."""

from __future__ import annotations

import re

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_relative(name: str) -> str:
    """`name`, if it is a plain relative path with forward slashes. Raises ValueError otherwise.

    Refused: "..", absolute paths, drive letters, backslashes, NUL, hidden files (ours), Windows devices.
    """
    for segment in name.split("/"):
        if not _SEGMENT.fullmatch(segment) or segment.endswith((".", ".part")):
            raise ValueError("must be a plain relative path of letters, digits, '.', '_', '-' and '+'")
        if is_device(segment):
            raise ValueError("must not be a name that Windows keeps for a device")
    return name


def is_device(name: str) -> bool:
    """Whether Windows keeps this name of a file or folder for a device, as it does `con` and `nul.txt`."""
    return _RESERVED.fullmatch(name) is not None
