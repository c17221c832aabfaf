"""Masking a conversation: the only place where `Masked` is made."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import anyio.to_thread

from cloud_bridge.protocol.conversation import Conversation, Message, Part, Text, ToolCall, ToolResult
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import InvalidRequest, Problem
from edge_agent.privacy import documents, kinds
from edge_agent.privacy.detect import Detector, privacy_failed
from edge_agent.privacy.documents import Document
from edge_agent.privacy.finders import contacts, patterns, secrets
from edge_agent.privacy.mapping import SessionMapping
from edge_agent.privacy.spans import CERTAIN, Span, resolve
from edge_agent.privacy.vault import Vault

INSTRUCTION = (
    "Some values in this conversation are withheld and shown as placeholders: a type and a number in angle "
    "brackets, such as <PERSON_1>. Treat each as the value it stands for. When you need one, write it exactly "
    "as it is shown, and never make up new ones."
)
"""For the model that gets a masked conversation."""


@dataclass(frozen=True, slots=True)
class FoundEntity:
    """One masked span: what it was found as, how certainly, and what stands in its place."""

    type: str
    placeholder: str
    score: float


@dataclass(frozen=True, slots=True)
class MaskResult:
    """What may leave, and what was found on the way, in reading order."""

    masked: Masked
    found: tuple[FoundEntity, ...]

    @property
    def types(self) -> frozenset[str]:
        """The types found, for the policy on what must never leave."""
        return frozenset(entity.type for entity in self.found)


@dataclass(slots=True)
class _Findings:
    """What the detector says of every text and document of one conversation."""

    texts: dict[str, list[Span]] = field(default_factory=dict)
    documents: dict[str, tuple[Document, list[Span]]] = field(default_factory=dict)


async def mask(
    conversation: Conversation, *, detector: Detector, vault: Vault, session_id: str, note: bool = False
) -> MaskResult:
    """`conversation` with every value found in it replaced by its placeholder in the session.

    The placeholders are kept before this returns. `note` appends INSTRUCTION to the system message where
    anything was masked. Raises Problem where detection or the vault fails; nothing is masked by halves.
    """
    try:
        findings = await anyio.to_thread.run_sync(_find, conversation, detector)
        async with vault.changing(session_id) as mapping:
            result = await anyio.to_thread.run_sync(_masked_with_all_known, conversation, findings, mapping)
        return replace(result, masked=replace(result.masked, conversation=_noted(result, note=note)))
    except Problem:
        raise
    except Exception as error:
        raise privacy_failed("Masking failed.") from error


async def anonymize_text(
    text: str, detector: Detector, vault: Vault, session_id: str
) -> tuple[str, list[dict[str, str | int | float]]]:
    """`text` masked, and `{"type", "start", "end", "placeholder", "score"}` of each value in `text` as given.

    Raises Problem as `mask` does.
    """
    try:
        spans = await anyio.to_thread.run_sync(detector.detect, text)
        async with vault.changing(session_id) as mapping:
            settled = settle(text, spans, mapping)
            masked, found = replace_spans(text, settled, mapping)
        return masked, [
            {
                "type": span.type,
                "start": span.start,
                "end": span.end,
                "placeholder": entity.placeholder,
                "score": span.score,
            }
            for span, entity in zip(settled, found, strict=True)
            if span.type != kinds.LITERAL
        ]
    except Problem:
        raise
    except Exception as error:
        raise privacy_failed("Masking failed.") from error


def settle(text: str, spans: Sequence[Span], mapping: SessionMapping) -> list[Span]:
    """What to replace in `text`: what was detected, what the session knows, and what looks like a placeholder."""
    literals = [Span(match.start(), match.end(), kinds.LITERAL, 1.0) for match in mapping.grammar.text.finditer(text)]
    known = mapping.known(text)
    return resolve([*spans, *known, *literals], text) if known or literals else list(spans)


def replace_spans(text: str, spans: Sequence[Span], mapping: SessionMapping) -> tuple[str, list[FoundEntity]]:
    """`text` with each of `spans` (settled: in order, not overlapping) replaced by its placeholder."""
    pieces: list[str] = []
    found: list[FoundEntity] = []
    position = 0
    for span in spans:
        placeholder = mapping.placeholder_for(span.type, text[span.start : span.end])
        pieces += (text[position : span.start], placeholder)
        found.append(FoundEntity(span.type, placeholder, span.score))
        position = span.end
    return "".join([*pieces, text[position:]]), found


def _find(conversation: Conversation, detector: Detector) -> _Findings:
    _refuse_values_in_names(conversation)
    findings = _Findings()

    def text(value: str) -> str:
        if value not in findings.texts:
            findings.texts[value] = detector.detect(value)
        return value

    def document(source: str) -> str:
        read = documents.read(source)
        if read is None:
            return text(source)
        if source not in findings.documents:
            findings.documents[source] = (read, detector.detect(read.lines))
        return source

    conversation.map_strings(text, document)
    return findings


def _masked_with_all_known(conversation: Conversation, findings: _Findings, mapping: SessionMapping) -> MaskResult:
    """Mask twice: what was found in a later text is known in the earlier ones only then."""
    _masked(conversation, findings, mapping)
    return _masked(conversation, findings, mapping)


def _masked(conversation: Conversation, findings: _Findings, mapping: SessionMapping) -> MaskResult:
    found: list[FoundEntity] = []

    def changed(value: str, spans: Sequence[Span]) -> str:
        masked, entities = replace_spans(value, settle(value, spans, mapping), mapping)
        found.extend(entities)
        return masked

    def text(value: str) -> str:
        return changed(value, findings.texts[value])

    def document(source: str) -> str:
        if source not in findings.documents:
            return text(source)
        read, spans = findings.documents[source]
        return read.changed(spans, changed)

    masked = conversation.map_strings(text, document)
    masked = _without_ids(replace(masked, messages=tuple(map(_plain_name, masked.messages))))
    counted = tuple(entity for entity in found if entity.type != kinds.LITERAL)
    return MaskResult(Masked(masked, dict(Counter(entity.type for entity in counted))), counted)


# Names are referred to, so they cannot be masked. Only what a format proves counts here: a guess would refuse tools.
_IN_NAMES = (
    ("API_KEY", secrets.api_key, CERTAIN),
    ("CREDIT_CARD", patterns.card_number, CERTAIN),
    ("EMAIL_ADDRESS", patterns.email, 0.0),
    ("IBAN_CODE", patterns.iban, CERTAIN),
    ("IP_ADDRESS", patterns.ip_address, CERTAIN),
    ("PHONE_NUMBER", contacts.phone_number, CERTAIN),
    ("US_SSN", patterns.us_ssn, CERTAIN),
)


def _refuse_values_in_names(conversation: Conversation) -> None:
    names = " ; ".join(sorted(set(conversation.names())))
    found = [kind for kind, find, least in _IN_NAMES if any(score >= least for _, _, score in find(names))]
    if found:
        raise InvalidRequest(
            f"A name in the request's tools or schemas holds what must not leave unmasked: {', '.join(found)}.",
            code="value_in_name",
            hint="Names cannot be masked: give it a plain name, and put the value into a description or a message.",
            param="tools",
        )


def _without_ids(conversation: Conversation) -> Conversation:
    """Calls and their results numbered afresh: a client's ids may hold anything, and only say what belongs together."""
    numbers: dict[str, str] = {}

    def numbered(part: Part) -> Part:
        if isinstance(part, ToolCall):
            return replace(part, id=numbers.setdefault(part.id, f"call_{len(numbers) + 1}"))
        if isinstance(part, ToolResult):
            return replace(part, call_id=numbers.setdefault(part.call_id, f"call_{len(numbers) + 1}"))
        return part

    messages = (replace(message, parts=tuple(map(numbered, message.parts))) for message in conversation.messages)
    return replace(conversation, messages=tuple(messages))


def _plain_name(message: Message) -> Message:
    """Providers refuse brackets in a participant's name, and never send one back."""
    if message.name is None or "<" not in message.name:
        return message
    return replace(message, name=re.sub(r"\W+", "_", message.name).strip("_"))


def _noted(result: MaskResult, *, note: bool) -> Conversation:
    conversation = result.masked.conversation
    if not note or not result.found:
        return conversation
    first, *rest = conversation.messages
    if first.role == "system":
        return replace(conversation, messages=(replace(first, parts=(*first.parts, Text("\n\n" + INSTRUCTION))), *rest))
    return replace(conversation, messages=(Message("system", (Text(INSTRUCTION),)), first, *rest))
