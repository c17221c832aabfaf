"""A request in the engine: one prompt and one or more answers to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cloud_bridge.protocol.events import ChoiceEvent, Event, Finish, FinishReason, OtherChoice, Usage
from edge_agent.runtimes.chat.answer_format import AnswerFormat
from edge_agent.runtimes.chat.answer_text import AnswerText
from edge_agent.runtimes.chat.constraint import Constraint
from edge_agent.runtimes.engine.prompt_lookup import PromptLookup
from edge_agent.runtimes.engine.sampling import SamplerSettings
from edge_agent.runtimes.engine.slots import Slot
from edge_agent.runtimes.engine.token_sampler import TokenSampler

Emit = Callable[[Event], None]


@dataclass(slots=True, eq=False)
class Answer:
    """One answer as it grows. `tokens` is the prompt and then the answer; while it runs it has a slot."""

    task: Task
    index: int
    tokens: list[int]
    text: AnswerText
    sampler: TokenSampler
    constraint: Constraint | None
    lookup: PromptLookup | None = None
    slot: Slot | None = None
    finish: Finish | None = None
    forced: list[int] = field(default_factory=list)

    def forced_tokens(self) -> list[int]:
        """What must come next and is not said yet. Whoever says the first of them takes it out."""
        if not self.forced and self.constraint is not None:
            self.forced = self.constraint.forced()
        return self.forced

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.task.prompt_tokens

    @property
    def missing(self) -> int:
        """Tokens that have no cell yet."""
        return len(self.tokens) - (self.slot.cells if self.slot else 0)


@dataclass(slots=True, eq=False)
class Task:
    """A request. `emit` gets its events: those of the first answer as they are, of others as `OtherChoice`.

    `adapter`: the decoder's name of the LoRA adapter that all of it is computed with, None for the plain model.

    The one plain `Finish` comes last, when all answers are there, with the usage of all.
    """

    task_id: int
    prompt: Sequence[int]
    settings: SamplerSettings
    seed: int
    format: AnswerFormat
    constraint: Constraint | None
    emit: Emit
    adapter: str | None = None
    prompt_tokens: int = field(init=False)
    answers: list[Answer] = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.prompt)
        self.answers = list(self._make_answers())

    @property
    def is_reproducible(self) -> bool:
        """Whoever names a seed wants the same answer again.

        Kernels for many tokens round differently from those for one, so the prompt is read anew, in pieces of one
        size, whatever of it is kept from before and however fast this machine is.
        """
        return self.settings.seed is not None

    def pass_on(self, answer: Answer, events: Sequence[ChoiceEvent]) -> None:
        """Emit an answer's events."""
        for event in events:
            self.emit(OtherChoice(answer.index, event) if answer.index else event)

    def end(self, answer: Answer, reason: FinishReason) -> None:
        """An answer is complete; where it was the last one, so is the task."""
        answer.finish = Finish(reason, Usage(self.prompt_tokens, answer.generated))
        if answer.index:
            self.pass_on(answer, [Finish(reason)])
        finished = [each.finish for each in self.answers if each.finish is not None]
        if len(finished) == len(self.answers):
            tokens = sum(each.usage.completion_tokens for each in finished)
            self.emit(Finish(finished[0].reason, Usage(self.prompt_tokens, tokens)))

    def _make_answers(self) -> Iterator[Answer]:
        for index in range(self.settings.n):
            yield Answer(
                task=self,
                index=index,
                tokens=list(self.prompt),
                text=AnswerText(self.settings.stop, self.format),
                sampler=TokenSampler(self.settings, self.seed + index),
                constraint=self.constraint if index == 0 or self.constraint is None else self.constraint.copy(),
            )
