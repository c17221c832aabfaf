"""Continuous batching: many answers in one native batch; requests join and leave between steps.

One thread owns an engine. Each step carries one token of every answer that is being written and a piece of
the prompts that are still being read, so a long prompt slows the others down and never stops them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from cloud_bridge.protocol.events import Event, Finish, FinishReason, Usage
from cloud_bridge.protocol.problems import Problem, Unavailable
from edge_agent.runtimes.answer_text import AnswerText
from edge_agent.runtimes.llama_native import Batch, Candidates, Context, Model
from edge_agent.runtimes.request_sampler import RequestSampler, token_logprob
from edge_agent.runtimes.sampling import SamplerSettings
from edge_agent.runtimes.slots import Slot, place

MAX_WAITING = 64
MAX_RUNNING = 4
PROMPT_BATCH = 512
PROMPT_BATCH_BESIDE_ANSWERS = 128
_GROWTH_RESERVE = 64
_QUEUE_RETRY_S = 5.0


class EngineFailedError(RuntimeError):
    """llama.cpp's memory cannot be trusted any more: the process must end."""


@dataclass(slots=True, eq=False)
class Task:
    """One request in the engine. `tokens` is the prompt and then the answer; while it runs it has a slot."""

    task_id: int
    tokens: list[int]
    settings: SamplerSettings
    seed: int
    grammar: str | None = None
    text: AnswerText = field(init=False)
    prompt_tokens: int = field(init=False)
    slot: Slot | None = None
    sampler: RequestSampler | None = None

    def __post_init__(self) -> None:
        self.prompt_tokens = len(self.tokens)
        self.text = AnswerText(self.settings.stop)

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def usage(self) -> Usage:
        """What the request took so far."""
        return Usage(self.prompt_tokens, self.generated)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one task has in a step: `size` tokens, and where its logits will be, if it is to have any."""

    task: Task
    slot: Slot
    size: int
    logits_index: int | None


class Engine:
    """`emit` gets each task's events in order; `fail` its problem, if it has one. Both name the task's id."""

    def __init__(
        self,
        model: Model,
        context: Context,
        *,
        context_length: int,
        emit: Callable[[int, Event], None],
        fail: Callable[[int, Problem], None],
    ) -> None:
        self._model = model
        self._context = context
        self._limit = context_length
        self._emit = emit
        self._fail = fail
        self._batch = Batch(PROMPT_BATCH)
        self._candidates = Candidates(model.n_vocab)
        self._slots = [Slot(sequence) for sequence in range(MAX_RUNNING)]
        self._waiting: deque[Task] = deque()
        self._running: list[Task] = []
        self._uses = count(1)

    @property
    def is_idle(self) -> bool:
        """Whether a step would do nothing."""
        return not self._waiting and not self._running

    def submit(self, task: Task) -> None:
        """Take a task on, or fail it with Unavailable code "queue_full"."""
        if len(self._waiting) >= MAX_WAITING:
            self._fail(task.task_id, _queue_full())
            return
        try:
            task.sampler = RequestSampler(self._model, task.settings, seed=task.seed, grammar=task.grammar)
        except Problem as problem:
            self._fail(task.task_id, problem)
            return
        self._waiting.append(task)

    def cancel(self, task_id: int) -> None:
        """Forget a task; nothing more is emitted for it. Unknown ids are ignored: they may just have finished."""
        for task in [task for task in (*self._waiting, *self._running) if task.task_id == task_id]:
            self._retire(task)

    def step(self) -> None:
        """Evaluate one batch. Raises EngineFailedError where the process must end."""
        self._admit()
        parts = self._fill_batch()
        if not parts:
            return
        outcome = self._context.decode(self._batch)
        if outcome == 1:
            self._make_room()
            return
        if outcome != 0:
            raise EngineFailedError(f"llama_decode returned {outcome}")
        for part in parts:
            part.slot.cells += part.size
        for part in parts:
            if part.logits_index is not None:
                self._continue_answer(part.task, part.logits_index)

    def _admit(self) -> None:
        while self._waiting and self._has_cells_for(self._waiting[0]):
            task = self._waiting[0]
            placement = place(self._slots, task.tokens)
            if placement is None:
                return
            self._waiting.popleft()
            shared = placement.shared if self._model.can_share_prefixes else 0
            slot, source = placement.slot, placement.source
            if source is not slot:
                self._context.forget(slot.sequence)
                if shared:
                    self._context.share(source.sequence, slot.sequence, shared)
            elif not self._context.forget(slot.sequence, shared):
                self._context.forget(slot.sequence)
                shared = 0
            slot.is_busy = True
            slot.tokens, slot.cells = task.tokens, shared
            task.slot = slot
            self._running.append(task)

    def _has_cells_for(self, task: Task) -> bool:
        """Whether all would fit with a little growth; alone a task always does."""
        wanted = [len(each.tokens) + _GROWTH_RESERVE for each in (*self._running, task)]
        return len(wanted) == 1 or sum(wanted) <= self._context.n_ctx

    def _fill_batch(self) -> list[_Part]:
        """One token of each answer, then as much of the prompts as one step should read."""
        self._batch.clear()
        missing = [(task, slot, len(task.tokens) - slot.cells) for task in self._running if (slot := task.slot)]
        writing = [(task, slot) for task, slot, tokens in missing if tokens == 1]
        parts = [self._add_tokens(task, slot, 1) for task, slot in writing]
        budget = min(self._batch.room, PROMPT_BATCH_BESIDE_ANSWERS if writing else PROMPT_BATCH)
        for task, slot, tokens in missing:
            size = min(budget, tokens)
            if tokens > 1 and size:
                parts.append(self._add_tokens(task, slot, size))
                budget -= size
        return parts

    def _add_tokens(self, task: Task, slot: Slot, size: int) -> _Part:
        last = len(task.tokens) - 1
        index = None
        for position in range(slot.cells, slot.cells + size):
            added = self._batch.add(task.tokens[position], position, slot.sequence, wants_logits=position == last)
            index = added if position == last else None
        return _Part(task, slot, size, index)

    def _continue_answer(self, task: Task, logits_index: int) -> None:
        assert task.sampler is not None  # noqa: S101 - submitted tasks have one
        logits = self._context.logits(logits_index)
        try:
            token = task.sampler.choose(logits, self._candidates)
        except Problem as problem:
            self._retire(task)
            self._fail(task.task_id, problem)
            return
        if self._model.is_end(token):
            self._finish(task, "stop")
            return
        logprob = token_logprob(logits, token, self._model, task.settings.top_logprobs)
        task.tokens.append(token)
        delta = task.text.add(self._model.piece(token), logprob)
        if delta is not None:
            self._emit(task.task_id, delta)
        if task.text.stopped:
            self._finish(task, "stop")
        elif task.generated == task.settings.max_tokens or len(task.tokens) >= self._limit:
            self._finish(task, "length")

    def _finish(self, task: Task, reason: FinishReason) -> None:
        rest = task.text.end()
        if rest is not None:
            self._emit(task.task_id, rest)
        self._retire(task)
        self._emit(task.task_id, Finish(reason, task.usage))

    def _retire(self, task: Task) -> None:
        """Take a task out; its cells stay for whoever begins alike."""
        if task in self._waiting:
            self._waiting.remove(task)
        if task in self._running:
            self._running.remove(task)
        self._leave_slot(task)
        if task.sampler is not None:
            task.sampler.close()

    def _leave_slot(self, task: Task) -> None:
        slot, task.slot = task.slot, None
        if slot is not None:
            slot.is_busy = False
            slot.tokens = task.tokens[: slot.cells]
            slot.last_used = next(self._uses)

    def _make_room(self) -> None:
        """The memory is full: first what is only kept goes, then the youngest task goes back to the queue."""
        kept = [slot for slot in self._slots if slot.cells and not slot.is_busy]
        if kept:
            oldest = min(kept, key=lambda slot: slot.last_used)
            self._empty(oldest)
            return
        if len(self._running) < 2:
            raise EngineFailedError("a single request does not fit into the memory")
        youngest = self._running.pop()
        slot = youngest.slot
        self._leave_slot(youngest)
        if slot is not None:
            self._empty(slot)
        self._waiting.appendleft(youngest)

    def _empty(self, slot: Slot) -> None:
        self._context.forget(slot.sequence)
        slot.tokens, slot.cells = [], 0


def _queue_full() -> Unavailable:
    return Unavailable(
        f"{MAX_WAITING} requests are waiting for this model already.",
        code="queue_full",
        hint="Try again later, or ask with `model: cloud`.",
        retry_after_s=_QUEUE_RETRY_S,
    )
