from __future__ import annotations

import pytest

from cloud_bridge.protocol.conversation import Conversation, Message, ResponseFormat, Text, Tool, ToolChoice
from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.runtimes.chat.answer_format import answer_format
from edge_agent.runtimes.chat.constraint import Constraints
from edge_agent.runtimes.chat.tool_styles import HERMES, LLAMA, TOLD, ToolStyle
from tests.runtimes.vocabularies import SmallVocabulary

VOCABULARY = SmallVocabulary()
CONSTRAINTS = Constraints(VOCABULARY)
WEATHER = Tool(
    "weather",
    parameters={
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "required": ["city"],
        "$defs": {"city": {"enum": ["Rome"]}},
    },
)
NOW = Tool("now")
ROME = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
TIME = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
BARE_ROME = '{"name": "weather", "parameters": {"city": "Rome"}}'
JSON = ResponseFormat("json_object")


def asked(
    choice: ToolChoice | None = None, form: ResponseFormat | None = None, tools: tuple[Tool, ...] = (WEATHER, NOW)
) -> Conversation:
    messages = (Message("user", (Text("hi"),)),)
    return Conversation(messages, tools, choice or ToolChoice(), form or ResponseFormat())


def may_be(conversation: Conversation, text: str, style: ToolStyle = TOLD) -> bool:
    """Whether the answer may be exactly `text`."""
    grammar = answer_format(conversation, style).grammar
    assert grammar is not None
    constraint = CONSTRAINTS.constraint(grammar)
    for token in VOCABULARY.tokenize(text, add_special=False, parse_special=False):
        if not constraint.allows(token):
            return False
        constraint.accept(token)
    return constraint.allows(VOCABULARY.end_tokens[0])


@pytest.mark.parametrize("conversation", [asked(tools=()), asked(ToolChoice("none"))])
def test_where_any_text_will_do_there_is_no_grammar(conversation):
    form = answer_format(conversation, HERMES)
    assert form.grammar is None
    assert form.style is None
    assert form.markers == frozenset()


def test_tools_that_may_not_be_called_leave_the_response_format():
    assert may_be(asked(ToolChoice("none"), JSON), '{"name": 1}')
    assert not may_be(asked(ToolChoice("none"), JSON), ROME)


@pytest.mark.parametrize("text", ["", "Hello", "a < b\n", "<tool_cal", ROME, f"I see.\n{ROME}", f"{ROME}\n{TIME}"])
def test_auto_leaves_text_free_up_to_a_call(text):
    assert may_be(asked(), text)


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>",
        "so <tool_call> is a tag",
        ROME.replace("Rome", "Oslo"),
        ROME.replace("weather", "news"),
        ROME.replace('"city"', '"town"'),
        TIME.replace("{}", '{"zone": 1}'),
        f"{ROME} and more",
        f"{ROME}\n<tool_call>",
    ],
)
def test_from_the_mark_on_the_tools_schemas_rule(text):
    assert not may_be(asked(), text)


UNMARKED = '{"name": "weather", "arguments": {"city": "Rome"}}'


@pytest.mark.parametrize(
    "text",
    [
        UNMARKED,
        f"```json\n{UNMARKED}\n```",
        "{" + UNMARKED + "}",
        '```json\n{\n  "name": "now",\n  "arguments": {}\n}\n```',
        '{"name": "news", "arguments": 3}',
        f"As in {UNMARKED.replace('Rome', 'Oslo')} or so.",
    ],
)
def test_small_models_may_leave_the_marks_out(text):
    assert may_be(asked(), text)


@pytest.mark.parametrize("text", [UNMARKED.replace("Rome", "Oslo"), f"{UNMARKED} and more", UNMARKED[:-2]])
def test_but_not_the_schema(text):
    assert not may_be(asked(), text)
    assert not may_be(asked(ToolChoice("required")), UNMARKED)


