"""Continuous batching: many answers in one evaluation; requests join and leave between steps.

One thread owns an engine. Each step carries one token of every answer that is being written, with a draft of what
may follow where that pays, and a piece of the prompts that are still being read, so a long prompt slows the others
down and never stops them. An adapter changes the whole model for a step: where requests want different ones, their
steps take turns.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import count

from cloud_bridge.protocol.events import FinishReason
from cloud_bridge.protocol.problems import Broken, Problem, Unavailable
from edge_agent.runtimes.decoders.decoder import DRAFTED_TOKENS, STEP_TOKENS, Decoder, Logits, NoRoomError
from edge_agent.runtimes.engine.pace import FIRST, Pace
from edge_agent.runtimes.engine.slots import Slot, place
from edge_agent.runtimes.engine.step import Part, Step, draft
from edge_agent.runtimes.engine.task import Answer, Task
from edge_agent.runtimes.engine.token_sampler import token_logprob
from edge_agent.runtimes.engine.turns import Turns

_GROWTH_RESERVE = 64
_QUEUE_RETRY_S = 5.0


class EngineFailedError(RuntimeError):
    """The decoder's memory cannot be trusted any more: the process must end."""


class Engine:
    """Runs tasks on a decoder. `fail` gets the id of a task that has a problem, and the problem."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        max_waiting: int,
        fail: Callable[[int, Problem], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._decoder = decoder
        self._vocabulary = decoder.vocabulary
        self._ends = frozenset(decoder.vocabulary.end_tokens)
        self._max_waiting = max_waiting
        self._fail = fail
        self._pace = Pace(clock)
        self._turns = Turns()
        self._slots = [Slot(sequence) for sequence in range(decoder.sequences)]
        self._waiting: deque[Answer] = deque()
        self._running: list[Answer] = []
        # Since an answer had to give its cells up, and until another one ends: it would only be sent back again.
        self._is_full = False
        self._uses = count(1)

    @property
    def is_idle(self) -> bool:
        """Whether a step would do nothing."""
        return not self._waiting and not self._running

    def submit(self, task: Task) -> None:
        """Take a task on, or fail it with Unavailable code "queue_full"."""
        self._waiting.extend(task.answers)
        self._admit()
        seated = {answer.task.task_id for answer in self._running}
        waiting = {answer.task.task_id for answer in self._waiting} - seated
        if task.task_id in waiting and len(waiting) > self._max_waiting:
            self._fail_task(task, _queue_full(self._max_waiting))

    def cancel(self, task_id: int) -> None:
        """Forget a task; nothing more is emitted for it. Unknown ids are ignored: they may just have finished."""
        for answer in [each for each in (*self._waiting, *self._running) if each.task.task_id == task_id]:
            self._retire(answer)

    def step(self) -> None:
        """Evaluate once. Raises EngineFailedError where the process must end."""
        self._admit()
        step = self._next_step()
        if not step.parts:
            return
        try:
            with self._pace.timing(step.read):
                found = self._decoder.evaluate([part.span for part in step.parts], step.adapter)
        except NoRoomError:
            self._make_room()
            return
        except RuntimeError as error:
            raise EngineFailedError(str(error)) from error
        for part in step.parts:
            part.slot.cells += len(part.span.tokens)
        for part, logits in zip(step.parts, found, strict=True):
            # Another answer of the same task may have failed a moment ago, and taken this one with it.
            if part.span.wanted and part.answer.slot is part.slot:
                self._continue(part, logits)

    def _admit(self) -> None:
        """Give slots to those who wait, first come, first served."""
        if self._is_full and self._running:
            return
        self._is_full = False
        held: list[Answer] = []
        while self._waiting and len(self._running) < len(self._slots):
            answer = self._waiting.popleft()
            if self._has_to_wait_for_its_prompt(answer):
                held.append(answer)
                continue
            placement = place(self._slots, answer.tokens, answer.task.adapter) if self._has_cells_for(answer) else None
            if placement is None:
                held.append(answer)
                break
            self._seat(answer, placement.slot, placement.source, placement.shared)
        self._waiting.extendleft(reversed(held))

    def _has_to_wait_for_its_prompt(self, answer: Answer) -> bool:
        """A second answer to a prompt takes over what the first one has read, once it has."""
        first = answer.task.answers[0]
        return answer is not first and first.slot is not None and first.generated == 0

    def _seat(self, answer: Answer, slot: Slot, source: Slot, shared: int) -> None:
        if not self._decoder.can_share_prefixes:
            shared = 0
        if answer.task.is_reproducible and answer.index == 0:
            source, shared = slot, 0
        if source is not slot:
            self._decoder.forget(slot.sequence)
            if shared:
                self._decoder.share(source.sequence, slot.sequence, shared)
        elif not self._decoder.forget(slot.sequence, shared):
            self._decoder.forget(slot.sequence)
            shared = 0
        slot.is_busy = True
        slot.adapter = answer.task.adapter
        slot.tokens, slot.cells = answer.tokens, shared
        answer.slot = slot
        self._running.append(answer)

    def _has_cells_for(self, answer: Answer) -> bool:
        """Whether all would fit with a little growth; a prompt counts once. Alone an answer always does."""
        answers = (*self._running, answer)
        prompts = {each.task.task_id: each.task.prompt_tokens for each in answers}
        wanted = sum(prompts.values()) + sum(each.generated + _GROWTH_RESERVE for each in answers)
        return len(answers) == 1 or wanted <= self._decoder.cells

    def _next_step(self) -> Step:
        """One token of each answer that is being written, drafts, then as much of the prompts as there is time for."""
        running = self._turns.next(self._running)
        step = Step(running[0].task.adapter if running else None)
        reading = sorted((each for each in running if each.missing > 1), key=lambda each: each.missing)
        writing = [answer for answer in running if answer.missing == 1]
        if not reading:
            writing = self._turns.company(writing, self._decoder.slow_widths)
        for answer in writing:
            step.write(answer, draft(answer, DRAFTED_TOKENS - step.drafted, self._decoder, alone=len(running) == 1))
        written = sum(len(part.span.tokens) for part in step.parts)
        if any(answer.task.is_reproducible for answer in reading):
            budget = FIRST
        else:
            # Answers with another adapter wait for this step, too.
            beside = any(answer.missing == 1 for answer in self._running)
            budget = min(self._pace.prompt_tokens(beside_answers=beside), STEP_TOKENS - written)
        for left, answer in zip(range(len(reading), 0, -1), reading, strict=True):
            # The shortest first, each with an equal share at most of what is left: a long prompt holds nobody up.
            size = min(answer.missing, max(1, budget // left))
            if budget > 0:
                step.continue_reading(answer, size)
                budget -= size
        return step

    def _continue(self, part: Part, rows: Logits) -> None:
        """Choose the next tokens, as far as the draft holds, and one more."""
        answer = part.answer
        right, reason, problem = 0, None, None  # type: int, FinishReason | None, Problem | None
        try:
            right, reason = self._choose_all(part, rows)
            if reason is not None:
                answer.task.pass_on(answer, answer.text.end())
        except Problem as error:
            problem = error
        except Exception as error:  # noqa: BLE001 - one answer may fail; the others must not go with it
            sys.stderr.write(f"an answer failed: {type(error).__name__}\n")
            problem = unforeseen()
        if right < len(part.draft):
            part.slot.cells -= len(part.draft) - right
            self._decoder.forget(part.slot.sequence, part.slot.cells)
        if part.draft and part.is_guess and answer.lookup is not None:
            answer.lookup.judged(len(part.draft), right)
        if problem is not None:
            self._fail_task(answer.task, problem)
        elif reason is not None:
            self._retire(answer)
            answer.task.end(answer, reason)

    def _choose_all(self, part: Part, rows: Logits) -> tuple[int, FinishReason | None]:
        """How many of the drafted tokens were right, and why the answer ends, if it does."""
        answer = part.answer
        for right, (row, guess) in enumerate(zip(rows, (*part.draft, None), strict=True)):
            token = self._choose(answer, row)
            if token in self._ends:
                return right, answer.text.finish_reason(cut=False)
            reason = self._take(answer, token, row)
            if reason is not None or token != guess:
                return right + int(token == guess), reason
        raise AssertionError("the last row has no guess")

    def _choose(self, answer: Answer, logits: Logits) -> int:
        """The next token, which counts as said. Raises Broken code "inference_failed" where the rules allow none.

        Where there is no choice no dice are thrown, drafted or not: the same seed gives the same answer in any company.
        """
        constraint, sampler = answer.constraint, answer.sampler
        forced = answer.forced_tokens()
        if forced:
            token = forced.pop(0)
        else:
            changes = constraint is not None or answer.task.settings.penalizes
            token = sampler.choose(logits.copy() if changes else logits, constraint)
        if constraint is not None:
            constraint.accept(token)
        sampler.accept(token)
        return token

    def _take(self, answer: Answer, token: int, logits: Logits) -> FinishReason | None:
        """Add a chosen token to the answer; why it ends with that, if it does."""
        settings = answer.task.settings
        text = answer.text
        logprob = token_logprob(logits, token, self._vocabulary, settings.top_logprobs)
        answer.tokens.append(token)
        if answer.lookup is not None:
            answer.lookup.extend(token)
        answer.task.pass_on(answer, text.add(self._spelled(answer, token), logprob))
        if text.stopped or (answer.constraint is not None and answer.constraint.is_over):
            return text.finish_reason(cut=False)
        if answer.generated == settings.max_tokens or len(answer.tokens) >= self._decoder.context_length:
            return text.finish_reason(cut=True)
        return None

    def _spelled(self, answer: Answer, token: int) -> bytes:
        """A token's text; a control token that the answer's format gives a meaning to is spelled out."""
        piece = self._vocabulary.piece(token)
        if piece or not answer.task.format.markers:
            return piece
        spelling = self._vocabulary.spelling(token)
        return spelling.encode() if spelling in answer.task.format.markers else b""

    def _fail_task(self, task: Task, problem: Problem) -> None:
        self.cancel(task.task_id)
        self._fail(task.task_id, problem)

    def _retire(self, answer: Answer) -> None:
        """Take an answer out; its cells stay for whoever begins alike."""
        if answer in self._waiting:
            self._waiting.remove(answer)
        if answer in self._running:
            self._running.remove(answer)
            self._is_full = False
        self._leave_slot(answer)

    def _leave_slot(self, answer: Answer) -> None:
        slot, answer.slot = answer.slot, None
        if slot is not None:
            slot.is_busy = False
            slot.tokens = answer.tokens[: slot.cells]
            slot.last_used = next(self._uses)

    def _make_room(self) -> None:
        """The memory is full: first what is only kept goes, then the youngest answer goes back to the queue."""
        kept = [slot for slot in self._slots if slot.cells and not slot.is_busy]
        if kept:
            self._empty(min(kept, key=lambda slot: slot.last_used))
            return
        if len(self._running) < 2:
            raise EngineFailedError("a single request does not fit into the memory")
        youngest = self._running.pop()
        slot = youngest.slot
        self._leave_slot(youngest)
        if slot is not None:
            self._empty(slot)
        self._waiting.appendleft(youngest)
        self._is_full = True

    def _empty(self, slot: Slot) -> None:
        self._decoder.forget(slot.sequence)
        slot.tokens, slot.cells = [], 0


def unforeseen() -> Broken:
    """What was not thought of. Its own words stay here: they may hold a person's."""
    return Broken(
        "The model's process could not carry out this request.",
        code="inference_failed",
        hint="Simplify the request; if it stays, report it with the log's line about it.",
    )


def _queue_full(most: int) -> Unavailable:
    return Unavailable(
        f"{most} requests are waiting for this model already.",
        code="queue_full",
        hint="Try again later, or ask with `model: cloud`.",
        retry_after_s=_QUEUE_RETRY_S,
    )
