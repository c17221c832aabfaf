"""What a person's other devices may hear: masked here before it leaves, and restored there.

The text leaves as it would go to a provider; what its placeholders stand for goes beside it, but for the types that
never leave. All of it is sealed for the group afterwards, so that no bridge reads either.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio.to_thread

from cloud_bridge.protocol.conversation import Conversation, Text, ToolCall
from cloud_bridge.protocol.envelope import conversation_to_json, decode_escalation
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import Conflict, InvalidRequest, NotAllowed, Problem, Unsafe
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.mapping import MappingEntry, SessionMapping
from edge_agent.privacy.mask import TIMEOUT_S, mask
from edge_agent.privacy.restore import restore_text
from edge_agent.privacy.second_check import SecondCheck
from edge_agent.privacy.vault import Vault
from edge_agent.state.mappings import StoredMapping
from edge_agent.state.state import State
from edge_agent.state.sync.exchanged import Heard, Said, Stretch, Told, conversation_of
from edge_agent.state.sync.replica import MAX_BODY_BYTES

log = logging.getLogger(__name__)

TRIES = 3
"""How often masking a text may take too long before it is withheld: one that cannot be masked may not stop the others.
"""

_TOO_SLOW = {"privacy_timeout", "pattern_too_slow"}

_OURS = re.compile(r"call_[0-9a-f]{16}")
"""The name of a call, as the group's devices write it."""


@dataclass(frozen=True, slots=True)
class _Masked:
    """What may leave, and the placeholders in it whose values may not."""

    text: Masked
    kept: frozenset[str] = frozenset()


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
        self._too_slow: Counter[tuple[str, int]] = Counter()
        """How often masking took too long, by origin and number; of what is not told yet."""

    async def told(self, stretch: Stretch) -> dict[str, Told]:
        """The bodies of a stretch's events as the group may hear them, by the events' ids.

        A text that is refused, or takes too long again and again, is withheld; one whose session was forgotten
        meanwhile is left out. Raises Unsafe where masking fails: then nothing of the stretch may leave, and it is
        tried again later.
        """
        for origin, seq in list(self._too_slow):
            if origin == stretch.origin and seq <= stretch.after:
                del self._too_slow[origin, seq]
        masked: dict[str, _Masked | str] = {}
        sessions: dict[str, list[str]] = defaultdict(list)
        for said in stretch.events:
            if said.document is None:
                continue
            result = await self._masked(said)
            if result is not None:
                masked[said.event.id] = result
                sessions[said.event.session_id].append(said.event.id)
        found: dict[str, Told] = {}
        for session_id, event_ids in sessions.items():
            mapping = await anyio.to_thread.run_sync(self._state.load, session_id)
            mapping = [entry for entry in mapping if entry.type not in self._never_leave]
            for event_id in event_ids:
                text = masked[event_id]
                told = Told(None, (), text) if isinstance(text, str) else Told(text.text, _used(text, mapping))
                found[event_id] = told if told.size <= MAX_BODY_BYTES else Told(None, (), "too_large")
        return found

    async def restored(self, heard: Sequence[Heard]) -> list[Heard]:
        """With the values back in the messages."""
        return await anyio.to_thread.run_sync(lambda: [_restored(each) for each in heard])

    async def _masked(self, said: Said) -> _Masked | str | None:
        """The masked messages, or why they are withheld; None where their session was forgotten meanwhile."""
        conversation = conversation_of(_messages(said.document or {}))
        sent = _as_sent(said.escalation, conversation)
        ids = _call_ids(conversation, said.event.session_id)
        if sent is not None:
            return _Masked(sent.with_call_ids(ids))
        try:
            result = await mask(
                conversation,
                detector=self._detector,
                vault=self._vault,
                session_id=said.event.session_id,
                check=self._check,
                timeout_s=self._timeout_s,
                began=said.event.key_id,
            )
        except Conflict as problem:
            if problem.code != "session_forgotten":
                raise
            return None
        except (Unsafe, InvalidRequest, NotAllowed) as problem:
            return self._refused(said, problem)
        # A value may have its placeholder from a turn in which it was taken for something else.
        kept = frozenset(entity.placeholder for entity in result.found if entity.type in self._never_leave)
        return _Masked(result.masked.with_call_ids(ids), kept)

    def _refused(self, said: Said, problem: Problem) -> str:
        """Why the text is withheld. Raises the problem where it is not the text's, or may not be."""
        if problem.code == "privacy_failed":
            raise problem
        if problem.code in _TOO_SLOW:
            number = (said.event.device, said.event.seq)
            self._too_slow[number] += 1
            if self._too_slow[number] < TRIES:
                raise problem
        log.warning("a text is kept from the other devices: %s", problem.code)
        return problem.code


def _messages(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was said; not the instructions, which come anew with each request."""
    messages = document["conversation"]["messages"] if "conversation" in document else [document["message"]]
    return [message for message in messages if message["role"] != "system"]


def _as_sent(escalation: bytes | None, conversation: Conversation) -> Masked | None:
    """The same messages as they were masked for a provider, where that was done and its record can be read."""
    if escalation is None:
        return None
    try:
        sent = decode_escalation(escalation).masked
    except Problem:
        return None
    count = len(conversation.messages)
    tail = sent.last(count) if count <= len(sent.conversation.messages) else sent
    roles = [message.role for message in tail.conversation.messages]
    return tail if roles == [message.role for message in conversation.messages] else None


def _call_ids(conversation: Conversation, session_id: str) -> Iterator[str]:
    """A name for each call and result, the same in every turn: masking numbers them anew in each, and ids may hold
    anything. One that another device made is kept.
    """
    for message in conversation.messages:
        for part in message.parts:
            if isinstance(part, Text):
                continue
            written = part.id if isinstance(part, ToolCall) else part.call_id
            digest = hashlib.sha256(f"{session_id}\x1f{written}".encode("utf-8", "surrogatepass")).hexdigest()
            yield written if _OURS.fullmatch(written) else f"call_{digest[:16]}"


def _used(masked: _Masked, mapping: Sequence[StoredMapping]) -> list[StoredMapping]:
    """The entries that the text needs, but for values that stay."""
    texts = [f"<{message.name}>" for message in masked.text.conversation.messages if message.name]

    def noted(text: str) -> str:
        texts.append(text)
        return text

    masked.text.conversation.map_strings(noted, noted)
    whole = "\n".join(texts)
    return [entry for entry in mapping if entry.placeholder in whole and entry.placeholder not in masked.kept]


def _restored(heard: Heard) -> Heard:
    if not heard.messages or not heard.mapping:
        return heard
    mapping = SessionMapping(MappingEntry(entry.placeholder, entry.type, entry.value) for entry in heard.mapping)

    def change(text: str) -> str:
        return restore_text(text, mapping)

    conversation = conversation_of(heard.messages).map_strings(change, change)
    messages = [
        # A participant's name is masked without brackets.
        message
        if message.name is None
        else replace(message, name=mapping.value_of(f"<{message.name}>") or message.name)
        for message in conversation.messages
    ]
    conversation = replace(conversation, messages=tuple(messages))
    return replace(heard, messages=conversation_to_json(conversation)["messages"])
