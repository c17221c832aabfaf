"""What a person's documents, and what was said before, have to say to a request.

The passages are in memory only, made anew from what is sealed by the first request that needs them, and brought up to
date by each: documents come and go by other processes, too.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio.to_thread

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.problems import Broken, Problem
from cloud_bridge.protocol.residency import Residency
from edge_agent.memory.choosing import chosen
from edge_agent.memory.index import Passage, PassageIndex
from edge_agent.notes import NOTHING, Note, Notes
from edge_agent.state import earlier
from edge_agent.state.documents import Documents, Marker
from edge_agent.state.earlier import EarlierTurn
from edge_agent.state.log import Log

log = logging.getLogger(__name__)

LOOKED_AT = 24
"""Passages of each kind of which the notes are chosen."""

EARLIER_TURNS = 1_000
"""The newest turns of a session that are searched."""

SESSIONS = 4
"""How many sessions' turns are kept ready, those searched last."""

_FORCED = frozenset({"required", "named"})


@dataclass(frozen=True, slots=True)
class MemoryRules:
    """What the settings say. `max_tokens`: of all notes together. `min_score`: see `memory.index`, from 0 to 1.

    `escalate`: whether notes may leave, masked, with what is escalated.
    """

    enabled: bool = True
    max_tokens: int = 600
    min_score: float = 0.6
    escalate: bool = True


class Library:
    """The documents, searched. Thread-safe; blocks: a first search reads them all, 10 MB of text in some 3 s."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self._lock = threading.Lock()
        self._index: PassageIndex | None = None
        self._marker: Marker = (0, "")

    def search(self, question: str, *, limit: int, min_score: float = 0.0) -> list[Passage]:
        """At most `limit` passages, the best first; see `PassageIndex.search`. Raises as `State` does."""
        with self._lock:
            index = self._current()
            return index.search(question, limit=limit, min_score=min_score) if index is not None else []

    def _current(self) -> PassageIndex | None:
        marker = self.documents.marker()
        if self._index is None and not marker[0]:
            return None
        if marker != self._marker:
            index = self._index = self._index or PassageIndex()
            heads = {each.id: each for each in self.documents.listed()}
            for gone in index.documents - heads.keys():
                index.remove(gone)
            for new in [each for each in heads if each not in index.documents]:
                try:
                    text = self.documents.text(new)
                except Broken as damaged:
                    log.warning("a document cannot be searched: %s", damaged.code)
                    continue
                if text is not None:
                    index.add(new, heads[new].name, text)
            self._marker = marker
        return self._index


@dataclass(slots=True)
class _Session:
    """A session's answered turns. `key_id`: of the key that they are sealed with; with another, they are forgotten."""

    key_id: str
    index: PassageIndex
    turns: dict[str, EarlierTurn]


class Recall:
    """Finds the notes for a request. What fails is logged, never raised: an answer can do without."""

    def __init__(self, library: Library, state: Log, rules: MemoryRules) -> None:
        self._library = library
        self._state = state
        self._rules = rules
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    async def notes(
        self,
        conversation: Conversation,
        session_id: str | None,
        *,
        on_record: bool = True,
        residency: Residency | None = None,
    ) -> Notes:
        """What is given with `conversation`. `session_id`: the session that it continues, if it says so.

        `on_record`: the request is one of the session's turns already. `residency`: the request's own; what was asked
        under a narrower one stays here.
        """
        # What is only to call a tool is asked for a call, not for an answer.
        if (
            not self._rules.enabled
            or not conversation.last_user_text.strip()
            or conversation.tool_choice.mode in _FORCED
        ):
            return NOTHING
        try:
            return await anyio.to_thread.run_sync(self._notes, conversation, session_id, int(on_record), residency)
        except Problem as problem:
            log.warning("nothing could be looked up in the documents: %s", problem.code)
        except Exception as error:  # noqa: BLE001 the request is answered without
            log.error("nothing could be looked up in the documents: %s", type(error).__name__)
        return NOTHING

    def _notes(
        self, conversation: Conversation, session_id: str | None, recorded: int, residency: Residency | None
    ) -> Notes:
        question = conversation.last_user_text
        passages = self._library.search(question, limit=LOOKED_AT, min_score=self._rules.min_score)
        found = [Note(passage) for passage in passages]
        self._drop_forgotten()
        if session_id is not None:
            found += self._earlier(conversation, session_id, recorded, residency)
        found.sort(key=lambda note: -round(note.passage.score, 1))  # stable: the best of each kind stay in their order
        by_passage = {id(note.passage): note for note in found}
        kept = chosen([note.passage for note in found], self._rules.max_tokens)
        notes = [by_passage[id(passage)] for passage in kept]
        return Notes(tuple(replace(note, leaves=note.leaves and self._rules.escalate) for note in notes))

    def _earlier(
        self, conversation: Conversation, session_id: str, recorded: int, residency: Residency | None
    ) -> list[Note]:
        """Of the session's turns, those that speak to the question and that the client did not send."""
        sent = {message.text.strip() for message in conversation.messages if message.role == "user"}
        question = conversation.last_user_text
        shown = recorded + sum(message.role == "assistant" for message in conversation.messages)
        with self._lock:
            there = earlier.places(self._state, session_id, shown=shown, most=EARLIER_TURNS)
            if there is None:
                return []
            session = self._session(session_id, *there)
            found = session.index.search(question, limit=LOOKED_AT, min_score=self._rules.min_score)
            turns = [session.turns[passage.document] for passage in found]
        return [
            Note(passage, turn=turn.place.turn_id, leaves=turn.may_leave(residency))
            for passage, turn in zip(found, turns, strict=True)
            # Nor to the same question again: it gets the same notes, and so may get the same answer from a cache.
            if turn.question.strip() not in sent
        ]

    def _drop_forgotten(self) -> None:
        """Nothing of a session stays in memory that another process has forgotten."""
        with self._lock:
            if self._sessions:
                keys = {session_id: session.key_id for session_id, session in self._sessions.items()}
                for gone in earlier.forgotten(self._state, keys):
                    del self._sessions[gone]

    def _session(self, session_id: str, key_id: str, places: Sequence[earlier.Place]) -> _Session:
        session = self._sessions.get(session_id)
        if session is None or session.key_id != key_id:
            session = self._sessions[session_id] = _Session(key_id, PassageIndex(), {})
        self._sessions.move_to_end(session_id)
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        current = {place.turn_id: place for place in places}
        for gone in session.turns.keys() - current.keys():
            del session.turns[gone]
            session.index.remove(gone)
        known = {turn_id: turn.place for turn_id, turn in session.turns.items()}
        new = [place for place in reversed(places) if known.get(place.turn_id) != place]
        for turn in earlier.read(self._state, new):
            session.turns[turn.place.turn_id] = turn
            session.index.add(turn.place.turn_id, "", f"The user: {turn.question}\n\nThe answer: {turn.answer}")
        return session
