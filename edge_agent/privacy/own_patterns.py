"""The user's own patterns: checked once, at start, and bounded in time wherever they run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cloud_bridge.protocol.problems import InvalidRequest, Unsafe
from edge_agent.privacy.finders import checksums
from edge_agent.privacy.finders.hits import Hit, announced

if TYPE_CHECKING:
    import regex

CONTEXT_GAIN = 0.4
"""What a word of `context` near a finding adds to its score."""

_PROBE_CHARACTERS = 2_000
_PROBE_S = 0.25
_TEXT_S = 1.0  # for a text of a million characters, and that much again for each million more
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class OwnPattern:
    """A pattern that the settings name: what it finds, how certain that is, and what must hold beside.

    `key`: where the settings have it, for messages. `context`: lower-case words; one near a finding makes it likelier.
    `checksum`: one of `checksums.CHECKSUMS`, or None.
    """

    type: str
    pattern: str
    key: str
    score: float = 0.8
    context: tuple[str, ...] = ()
    checksum: str | None = None

    def check(self) -> None:
        """Raise InvalidRequest where the pattern is malformed, matches nothing at all, or takes too long."""
        compiled = _compiled(self.pattern, self.key)
        if compiled.search("") is not None:
            raise bad_setting(
                self.key, "matches an empty text", "Let it match at least one character: write + rather than *."
            )
        for probe in _probes(self.pattern):
            try:
                for _ in compiled.finditer(probe, timeout=_PROBE_S):
                    pass
            except TimeoutError:
                hint = "Avoid one repetition inside another, such as (a+)+, and put a limit on each, such as {1,40}."
                raise bad_setting(self.key, "takes too long on some texts", hint) from None

    def find(self, text: str) -> Iterator[Hit]:
        """Each match whose checksum holds. Raises Unsafe where that takes too long: then nothing leaves."""
        for match in self.matches(text):
            start, end = match.span()
            if start == end or (self.checksum and not checksums.holds(self.checksum, match.group())):
                continue
            near = bool(self.context) and announced(text, start, end, self.context)
            yield start, end, min(1.0, self.score + CONTEXT_GAIN) if near else self.score

    def matches(self, text: str) -> Iterator[regex.Match[str]]:
        """Each match. Raises Unsafe as `find` does."""
        seconds = _TEXT_S * (1 + len(text) // _MILLION)
        try:
            yield from _compiled(self.pattern, self.key).finditer(text, timeout=seconds)
        except TimeoutError:
            raise Unsafe(
                f"The pattern of {self.key} took too long on this text.",
                code="pattern_too_slow",
                hint="Nothing was sent. Mend that pattern in config.toml, and start the daemon again.",
            ) from None


@lru_cache(maxsize=1024)
def _compiled(pattern: str, key: str) -> regex.Pattern[str]:
    import regex  # noqa: PLC0415 (slow, and the daemon starts without it)

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise bad_setting(
            key, f"is no regular expression: {error}", 'Mend it; a backslash in TOML\'s "..." is two.'
        ) from None


def _probes(pattern: str) -> Iterator[str]:
    """Texts on which patterns backtrack: one thing again and again, and at the end something else.

    The pattern's own characters follow, or a search for one that it needs would end at once.
    """
    rest = "\x00" + "".join(sorted(set(pattern)))
    letters = set(re.findall(r"[^\W_]", pattern))
    words = re.findall(r"[A-Za-z0-9]{2,12}", pattern)
    for unit in (*sorted({*"aA0 -._@:/", *sorted(letters)[:20]}), "a ", "0-", "a.", "aA0", *words[:10]):
        yield unit * (_PROBE_CHARACTERS // len(unit)) + rest


def bad_setting(key: str, what: str, hint: str) -> InvalidRequest:
    """Why `key` of [privacy] cannot be what it is, and what to write instead."""
    return InvalidRequest(f"[privacy] {key} {what}.", code="bad_config", hint=hint, param=f"privacy.{key}")
