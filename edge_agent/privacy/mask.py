"""Masking a conversation: the only place where `Masked` is made."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
import anyio.to_thread

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import Problem, Unsafe
from edge_agent.privacy import documents, kinds, seams
from edge_agent.privacy.detect import Detector, go_on, privacy_failed
from edge_agent.privacy.documents import Document
from edge_agent.privacy.mapping import SessionMapping
from edge_agent.privacy.referred_to import (
    plain_name,
    refuse_people_in_names,
    refuse_values_in_names,
    short_seed,
    without_ids,
)
from edge_agent.privacy.restore import restore_text
from edge_agent.privacy.second_check import SecondCheck
from edge_agent.privacy.spans import Span, resolve
from edge_agent.privacy.surrogates.apart import apart, stands_alone
from edge_agent.privacy.vault import Vault

INSTRUCTION = (
    "Some values in this conversation are withheld and shown as placeholders: a type and a number in angle "
    "brackets, such as <PERSON_1>. Treat each as the value it stands for; <PERSON_1B> is the same one as <PERSON_1>, "
    "written another way. When you need one, write it exactly as it is shown, and never make up new ones."
)
"""For the model that gets a masked conversation."""

TIMEOUT_S = 60.0
"""How long masking may take, unless the settings say otherwise. The first text loads the models."""


@dataclass(frozen=True, slots=True)
class FoundEntity:
    """One masked span: what it was found as, how certainly, what stands in its place, and where it stood.

    `start` and `end` are characters of the unmasked string at `path`, such as `messages[0].content`.
    """

    type: str
    placeholder: str
    score: float
    path: str = ""
    start: int = 0
    end: int = 0

    @property
    def is_placeholder(self) -> bool:
        """Whether a placeholder stands in its place, and no surrogate."""
        return self.placeholder.startswith("<")


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
    conversation: Conversation,
    *,
    detector: Detector,
    vault: Vault,
    session_id: str,
    note: bool = False,
    check: SecondCheck | None = None,
    timeout_s: float = TIMEOUT_S,
    began: str | None = None,
) -> MaskResult:
    """`conversation` with every value found in it replaced by its placeholder in the session.

    The placeholders are kept before this returns. `note` appends INSTRUCTION to the system message where
    anything was masked. Raises Problem where detection or the vault fails or takes longer than `timeout_s`, where
    `check` finds a value in what is masked, and where the session was forgotten since `began` (the vault's; None:
    since now) and values would come back to it; nothing is masked by halves.
    """
    check = check or SecondCheck()
    async with _in_time(timeout_s) as stop:
        began = began or await vault.began(session_id)
        await anyio.to_thread.run_sync(refuse_values_in_names, conversation, check, abandon_on_cancel=True)
        findings = await anyio.to_thread.run_sync(_find, conversation, detector, stop, abandon_on_cancel=True)
        async with vault.changing(session_id, began) as mapping:
            # This mapping is nobody else's, and is not kept when time is up: the thread may be left with it.
            result = await anyio.to_thread.run_sync(
                _masked_with_all_known, conversation, findings, mapping, stop, abandon_on_cancel=True
            )
            masked = result.masked.conversation
            await anyio.to_thread.run_sync(check.conversation, masked, mapping.stands_in, abandon_on_cancel=True)
    return replace(result, masked=replace(result.masked, conversation=_noted(result, note=note)))


async def anonymize_text(
    text: str, detector: Detector, vault: Vault, session_id: str, timeout_s: float = TIMEOUT_S
) -> tuple[str, list[dict[str, str | int | float]]]:
    """`text` masked, and `{"type", "start", "end", "placeholder", "score"}` of each value in `text` as given.

    Raises Problem as `mask` does.
    """
    async with _in_time(timeout_s) as stop:
        began = await vault.began(session_id)
        spans = await anyio.to_thread.run_sync(detector.detect, text, stop, abandon_on_cancel=True)
        async with vault.changing(session_id, began) as mapping:
            masked, settled, found = await anyio.to_thread.run_sync(
                _anonymized, text, spans, mapping, abandon_on_cancel=True
            )
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


@asynccontextmanager
async def _in_time(timeout_s: float) -> AsyncIterator[threading.Event]:
    """Bound what is masked in the block. What it raises comes out as Problem.

    No thread can be stopped: one that is left when time is up reads the event, which is set when the block ends.
    """
    stop = threading.Event()
    try:
        with anyio.fail_after(timeout_s):
            yield stop
    except Problem:
        raise
    except TimeoutError as error:
        raise _too_slow(timeout_s) from error
    except Exception as error:
        raise privacy_failed("Masking failed.") from error
    finally:
        stop.set()


def _anonymized(text: str, spans: Sequence[Span], mapping: SessionMapping) -> tuple[str, list[Span], list[FoundEntity]]:
    mapping.surrogates.beware([text])
    mapping.meet(text[span.start : span.end] for span in spans if span.type == "PERSON")
    settled = settle(text, spans, mapping)
    masked, found = replace_spans(text, settled, mapping)
    return masked, settled, found


def settle(text: str, spans: Sequence[Span], mapping: SessionMapping) -> list[Span]:
    """What to replace in `text`: what was detected, what the session knows, and what looks like a placeholder."""
    literals = [
        Span(match.start(), match.end(), kinds.LITERAL, 1.0) for match in mapping.grammar.pattern.finditer(text)
    ]
    known = mapping.known(text)
    settled = resolve([*spans, *known, *literals], text) if known or literals else list(spans)
    return apart(text, settled, mapping.surrogates)


def replace_spans(text: str, spans: Sequence[Span], mapping: SessionMapping) -> tuple[str, list[FoundEntity]]:
    """`text` with each of `spans` (settled: in order, not overlapping) replaced by its placeholder or surrogate."""

    def shown(span: Span) -> str:
        chosen = mapping.stand_in_for if stands_alone(text, span) else mapping.placeholder_for
        return chosen(span.type, text[span.start : span.end])

    masked, found = _replaced(text, spans, shown)
    if all(entity.is_placeholder for entity in found) or restore_text(masked, mapping) == text:
        return masked, found
    # Beside this text a surrogate would be read as another; a placeholder never is.
    return _replaced(text, spans, lambda span: mapping.placeholder_for(span.type, text[span.start : span.end]))


def _replaced(text: str, spans: Sequence[Span], shown: Callable[[Span], str]) -> tuple[str, list[FoundEntity]]:
    pieces: list[str] = []
    found: list[FoundEntity] = []
    position = 0
    for span in spans:
        placeholder = shown(span)
        pieces += (text[position : span.start], placeholder)
        found.append(FoundEntity(span.type, placeholder, span.score))
        position = span.end
    return "".join([*pieces, text[position:]]), found


def _find(conversation: Conversation, detector: Detector, stop: threading.Event) -> _Findings:
    findings = _Findings()

    def detected(value: str) -> list[Span]:
        go_on(stop)
        return detector.detect(value, stop)

    def text(value: str) -> str:
        if value not in findings.texts:
            findings.texts[value] = detected(value)
        return value

    def document(source: str) -> str:
        read = documents.read(source)
        if read is None:
            return text(source)
        if source not in findings.documents:
            findings.documents[source] = (read, detected(read.lines))
        return source

    conversation.map_strings(text, document)
    for message in conversation.messages:
        texts = [part.text for part in message.parts if isinstance(part, Text)]
        for value, spans in zip(texts, seams.across(texts, detected), strict=True):
            if spans:
                findings.texts[value] = resolve([*findings.texts[value], *spans], value)
    return findings


def _masked_with_all_known(
    conversation: Conversation, findings: _Findings, mapping: SessionMapping, stop: threading.Event
) -> MaskResult:
    """Mask twice: what was found in a later text is known in the earlier ones only then."""
    mapping.surrogates.beware([*findings.texts, *(read.lines for read, _ in findings.documents.values())])
    mapping.meet(_people(findings))
    refuse_people_in_names(conversation, mapping)
    _masked(conversation, findings, mapping, stop)
    return _masked(conversation, findings, mapping, stop)


def _masked(
    conversation: Conversation, findings: _Findings, mapping: SessionMapping, stop: threading.Event
) -> MaskResult:
    found: list[FoundEntity] = []
    places = conversation.places()

    def changed(value: str, spans: Sequence[Span], path: str, place: Callable[[int], int]) -> str:
        go_on(stop)
        settled = settle(value, spans, mapping)
        masked, entities = replace_spans(value, settled, mapping)
        found.extend(
            replace(entity, path=path, start=place(span.start), end=place(span.end - 1) + 1)
            for span, entity in zip(settled, entities, strict=True)
        )
        return masked

    def text(value: str) -> str:
        return changed(value, findings.texts[value], next(places), int)

    def document(source: str) -> str:
        if source not in findings.documents:
            return text(source)
        read, spans = findings.documents[source]
        path, touched = next(places), read.touched(spans)
        return read.changed(spans, lambda value, inside: changed(value, inside, path, read.places(next(touched)[0])))

    masked = conversation.map_strings(text, document)
    masked = short_seed(without_ids(replace(masked, messages=tuple(map(plain_name, masked.messages)))))
    counted = tuple(entity for entity in found if entity.type != kinds.LITERAL)
    return MaskResult(Masked(masked, dict(Counter(entity.type for entity in counted))), counted)


def _people(findings: _Findings) -> Iterator[str]:
    shown = ((read.lines, spans) for read, spans in findings.documents.values())
    for text, spans in (*findings.texts.items(), *shown):
        yield from (text[span.start : span.end] for span in spans if span.type == "PERSON")


def _too_slow(timeout_s: float) -> Unsafe:
    return Unsafe(
        f"Looking for what must not leave took longer than {timeout_s:g} s.",
        code="privacy_timeout",
        hint="Nothing was sent. Send less text at once, or raise [privacy] timeout_s in config.toml.",
    )


def _noted(result: MaskResult, *, note: bool) -> Conversation:
    conversation = result.masked.conversation
    if not note or not any(entity.is_placeholder for entity in result.found):
        return conversation
    first, *rest = conversation.messages
    if first.role == "system":
        return replace(conversation, messages=(replace(first, parts=(*first.parts, Text("\n\n" + INSTRUCTION))), *rest))
    return replace(conversation, messages=(Message("system", (Text(INSTRUCTION),)), first, *rest))