def test_one_call_at_most_where_they_may_not_be_parallel():
    assert may_be(asked(ToolChoice(parallel=False)), ROME)
    assert not may_be(asked(ToolChoice(parallel=False)), f"{ROME}\n{TIME}")
    assert not may_be(asked(ToolChoice("required", parallel=False)), f"{ROME}\n{TIME}")


@pytest.mark.parametrize("form", [ResponseFormat(), JSON])
def test_a_call_that_is_required_is_all_there_is(form):
    required = asked(ToolChoice("required"), form)
    assert may_be(required, ROME)
    assert may_be(required, f"{TIME}\n{ROME}")
    assert not may_be(required, "Hello")
    assert not may_be(required, "{}")
    named = asked(ToolChoice("named", "now"), form)
    assert may_be(named, TIME)
    assert not may_be(named, ROME)
    assert not may_be(named, f"{TIME}\n{TIME}")


def test_a_call_or_a_document_where_both_are_asked_for():
    conversation = asked(form=JSON)
    assert may_be(conversation, ROME)
    assert may_be(conversation, '{"note": "<tool_call>"}')
    assert not may_be(conversation, "Hello")
    assert not may_be(conversation, f"{{}}\n{ROME}")


@pytest.mark.parametrize(
    "text",
    ["Hello", '{"name": "Bob"}', BARE_ROME, '{"name": "weather", "age": 3}', 'so {"name": "weather", "parameters": 1'],
)
def test_a_bare_call_is_a_call_only_from_its_tools_name_on(text):
    assert may_be(asked(), text, LLAMA)


@pytest.mark.parametrize("text", [BARE_ROME.replace("Rome", "Oslo"), f"{BARE_ROME} and", f"{BARE_ROME}{BARE_ROME}"])
def test_and_then_its_schema_rules(text):
    assert not may_be(asked(), text, LLAMA)


def test_a_bare_call_or_a_document():
    wanted = ResponseFormat("json_schema", schema={"properties": {"name": {"enum": ["x"]}}, "required": ["name"]})
    conversation = asked(form=wanted)
    assert may_be(conversation, '{"name": "x"}', LLAMA)
    assert may_be(conversation, BARE_ROME, LLAMA)
    assert may_be(conversation, '{ "name" : "now","parameters":{}}', LLAMA)
    assert not may_be(conversation, BARE_ROME.replace("Rome", "Oslo"), LLAMA)
    assert not may_be(conversation, "Hello", LLAMA)


def test_a_schema_that_cannot_be_kept_names_the_tool_that_has_it():
    for parameters, named in (
        ({"properties": {"a": {"not": {}}}}, "not"),
        ({"properties": {"a": {"format": "x"}}}, "format"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            may_be(asked(tools=(NOW, Tool("bad", parameters=parameters)), form=JSON), "")
        assert caught.value.code == "unsupported_schema"
        assert caught.value.param == "tools"
        assert "tools[1]" in caught.value.message
        assert named in caught.value.message


def test_arguments_are_an_object():
    with pytest.raises(InvalidRequest) as caught:
        answer_format(asked(tools=(Tool("f", parameters={"type": "string"}),)), TOLD)
    assert "'type'" in caught.value.message
    loose = asked(ToolChoice("required"), tools=(Tool("f", parameters={"type": ["object", "null"]}),))
    assert may_be(loose, '<tool_call>\n{"name": "f", "arguments": {"a": [1]}}\n</tool_call>')
    assert not may_be(loose, '<tool_call>\n{"name": "f", "arguments": null}\n</tool_call>')


def test_a_hundred_tools_are_no_trouble():
    tools = tuple(Tool(f"tool_{index}", parameters=WEATHER.parameters) for index in range(128))
    last = ROME.replace("weather", "tool_127")
    assert may_be(asked(ToolChoice("required"), tools=tools), last)
    assert may_be(asked(tools=tools), f"Well.\n{last}")
