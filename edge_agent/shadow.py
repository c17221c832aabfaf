"""The watch over the promise: a few escalated requests are answered here, too, once nobody waits for anything.

What the local model says is compared with the cloud's answer, and forgotten. Kept is what its calibration had
predicted, and whether the two agreed. Nothing leaves the device for it, and texts wait in memory only, for minutes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

import anyio.to_thread

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.gathered import gather
from cloud_bridge.protocol.problems import Problem
from edge_agent.local_attempt import LocalAttempt, drawn
from edge_agent.local_models import LocalModels
from edge_agent.promises import Promises
from edge_agent.routing.agreement import agreement
from edge_agent.routing.calibration.comparison import is_same_text, last_number
from edge_agent.routing.calibration.drift import Standing
from edge_agent.routing.calibration.signals import with_alternatives
from edge_agent.routing.calibration.task import EXACT_TASKS, task_of
from edge_agent.routing.parameters import applied, parameters_for
from edge_agent.runtimes.pool import Pool
from edge_agent.state.checks import Check
from edge_agent.text_models import TextModels
from edge_agent.turn import Turn

log = logging.getLogger(__name__)

WAITING = 8
"""Requests that wait to be checked; while so many do, no other is taken."""

QUIET_S = 2.0
"""So long no local model may have worked before a check begins."""

LONGEST_WAIT_S = 600.0
"""A request that waits so long for the models to fall quiet is forgotten."""

MAX_TOKENS = 512

SAME_MEANING = 0.8
"""Cosine similarity from which two answers say the same to the judge "embedding". Chosen, not measured."""

SHORT_WORDS = 12
"""In answers of at most so many words another number is another answer, however alike they are."""

JudgeName = Literal["exact", "embedding"]


class Judge:
    """Says whether two answers to one request agree: labels and documents by what they say, the same words always.

    Of other words "exact" says no; "embedding" goes by their meaning, as the encoder sees it. Comparing blocks.
    """

    def __init__(self, name: JudgeName, text_models: TextModels) -> None:
        self.name = name
        self._text_models = text_models

    def agree(self, local: str, cloud: str, conversation: Conversation) -> bool:
        """Whether they agree. Raises what the encoder raises."""
        told = agreement(local, cloud, conversation.response_format)
        if told is not None or is_same_text(local, cloud):
            return told is not False
        if self.name == "exact" or not local.strip():
            return False
        if len(cloud.split()) <= SHORT_WORDS and last_number(local) != last_number(cloud):
            return False
        one, other = self._text_models.encoder.embed([local, cloud])
        return float(one @ other) >= SAME_MEANING


@dataclass(frozen=True, slots=True)
class _Waiting:
    conversation: Conversation
    cloud: str
    task: str
    decision_id: str
    since: float


class Shadow:
    """Takes a share of what the cloud answered, and checks the local model by it. `offer` never blocks."""

    def __init__(
        self,
        *,
        pool: Pool,
        models: LocalModels,
        promises: Promises,
        judge: Judge,
        share: float,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._pool = pool
        self._models = models
        self._promises = promises
        self._judge = judge
        self._share = share
        self._draw = draw
        self._clock = clock
        self._quiet_s = quiet_s
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING)

    def offer(self, turn: Turn) -> None:
        """Consider a turn whose answer its client has; not one where tools or several answers were wanted."""
        conversation = turn.request.conversation
        comparable = turn.route == "cloud" and not conversation.tools and conversation.sampling.n == 1
        if not comparable or self._queue.full() or self._draw() >= self._share or not self._promises.exist:
            return
        answer = gather(turn.events)
        if answer.text.strip() and answer.finish.reason == "stop":
            task = task_of(turn.request.edge.task, conversation.response_format)
            self._queue.put_nowait(_Waiting(turn.conversation, answer.text, task, turn.decision_id, self._clock()))

    @property
    def waiting(self) -> int:
        """How many requests wait to be checked."""
        return self._queue.qsize()

    async def run(self) -> None:
        """Check what waits, one after another, until cancelled."""
        while True:
            waiting = await self._queue.get()
            try:
                if await self._falls_quiet(waiting.since + LONGEST_WAIT_S):
                    await self._check(waiting)
            except Problem as problem:
                log.info("a check of the local model came to nothing: %s", problem.code)
            except Exception as error:  # noqa: BLE001 the watch must outlive one bad answer
                log.error("a check of the local model failed: %s", type(error).__name__)

    async def _check(self, waiting: _Waiting) -> Standing | None:
        """Answer here, and compare. None where nothing was measured of the model, or others need it."""
        manifest = await anyio.to_thread.run_sync(self._models.default)
        if manifest is None:
            return None
        calibration = self._promises.measured(manifest.id, waiting.task, manifest.files[0].sha256)
        if calibration is None:
            return None
        attempt = await self._answered(manifest.id, waiting)
        if attempt is None or attempt.text is None:
            return None
        found = attempt.signals(waiting.conversation.response_format)
        agreed = await anyio.to_thread.run_sync(self._judge.agree, attempt.text, waiting.cloud, waiting.conversation)
        # What a judge makes of free words is no agreement of the tiers on a label.
        told = agreement(attempt.text, waiting.cloud, waiting.conversation.response_format) is not None
        check = Check(calibration.id, self._judge.name, calibration.confidence(found), agreed)
        return await anyio.to_thread.run_sync(self._promises.record, check, waiting.decision_id if told else None)

    async def _answered(self, model_id: str, waiting: _Waiting) -> LocalAttempt | None:
        """The local model's whole answer, made as it would be served; None where somebody else came to need it."""
        asked = waiting.conversation.sampling
        limited = replace(asked, max_tokens=min(asked.max_tokens or MAX_TOKENS, MAX_TOKENS))
        parameters = parameters_for(waiting.conversation, exact=waiting.task in EXACT_TASKS, streams=False)
        conversation = applied(parameters, replace(waiting.conversation, sampling=limited))
        runtime = await self._pool.runtime(model_id)
        async with aclosing(LocalAttempt(runtime.generate(with_alternatives(conversation)))) as attempt:
            async for _ in attempt.events():
                if self._is_needed():
                    return None
            if parameters.samples > 1:
                attempt.samples = await drawn(runtime, conversation, parameters.samples - 1)
        return attempt

    def _is_needed(self) -> bool:
        """Whether anything but the check itself is at work."""
        return sum(loaded.running for loaded in self._pool.loaded()) > 1

    async def _falls_quiet(self, until: float) -> bool:
        """Wait for it; False where it has not come `until` then. The pool tells nobody when it does."""
        while self._clock() < until:
            if self._is_quiet():
                return True
            await asyncio.sleep(self._quiet_s / 4)
        return False

    def _is_quiet(self) -> bool:
        return all(not loaded.running and loaded.idle_s >= self._quiet_s for loaded in self._pool.loaded())
