"""What a person's other devices may hear: masked here before it leaves, and restored there.

The text leaves as it would go to a provider; what its placeholders stand for goes beside it, but for the types that
never leave. All of it is sealed for the group afterwards, so that no bridge reads either.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio.to_thread

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import conversation_from_json, conversation_to_json, decode_escalation
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import Problem, Unsafe
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.mask import TIMEOUT_S, mask
from edge_agent.privacy.restore import restore_text
from edge_agent.privacy.second_check import SecondCheck
from edge_agent.privacy.vault import Vault
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.state import State
from edge_agent.state.sync.replica import MAX_BODY_BYTES, Heard, Said, Stretch, Told

log = logging.getLogger(__name__)

TRIES = 3
"""After so many failures of the same text it is withheld: one that cannot be masked may not stop the others."""

_EMPTY = conversation_to_json(Conversation(()))


class Sharing:
    """Masks what is to be told, and restores what was heard."""

    def __init__(
        self,
        *,
        state: State,
        detector: Detector,
        vault: Vault,
        check: SecondCheck,
        never_leave: frozenset[str],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._state = state
        self._detector = detector
        self._vault = vault
        self._check = check
        self._never_leave = never_leave
        self._timeout_s = timeout_s
        self._failures: Counter[str] = Counter()

    async def told(self, stretch: Stretch) -> dict[str, Told]:
        """The bodies of a stretch's events as the group may hear them, by the events' ids.

        Raises Unsafe where masking fails; then nothing of the stretch may leave, and it is tried again later. A text
        that is refused, or fails again and again, is withheld.
        """
        masked: dict[str, Masked | str] = {}
        sessions: dict[str, list[str]] = defaultdict(list)
        for said in stretch.events:
            if said.document is not None:
                masked[said.event.id] = await self._masked(said)
                sessions[said.event.session_id].append(said.event.id)
        found: dict[str, Told] = {}
        for session_id, event_ids in sessions.items():
            mapping = await anyio.to_thread.run_sync(self._state.load, session_id)
            mapping = [entry for entry in mapping if entry.type not in self._never_leave]
            for event_id in event_ids:
                text = masked[event_id]
                told = Told(None, (), text) if isinstance(text, str) else Told(text, _used(text, mapping))
                found[event_id] = told if told.size <= MAX_BODY_BYTES else Told(None, (), "too_large")
        return found

    async def restored(self, heard: Sequence[Heard]) -> list[Heard]:
        """With the values back in the messages."""
        return await anyio.to_thread.run_sync(lambda: [_restored(each) for each in heard])

    async def _masked(self, said: Said) -> Masked | str:
        """The masked messages, or why they are withheld."""
        conversation = _conversation(_messages(said.document or {}))
        sent = _as_sent(said.escalation, conversation)
        if sent is not None:
            return sent
        try:
            result = await mask(
                conversation,
                detector=self._detector,
                vault=self._vault,
                session_id=said.event.session_id,
                check=self._check,
                timeout_s=self._timeout_s,
            )
        except Unsafe as problem:
            return self._refused(said, problem)
        self._failures.pop(said.event.id, None)
        return result.masked

    def _refused(self, said: Said, problem: Problem) -> str:
        """Why the text is withheld. Raises the problem where it may be another time's."""
        self._failures[said.event.id] += 1
        if problem.code in {"privacy_failed", "privacy_timeout"} and self._failures[said.event.id] < TRIES:
            raise problem
        log.warning("a text is kept from the other devices: %s", problem.code)
        return problem.code


def _messages(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was said; not the instructions, which come anew with each request."""
    messages = document["conversation"]["messages"] if "conversation" in document else [document["message"]]
    return [message for message in messages if message["role"] != "system"]


def _conversation(messages: Sequence[Mapping[str, Any]]) -> Conversation:
    return conversation_from_json({**_EMPTY, "messages": messages})


def _as_sent(escalation: bytes | None, conversation: Conversation) -> Masked | None:
    """The same messages as they were masked for a provider, where that was done."""
    if escalation is None:
        return None
    sent = decode_escalation(escalation).masked
    count = len(conversation.messages)
    tail = sent.last(count) if count <= len(sent.conversation.messages) else sent
    roles = [message.role for message in tail.conversation.messages]
    return tail if roles == [message.role for message in conversation.messages] else None


def _used(masked: Masked, mapping: Sequence[StoredMapping]) -> list[StoredMapping]:
    """The entries that the text needs."""
    texts: list[str] = []

    def noted(text: str) -> str:
        texts.append(text)
        return text

    masked.conversation.map_strings(noted, noted)
    whole = "\n".join(texts)
    return [entry for entry in mapping if entry.placeholder in whole]


def _restored(heard: Heard) -> Heard:
    if not heard.messages or not heard.mapping:
        return heard
    mapping = SessionMapping(MappingEntry(entry.placeholder, entry.type, entry.value) for entry in heard.mapping)

    def change(text: str) -> str:
        return restore_text(text, mapping)

    conversation = _conversation(heard.messages).map_strings(change, change)
    return replace(heard, messages=conversation_to_json(conversation)["messages"])
