"""A session that goes from the device to the cloud and back: what was sent before is sent again, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, Text
from cloud_bridge.protocol.events import Finish, TextDelta, Usage
from cloud_bridge.protocol.gathered import gather
from edge_agent.turn import EdgeOptions, Request
from tests.daemon.staged_agent import Stage, sure
from tests.upstream import Answer

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("stage", ["openai", "anthropic"], indirect=True)


class Talk:
    """A client that sends its whole history each time, now to the one and now to the other."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._said: list[Message] = []

    async def here(self, text: str, answer: str) -> None:
        """A turn that the local model answers so."""
        self._stage.local = (TextDelta(answer, sure(answer)), Finish("stop", Usage(5, 1)))
        assert await self._ask(text, "local") == answer

    async def there(self, text: str, answer: str) -> str:
        """A turn that the cloud answers so, masked; returns what the client is told."""
        self._stage.cloud.will(Answer(text=answer))
        return await self._ask(text, "cloud")

    async def _ask(self, text: str, model: str) -> str:
        self._said.append(Message("user", (Text(text),)))
        request = Request(Conversation(tuple(self._said)), model=model, edge=EdgeOptions(session_id="s"))
        told = gather(await self._stage.answer(request)).text
        self._said.append(Message("assistant", (Text(told),)))
        return told

    def sent(self) -> list[bytes]:
        """Of each request to the provider: its messages as bytes, the instructions apart, without the cache's marks."""
        requests = [request.json for request in self._stage.cloud.requests]
        return [_bytes([turn for turn in body["messages"] if turn["role"] != "system"]) for body in requests]

    def instructed(self) -> list[bytes]:
        """The instructions of each."""
        requests = [request.json for request in self._stage.cloud.requests]
        return [
            _bytes([body.get("system"), [turn for turn in body["messages"] if turn["role"] == "system"]])
            for body in requests
        ]


@BOTH
async def test_what_the_cloud_has_read_it_is_sent_again_whoever_answered_in_between(stage: Stage) -> None:
    talk = Talk(stage)
    await talk.here("Write to Anna Müller about the delay.", "Dear Anna Müller, we are late.")
    assert await talk.there("Shorter.", "<PERSON_1>: late.") == "Anna Müller: late."
    await talk.here("Also for Rebecca Thornbury.", "Dear Rebecca Thornbury, we are late.")
    assert (
        await talk.there("Shorter, both.", "<PERSON_2>, <PERSON_1>: late.") == "Rebecca Thornbury, Anna Müller: late."
    )
    await talk.there("Now as one line.", "Done.")
    first, second, third = talk.sent()
    assert second.startswith(first)
    assert third.startswith(second)
    assert len(set(talk.instructed())) == 1
    assert not [name for name in ("Anna", "Rebecca") if name.encode() in stage.cloud.received]
    assert [turn.branch for turn in stage.state.session("s").turns] == [0] * 5


@BOTH
async def test_a_value_that_turns_up_after_the_first_escalation_changes_nothing_that_was_sent_before(
    stage: Stage,
) -> None:
    talk = Talk(stage)
    await talk.there("How do I begin a letter?", "With a salutation.")
    await talk.here("Write it to Anna Müller.", "Dear Anna Müller,")
    await talk.there("And how does it end?", "With a greeting to <PERSON_1>.")
    await talk.there("Shorter.", "Bye.")
    first, second, third = talk.sent()
    assert second.startswith(first)
    assert third.startswith(second)
    # What placeholders are is said from the first one on.
    none, told, again = talk.instructed()
    assert none != told == again


def _bytes(value: Any) -> bytes:
    """As the provider hashes it: a text is a text however it is written, and marks are no part of it."""
    if isinstance(value, list):
        return b"".join(_bytes(item) for item in value if item)
    turn = {key: item for key, item in value.items() if key != "cache_control"}
    content = turn.get("content")
    if isinstance(content, list):
        parts = [{key: item for key, item in part.items() if key != "cache_control"} for part in content]
        turn["content"] = parts[0]["text"] if len(parts) == 1 and "text" in parts[0] else parts
    return json.dumps(turn, ensure_ascii=False).encode() + b"\n"
