"""Answers of the cloud that may be given again: to the same masked request, or, where it is wished, to nearly the same.

Only what is masked is looked at and kept. A request and its answer are kept in canonical form (`privacy.renumber`), so
that the same question with other names finds the answer, and gets it with its own names back. What the answer depends
on besides the words is part of the question: tools, format, sampling, residency, and which providers are set up.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import anyio.to_thread

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.envelope import conversation_to_json
from cloud_bridge.protocol.events import Event, Finish, ReasoningDelta, Served, TextDelta, ToolCallDelta, Usage
from cloud_bridge.protocol.gathered import gather
from cloud_bridge.protocol.masked import Masked
from cloud_bridge.protocol.problems import Problem
from cloud_bridge.protocol.residency import Residency
from edge_agent.privacy.mapping import SessionMapping
from edge_agent.privacy.mask import INSTRUCTION
from edge_agent.privacy.renumber import Numbering
from edge_agent.privacy.restore import StreamRestorer
from edge_agent.routing.decide import CACHED_OFFLINE
from edge_agent.routing.nearness import comparable_words
from edge_agent.state.cached_answers import KeptAnswer, Limits, NewAnswer

if TYPE_CHECKING:
    from collections import Counter

    import numpy as np
    from numpy.typing import NDArray

    from edge_agent.state.state import State

    Embed = Callable[[Sequence[str]], NDArray[np.float32]]

log = logging.getLogger(__name__)

Scope = Literal["device", "session"]

OFFLINE_S = 7 * 86_400.0
"""How old an answer may be that is given where nobody else can answer, whatever `ttl_s` says."""

LONGEST = 1_000_000
"""Bytes of an answer that is kept."""

NEWEST = 200
"""How many answers are compared by meaning."""

_VERSION = 1
_KEPT_REASONS = frozenset({"stop", "tool_calls"})


@dataclass(frozen=True, slots=True)
class CacheRules:
    """What the settings say. `ttl_s`: seconds; `max_bytes` of all answers together.

    `scope` "session": an answer is given again in its own session only. `semantic_threshold`: the cosine from which on
    two wordings are held to be one question; 0: they must be equal. `providers` says who might answer: an answer of
    others is not given.
    """

    exact: bool = True
    scope: Scope = "device"
    ttl_s: float = 86_400
    max_entries: int = 10_000
    max_bytes: int = 64 << 20
    semantic_threshold: float = 0.0
    providers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, masked, with the mapping of its session."""

    masked: Masked
    mapping: SessionMapping
    session_id: str
    residency: Residency | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer found. `reason` is machine-readable; `masked` are its events, with placeholders of the session asking.

    `saved_usd`: what asking again would have cost, in US dollars.
    """

    reason: str
    masked: tuple[Event, ...]
    mapping: SessionMapping = field(repr=False)
    age_s: float
    saved_usd: float

    async def events(self, unknown: Counter[str] | None = None) -> AsyncGenerator[Event]:
        """The answer with the session's values back: `Served` (replayed: it costs nothing) first, `Finish` last."""

        async def masked() -> AsyncIterator[Event]:
            for event in self.masked:
                yield event

        async for event in StreamRestorer(self.mapping, unknown).restore(masked()):
            yield event


