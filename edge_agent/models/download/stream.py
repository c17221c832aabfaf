"""What every source gives: a stream of bytes from some offset on, or the reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CHUNK = 1 << 20


class SourceFailed(Exception):
    """One source cannot give the file; `cause` is one short word for programs and people, never a body or a URL.

    not_set, offline, unreachable, not_found, no_revision, gated, refused, server_error, private_address, other_host,
    bad_redirect, bad_range, cut, too_big, wrong_bytes, no_installer, installer_failed, bad_wheel, unreadable
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Stream:
    """`chunks` begin at byte `start`: the offset that was asked for, or 0 where the source cannot resume."""

    start: int
    chunks: Iterator[bytes]
