"""One mapping per session, kept before anything it masks may leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakValueDictionary

import anyio.to_thread

from cloud_bridge.protocol.problems import Problem
from edge_agent.privacy.detect import privacy_failed
from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.surrogates.surrogates import Surrogates


class Kept(Protocol):
    """An entry as a store gives it back."""

    @property
    def placeholder(self) -> str:
        """As it is written: `<PERSON_1>`."""

    @property
    def type(self) -> str:
        """What was found: `PERSON`."""

    @property
    def value(self) -> str:
        """What the placeholder stands for."""


class MappingStore(Protocol):
    """Where mappings are kept. Blocking and thread-safe; `add` returns when the entries survive a crash."""

    def began(self, session_id: str, /) -> str | None:
        """What `add` is to be given of work that begins now; None where there is nothing yet that can be forgotten."""

    def load(self, session_id: str) -> Sequence[Kept]:
        """All entries of a session, in the order in which they were added."""

    def add(self, session_id: str, entries: Sequence[MappingEntry], began: str | None, /) -> None:
        """Append entries to a session. Raises Problem where it was forgotten since `began`."""


@dataclass(frozen=True, slots=True)
class Style:
    """Which types get a surrogate in place of a placeholder, and what a session's surrogates are chosen by."""

    surrogates: frozenset[str] = frozenset()
    seed: Callable[[str], bytes] = lambda _: b""


PLACEHOLDERS = Style()
"""No type gets a surrogate."""


class Vault:
    """Gives out sessions' mappings. Nothing is remembered here, so what the store forgets is forgotten.

    One vault per store: it holds the sessions' locks, without which two turns at once could give one
    placeholder to two values.
    """

    def __init__(self, store: MappingStore, style: Style = PLACEHOLDERS) -> None:
        self._store = store
        self.style = style
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def session(self, session_id: str) -> SessionMapping:
        """The mapping as it is kept now, to read. Raises Problem where the store fails."""
        with _readable():
            kept = await anyio.to_thread.run_sync(self._store.load, session_id)
            entries = (MappingEntry(entry.placeholder, entry.type, entry.value) for entry in kept)
            return SessionMapping(entries, Surrogates(self.style.seed(session_id), self.style.surrogates))

    async def began(self, session_id: str) -> str | None:
        """To be asked before a text is looked through whose values `changing` is to keep. Raises as `session`."""
        with _readable():
            return await anyio.to_thread.run_sync(self._store.began, session_id)

    @asynccontextmanager
    async def held(self, session_ids: Iterable[str]) -> AsyncIterator[None]:
        """While the block runs nobody adds to these sessions' mappings but the caller, past this vault."""
        async with AsyncExitStack() as stack:
            for session_id in sorted(set(session_ids)):
                await stack.enter_async_context(self._locks.setdefault(session_id, asyncio.Lock()))
            yield

    @asynccontextmanager
    async def changing(self, session_id: str, began: str | None) -> AsyncIterator[SessionMapping]:
        """The mapping, to add to. One at a time per session; what was added is kept when the block ends well.

        Raises Problem where the store fails, or the session was forgotten since `began`; then nothing made from the
        mapping may be used.
        """
        lock = self._locks.setdefault(session_id, asyncio.Lock())
        async with lock:
            mapping = await self.session(session_id)
            yield mapping
            if mapping.new_entries:
                await self._keep(session_id, mapping, began)

    async def _keep(self, session_id: str, mapping: SessionMapping, began: str | None) -> None:
        try:
            await anyio.to_thread.run_sync(self._store.add, session_id, mapping.new_entries, began)
        except Problem:
            raise
        except Exception as error:
            raise privacy_failed("The session's mapping cannot be written.") from error


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except Problem:
        raise
    except Exception as error:
        raise privacy_failed("The session's mapping cannot be read.") from error