class AnswerCache:
    """Finds and keeps answers. A cache that fails is none: a Problem of the state is logged, never raised."""

    def __init__(self, state: State, rules: CacheRules, embed: Embed | None = None) -> None:
        """`embed` turns texts into unit vectors, blocking; without it there is no semantic search."""
        self._state = state
        self._rules = rules
        self._embed = embed if rules.semantic_threshold else None
        self._limits = Limits(rules.max_entries, rules.max_bytes, max(rules.ttl_s, OFFLINE_S))

    async def lookup(self, question: Question, *, offline: bool = False, within_s: float | None = None) -> Hit | None:
        """The answer to `question`, where it is known. `offline`: nobody else can answer, so it may be older.

        `within_s`: the client takes none that is older, whoever can answer.
        """
        if not self._applies(question):
            return None
        oldest_s = OFFLINE_S if offline else self._rules.ttl_s
        oldest_s = oldest_s if within_s is None else min(oldest_s, within_s)
        try:
            return await anyio.to_thread.run_sync(self._lookup, question, oldest_s)
        except Problem as problem:
            log.warning("no answer could be looked up: %s", problem.code)
            return None

    async def keep(self, question: Question, events: Sequence[Event]) -> None:
        """Keep the answer of a provider, its `events` as they came, before anything in them was restored.

        An answer that is not whole, was filtered, or speaks of what the question does not show, is not kept.
        """
        if not self._applies(question):
            return
        try:
            await anyio.to_thread.run_sync(self._keep, question, events)
        except Problem as problem:
            log.warning("an answer could not be kept: %s", problem.code)

    def _applies(self, question: Question) -> bool:
        """Whether asking again would give the same, as far as the request says. Surrogates cannot be renumbered."""
        sampling = question.masked.conversation.sampling
        is_chosen_by_chance = bool(sampling.temperature) or sampling.n > 1
        return (
            self._rules.exact
            and not is_chosen_by_chance
            and not sampling.logprobs  # they tell of tokens, of which placeholders are made
            and question.mapping.surrogates.empty
        )

    def _lookup(self, question: Question, oldest_s: float) -> Hit | None:
        asked = self._asked(question)
        exact = self._state.cached_answer(asked.key)
        if exact is not None:
            hit = self._hit(exact, asked, question, oldest_s, "cache:exact")
            if hit is not None:
                return hit
        return self._nearest(asked, question, oldest_s) if self._embed is not None and asked.near else None

    def _nearest(self, asked: _Asked, question: Question, oldest_s: float) -> Hit | None:
        import numpy as np  # noqa: PLC0415 slow, and the daemon starts without it

        known = self._state.answers_near(asked.near, NEWEST)
        if not known or self._embed is None:
            return None
        words = self._embed([asked.words])[0]
        cosines = np.stack([np.frombuffer(vector, np.float32) for _, vector in known]) @ words
        best = int(cosines.argmax())
        if cosines[best] < self._rules.semantic_threshold:
            return None
        kept = self._state.answer_near(known[best][0])
        reason = f"cache:semantic:{cosines[best]:.2f}>={self._rules.semantic_threshold:.2f}"
        return None if kept is None else self._hit(kept, asked, question, oldest_s, reason)

    def _hit(self, kept: KeptAnswer, asked: _Asked, question: Question, oldest_s: float, reason: str) -> Hit | None:
        if not 0 <= kept.age_s <= oldest_s:
            return None
        events = _masked_events(kept.document, asked.numbering, question.mapping)
        if events is None:
            return None
        served, finish = events[0], events[-1]
        saved = served.cost_usd(finish.usage) if isinstance(served, Served) and isinstance(finish, Finish) else 0.0
        reason = CACHED_OFFLINE if kept.age_s > self._rules.ttl_s else reason
        return Hit(reason, events, question.mapping, kept.age_s, saved)

    def _keep(self, question: Question, events: Sequence[Event]) -> None:
        asked = self._asked(question)
        document = _canonical_answer(events, asked.numbering, question.mapping)
        if document is None:
            return
        embedding = None
        if self._embed is not None and asked.near:
            embedding = self._embed([asked.words])[0].tobytes()
        answer = NewAnswer(question.session_id, asked.key, document, asked.near or None, embedding)
        self._state.keep_answer(answer, self._limits)

    def _asked(self, question: Question) -> _Asked:
        circumstances = {
            "version": _VERSION,
            "providers": self._rules.providers,
            "residency": question.residency,
            "session": question.session_id if self._rules.scope == "session" else None,
        }
        return _Asked.of(question.masked.conversation, circumstances, by_meaning=self._embed is not None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """`key` is all that an answer depends on; `near` the same without `words`, those of the newest user message.

    `near` is empty where nothing is found by meaning, or words of nearly the same meaning might ask for something else.
    """

    key: bytes
    near: bytes
    words: str
    numbering: Numbering

    @classmethod
    def of(cls, conversation: Conversation, circumstances: Mapping[str, Any], *, by_meaning: bool) -> _Asked:
        plain = conversation_to_json(conversation.map_strings(_without_instruction))
        # An array: numbers are given in the order of the messages.
        numbering = Numbering(_json([plain.pop("messages"), plain, circumstances]))
        near, words = b"", ""
        if by_meaning:
            document = json.loads(numbering.canonical)
            words = _take_last_words(document[0])
            counting = comparable_words(words)
            near = b"" if counting is None else _bytes(_json(["near", document, counting]))
        return cls(_bytes(numbering.canonical), near, words, numbering)


def _without_instruction(text: str) -> str:
    """It shows placeholders of its own, and is there exactly where there are others."""
    return text.replace(f"\n\n{INSTRUCTION}", "").replace(INSTRUCTION, "")


def _take_last_words(messages: list[dict[str, Any]]) -> str:
    """The text of the newest user message, which is emptied; "" where something else came after it."""
    if not messages or messages[-1]["role"] != "user" or any(part["type"] != "text" for part in messages[-1]["parts"]):
        return ""
    words = "\n".join(part["text"] for part in messages[-1]["parts"])
    messages[-1]["parts"] = []
    return words


def _canonical_answer(events: Sequence[Event], numbering: Numbering, mapping: SessionMapping) -> dict[str, Any] | None:
    """The answer in canonical form; None where it must not be kept."""
    served = next((event for event in events if isinstance(event, Served)), None)
    answer = gather(events)
    if served is None or answer.others or answer.finish.reason not in _KEPT_REASONS:
        return None
    if not events or not isinstance(events[-1], Finish) or not (answer.text or answer.calls):
        return None
    texts = [answer.text, answer.reasoning, *(call.arguments for call in answer.calls)]
    canonical = [numbering.to_canonical(text, mapping) for text in texts]
    if None in canonical or sum(map(len, texts)) > LONGEST:
        return None
    text, reasoning, *arguments = canonical
    return {
        "served": asdict(served),
        "text": text,
        "reasoning": reasoning,
        "calls": [[call.name, changed] for call, changed in zip(answer.calls, arguments, strict=True)],
        "finish": answer.finish.reason,
        "usage": asdict(answer.finish.usage),
    }


def _masked_events(
    document: Mapping[str, Any], numbering: Numbering, mapping: SessionMapping
) -> tuple[Event, ...] | None:
    """The answer as events with this session's placeholders; None where one could be read as another."""
    texts = [document["text"], document["reasoning"], *(arguments for _, arguments in document["calls"])]
    own = [numbering.from_canonical(text, mapping) for text in texts]
    if None in own:
        return None
    text, reasoning, *arguments = (changed or "" for changed in own)
    calls = (
        # No two calls of a conversation may have one id.
        ToolCallDelta(index, f"call_{secrets.token_hex(12)}", name, changed)
        for index, ((name, _), changed) in enumerate(zip(document["calls"], arguments, strict=True))
    )
    return (
        Served(**{**document["served"], "replayed": True}),
        *([ReasoningDelta(reasoning)] if reasoning else ()),
        *([TextDelta(text)] if text else ()),
        *calls,
        Finish(document["finish"], Usage(**document["usage"])),
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
