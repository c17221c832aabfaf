"""What every answer says of itself: the `edge` object of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Route = Literal["local", "cloud", "cache", "queued", "refused"]


@dataclass(frozen=True, slots=True)
class Intent:
    """The best label for a text, its probability, and whether the text is outside all known labels.

    `also`: what else the text asks for, each label once, the surest first.
    """

    label: str
    confidence: float
    out_of_scope: bool
    also: tuple[Intent, ...] = ()

    @property
    def every(self) -> tuple[Intent, ...]:
        """The best one, and what else the text asks for."""
        return (self, *self.also)

    def to_json(self) -> dict[str, Any]:
        """The object as the contract spells it, `also` only where there is more than one."""
        document: dict[str, Any] = {
            "label": self.label,
            "confidence": self.confidence,
            "out_of_scope": self.out_of_scope,
        }
        return document | {"also": [intent.to_json() for intent in self.also]} if self.also else document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Intent:
        """The inverse of `to_json`."""
        also = tuple(map(cls.from_json, document.get("also", ())))
        return cls(document["label"], document["confidence"], document["out_of_scope"], also)


@dataclass(frozen=True, slots=True)
class ImplicitPassage:
    """Where somebody is described: from `start` to `end` of a part of a message. It may run into the next parts.

    All are counted from 0; `start` and `end` in characters from the beginning of `part`.
    """

    message: int
    part: int
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class ImplicitIdentity:
    """How likely a request describes somebody without naming them, in [0, 1]; the passages reach `threshold`."""

    score: float
    threshold: float
    passages: tuple[ImplicitPassage, ...] = ()

    @property
    def found(self) -> bool:
        """Whether somebody is described well enough to be identified."""
        return bool(self.passages)


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """What was masked (type to count), how many bytes left, and the ledger entry that holds them.

    `implicit`: None where nobody looked for it, since nothing was to leave. `unknown_placeholders`: how many that stand
    for nothing the answer held; they are left in it as they are.
    """

    entities: Mapping[str, int] = field(default_factory=dict)
    bytes_sent: int = 0
    ledger_id: str | None = None
    implicit: ImplicitIdentity | None = None
    unknown_placeholders: int = 0

    def to_json(self) -> dict[str, Any]:
        """The object as the contract spells it, and what was looked for beyond that. Holds no text."""
        document = {"entities": dict(self.entities), "bytes_sent": self.bytes_sent, "ledger_id": self.ledger_id}
        if self.unknown_placeholders:
            document |= {"unknown_placeholders": self.unknown_placeholders}
        return document if self.implicit is None else {**document, "implicit": asdict(self.implicit)}


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds; None where the step did not happen."""

    route: float | None = None
    anonymize: float | None = None
    first_token: float | None = None
    total: float | None = None


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """A passage that the model was given: its number in a document of the user's, or in an earlier turn.

    `name`: the document's, for the client that is answered; it is not recorded.
    """

    number: int
    document: str | None = None
    turn: str | None = None
    name: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The object as clients see it."""
        document = {"document": self.document, "turn": self.turn, "passage": self.number, "name": self.name}
        return {key: value for key, value in document.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Report:
    """How an answer came to be. `reasons` are in the order in which they decided."""

    decision_id: str
    session_id: str
    trace_id: str
    route: Route
    reasons: tuple[str, ...] = ()
    intent: Intent | None = None
    confidence: float | None = None
    threshold: float | None = None
    model: str | None = None
    provider: str | None = None
    privacy: PrivacyReport = PrivacyReport()
    cost_usd: float = 0.0
    saved_usd: float = 0.0
    timings_ms: Timings = Timings()
    provisional: bool = False
    job_id: str | None = None
    memory: tuple[MemoryUse, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object as the contract spells it."""
        document: dict[str, Any] = {
            "decision_id": self.decision_id,
            "session_id": self.session_id,
            "trace_id": self.trace_id,
            "route": self.route,
            "reasons": list(self.reasons),
            "intent": None if self.intent is None else self.intent.to_json(),
            "confidence": self.confidence,
            "threshold": self.threshold,
            "model": self.model,
            "provider": self.provider,
            "privacy": self.privacy.to_json(),
            "cost_usd": self.cost_usd,
            "saved_usd": self.saved_usd,
            "timings_ms": {
                "route": self.timings_ms.route,
                "anonymize": self.timings_ms.anonymize,
                "first_token": self.timings_ms.first_token,
                "total": self.timings_ms.total,
            },
            "provisional": self.provisional,
        }
        if self.job_id is not None:
            document["job_id"] = self.job_id
        if self.memory:
            document["memory"] = [use.to_json() for use in self.memory]
        return document
