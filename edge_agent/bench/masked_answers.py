"""What masking costs an answer: a local model's answers over plain and over masked text, scored by exact facts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from cloud_bridge.protocol.conversation import Conversation, Message, Sampling, Text
from cloud_bridge.protocol.events import TextDelta
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.evaluation.figure import Figure, Watch
from edge_agent.privacy.evaluation.memory import SESSION
from edge_agent.privacy.evaluation.questions import Question
from edge_agent.privacy.mask import mask
from edge_agent.privacy.restore import restore_text
from edge_agent.privacy.vault import Vault
from edge_agent.runtimes.pooled_runtime import PooledRuntime

MAX_TOKENS = 160

NewVault = Callable[[], Vault]


async def masked_answers(
    runtime: PooledRuntime,
    detector: Detector,
    asked: Sequence[Question],
    vaults: Mapping[str, NewVault],
    watch: Watch,
) -> list[Figure]:
    """For each task the share of facts in the answers: over plain text, and over text masked in each of `vaults`.

    `vaults` names the ways of masking. Raises what masking and the model raise.
    """
    scores: dict[tuple[str, str], list[float]] = {}
    for question in watch(asked, "questions"):
        conversation = Conversation(
            (Message("user", (Text(question.prompt),)),), sampling=Sampling(max_tokens=MAX_TOKENS, temperature=0.0)
        )
        plain = await _answer(runtime, conversation)
        scores.setdefault((question.task, "plain text"), []).append(question.score(plain))
        for way, new_vault in vaults.items():
            restored = await _masked_answer(runtime, detector, new_vault(), conversation)
            scores.setdefault((question.task, way), []).append(question.score(restored))
    means = {key: statistics.fmean(found) for key, found in scores.items()}
    return [
        Figure(f"quality, {runtime.model_id}", f"{task}, {way}", mean, means[task, "plain text"], "plain text")
        for (task, way), mean in sorted(means.items())
        if way != "plain text"
    ]


async def _masked_answer(runtime: PooledRuntime, detector: Detector, vault: Vault, conversation: Conversation) -> str:
    found = await mask(conversation, detector=detector, vault=vault, session_id=SESSION, note=True)
    answer = await _answer(runtime, found.masked.conversation)
    return restore_text(answer, await vault.session(SESSION))


async def _answer(runtime: PooledRuntime, conversation: Conversation) -> str:
    return "".join([event.text async for event in runtime.generate(conversation) if isinstance(event, TextDelta)])
