"""Tools on local models, with the official OpenAI client against a real daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from tests.daemon.running_daemon import RunningDaemon

pytestmark = pytest.mark.slow

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather forecast of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 30},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
MAIL = {
    "type": "function",
    "function": {
        "name": "send_mail",
        "description": "Send a mail.",
        "parameters": {
            "type": "object",
            "properties": {"to": {"type": "string", "maxLength": 20}, "text": {"type": "string", "maxLength": 20}},
            "required": ["to", "text"],
            "additionalProperties": False,
        },
    },
}
ASKED = {"role": "user", "content": "What is the weather in Rome, in celsius?"}


def clients_of(daemon: RunningDaemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=daemon.url + "/v1", api_key=daemon.token, max_retries=0, timeout=240) as client:
        yield client


@pytest.fixture
def client(local_daemon: RunningDaemon) -> Iterator[openai.OpenAI]:
    yield from clients_of(local_daemon)


@pytest.fixture
def big_client(default_daemon: RunningDaemon) -> Iterator[openai.OpenAI]:
    yield from clients_of(default_daemon)


@pytest.mark.parametrize("named", [False, True])
def test_a_call_that_must_be_made_fits_its_schema(client: openai.OpenAI, named: bool) -> None:
    choice = {"type": "function", "function": {"name": "send_mail"}} if named else "required"
    answer = client.chat.completions.create(
        model="local", messages=[ASKED], tools=[WEATHER, MAIL], tool_choice=choice, parallel_tool_calls=False, seed=1
    )
    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    wanted = {"get_weather": {"city", "unit"}, "send_mail": {"to", "text"}}[call.function.name]
    assert json.loads(call.function.arguments).keys() == wanted
    assert not named or call.function.name == "send_mail"
    assert answer.edge["route"] == "local"
    assert 0 < answer.edge["confidence"] <= 1


def test_a_call_streams_as_the_client_expects_it(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="local", messages=[ASKED], tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, seed=1
    ) as stream:
        kinds = [event.type for event in stream]
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert call.id
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments).keys() == {"city", "unit"}
    assert kinds.count("tool_calls.function.arguments.delta") > 3


def test_where_tools_are_not_to_be_used_they_are_not(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="local", messages=[ASKED], tools=[WEATHER], tool_choice="none", max_tokens=12, temperature=0
    )
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].message.content


def test_a_schema_that_cannot_be_kept_is_named(client: openai.OpenAI) -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "if": {"required": ["a"]}}},
    }
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="local", messages=[ASKED], tools=[tool], tool_choice="required")
    assert caught.value.code == "unsupported_schema"
    assert "'if'" in caught.value.message
    assert caught.value.param == "tools"


@pytest.mark.big
def test_the_default_model_calls_reads_the_result_and_answers(big_client: openai.OpenAI) -> None:
    asked = big_client.chat.completions.create(
        model="local", messages=[ASKED], tools=[WEATHER, MAIL], temperature=0, max_tokens=120
    )
    message = asked.choices[0].message
    (call,) = message.tool_calls
    assert asked.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Rome", "unit": "celsius"}
    answered = big_client.chat.completions.create(
        model="local",
        messages=[
            ASKED,
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": '{"forecast": "sunny", "degrees": 31}'},
        ],
        tools=[WEATHER, MAIL],
        tool_choice="none",
        temperature=0,
        max_tokens=60,
    )
    assert "31" in answered.choices[0].message.content
    assert answered.choices[0].finish_reason == "stop"


@pytest.mark.big
def test_the_default_model_calls_twice_at_once(big_client: openai.OpenAI) -> None:
    asked = "Compare the weather in Rome and in Oslo, in celsius. Call the tool once for each city."
    answer = big_client.chat.completions.create(
        model="local",
        messages=[{"role": "user", "content": asked}],
        tools=[WEATHER],
        tool_choice="required",
        temperature=0,
        max_tokens=160,
    )
    cities = [json.loads(call.function.arguments)["city"] for call in answer.choices[0].message.tool_calls]
    assert {"Rome", "Oslo"} <= set(cities)
    ids = [call.id for call in answer.choices[0].message.tool_calls]
    assert len(set(ids)) == len(ids)
