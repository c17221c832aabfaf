"""What masking costs an answer, with a model that repeats what it is told: nothing may be lost on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cloud_bridge.protocol.conversation import Conversation
from cloud_bridge.protocol.events import Event, Finish, TextDelta
from edge_agent.bench.masked_answers import masked_answers
from edge_agent.privacy.detect import Detector
from edge_agent.privacy.evaluation.memory import in_memory, with_surrogates
from edge_agent.privacy.evaluation.questions import questions
from tests.privacy.evaluation.unwatched import unwatched


class Repeating:
    """Stands for a model that keeps every fact, which no real one does; it remembers what it was shown."""

    model_id = "repeating"

    def __init__(self) -> None:
        self.shown: list[str] = []

    async def generate(self, conversation: Conversation) -> AsyncIterator[Event]:
        self.shown.append(conversation.last_user_text)
        for character in conversation.last_user_text:
            yield TextDelta(character)
        yield Finish()


@pytest.mark.anyio
async def test_a_model_that_keeps_every_fact_loses_none_by_masking(detector: Detector):
    model = Repeating()
    asked = [question for question in questions(6, 3) if question.task != "JSON"]
    figures = await masked_answers(
        model, detector, asked, {"placeholders": in_memory, "surrogates": with_surrogates}, unwatched
    )
    assert [(figure.what, figure.ours, figure.other) for figure in figures] == [
        ("entities, placeholders", 1.0, 1.0),
        ("entities, surrogates", 1.0, 1.0),
        ("summary, placeholders", 1.0, 1.0),
        ("summary, surrogates", 1.0, 1.0),
    ]
    assert all("<PERSON_1>" in text for text in model.shown[1::3])
    assert not any("<PERSON_" in text for text in model.shown[2::3])
    for number, question in enumerate(asked):
        person = question.facts.get("name") or question.facts["person"]
        plain, *masked = model.shown[3 * number : 3 * number + 3]
        assert person in plain
        assert not any(person in text for text in masked)
