"""What one evaluation carries, and for whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_agent.runtimes.decoders.decoder import Decoder, Span
from edge_agent.runtimes.engine.prompt_lookup import PromptLookup
from edge_agent.runtimes.engine.slots import Slot
from edge_agent.runtimes.engine.task import Answer


@dataclass(frozen=True, slots=True)
class Part:
    """One answer's tokens in a step, `draft` the last of them: guessed, or all that the answer's format allows."""

    answer: Answer
    slot: Slot
    span: Span
    draft: Sequence[int] = ()
    is_guess: bool = True


@dataclass(frozen=True, slots=True)
class Draft:
    """What follows an answer's last token: for certain, or as a guess."""

    tokens: Sequence[int]
    is_guess: bool


@dataclass(slots=True)
class Step:
    """All parts of one evaluation; `read` counts its prompt tokens, `drafted` its drafted ones."""

    adapter: str | None = None
    parts: list[Part] = field(default_factory=list)
    read: int = 0
    drafted: int = 0

    def write(self, answer: Answer, draft: Draft) -> None:
        """The answer's last token, whose logits are wanted, and what follows it."""
        slot = _slot(answer)
        tokens = [*answer.tokens[slot.cells :], *draft.tokens]
        span = Span(slot.sequence, slot.cells, tokens, wanted=len(draft.tokens) + 1)
        self.parts.append(Part(answer, slot, span, draft.tokens, draft.is_guess))
        self.drafted += len(draft.tokens)

    def continue_reading(self, answer: Answer, size: int) -> None:
        """The next `size` tokens of the prompt; at its end the logits are wanted."""
        slot = _slot(answer)
        tokens = answer.tokens[slot.cells : slot.cells + size]
        span = Span(slot.sequence, slot.cells, tokens, wanted=int(size == answer.missing))
        self.parts.append(Part(answer, slot, span))
        self.read += size


def draft(answer: Answer, most: int, decoder: Decoder, *, alone: bool) -> Draft:
    """What probably follows, up to `most` tokens.

    Guesses are made only for an answer that is alone: beside others, those fill the batch better than a guess.
    """
    limit = answer.task.settings.max_tokens or decoder.context_length
    left = min(limit - answer.generated, decoder.context_length - len(answer.tokens))
    most = min(most, left - 1)
    if most < 1 or not decoder.can_share_prefixes:
        return Draft((), is_guess=True)
    forced = answer.forced_tokens()
    if forced:
        return Draft(forced[:most], is_guess=False)
    if not alone or decoder.cells - len(answer.tokens) <= most:
        return Draft((), is_guess=True)
    if answer.lookup is None:
        answer.lookup = PromptLookup(answer.tokens)
    return Draft(answer.lookup.draft(most), is_guess=True)


def _slot(answer: Answer) -> Slot:
    assert answer.slot is not None  # noqa: S101 - running answers have one; this tells the type checker
    return answer.slot
