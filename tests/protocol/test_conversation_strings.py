"""The one list of fields that masking goes by: every string a person may have written is in it."""

from __future__ import annotations

import json

import pytest
from wire_strategies import conversations, for_all

from cloud_bridge.protocol.conversation import (
    Conversation,
    Message,
    ResponseFormat,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    map_json_text,
)
from cloud_bridge.protocol.envelope import conversation_to_json
from cloud_bridge.protocol.problems import InvalidRequest

SCHEMA = {
    "type": "object",
    "title": "SECRET",
    "description": "of SECRET",
    "required": ["default"],
    "properties": {
        "default": {"type": "string", "default": {"mail": "SECRET", "list": ["SECRET"]}, "maxLength": 7},
        "title": {"enum": ["SECRET", 1], "const": {"SECRET": 4111}, "examples": ["SECRET"], "pattern": "SECRET|x"},
    },
    "items": [{"$ref": "#/$defs/one", "$comment": "SECRET"}],
    "anyOf": [{"not": {"description": "SECRET"}}],
    "$defs": {"one": {"x-unknown": {"deep": ["SECRET"]}}},
    "additionalProperties": False,
}
CONVERSATION = Conversation(
    messages=(
        Message("system", (Text("SECRET"),)),
        Message("user", (Text("I am SECRET"), Text("SECRET")), name="SECRET"),
        Message(
            "assistant", (ToolCall("id", "tool", '{"a": ["SECRET", {"SECRET": 1}]}'), ToolCall("id", "t", "SECRET{"))
        ),
        Message("tool", (ToolResult("id", "plain SECRET"), ToolResult("id", '["SECRET"]'))),
    ),
    tools=(Tool("tool", "for SECRET", SCHEMA),),
    tool_choice=ToolChoice("named", "tool"),
    response_format=ResponseFormat("json_schema", "answer", SCHEMA),
    sampling=Sampling(stop=("SECRET",)),
)


def test_every_string_that_a_person_may_have_written_is_changed():
    masked = CONVERSATION.map_strings(lambda text: text.replace("SECRET", "<X_1>"))
    assert "SECRET" not in json.dumps(conversation_to_json(masked))
    assert masked.map_strings(lambda text: text.replace("<X_1>", "SECRET")) == CONVERSATION


def test_names_and_structure_are_never_shown_to_the_mask():
    shown = set(CONVERSATION.strings())
    assert not shown & {
        "tool",
        "id",
        "answer",
        "object",
        "default",
        "title",
        "#/$defs/one",
        "string",
        "properties",
        "7",
    }


def _everything(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_everything, value.values()))
    return set().union(*map(_everything, value)) if isinstance(value, list) else {str(value)}


def test_what_is_not_shown_to_the_mask_is_among_the_names():
    odd = {"items": "a", "allOf": [{"b": 1}, "c"], "properties": {"d": "e", "f": [{"$id": "g"}]}, "$defs": ["h"]}
    keywords = {"dependentRequired": {"i": ["j"]}, "minLength": 4111, "format": {"k": {"l": "m"}}, "n": {"o": "p"}}
    for schema in (SCHEMA, odd, keywords):
        conversation = Conversation((Message("user", (Text("x"),)),), tools=(Tool("t", "x", schema),))
        assert _everything(schema) <= {*conversation.strings(), *conversation.names()}
    assert {"tool", "t", "answer"} <= set(CONVERSATION.names())


@pytest.mark.parametrize(
    ("document", "masked"),
    [
        ("4111111111111111", '"<CARD>"'),
        ('{"card": 4111111111111111, "n": 2}', '{"card": "<CARD>", "n": 2}'),
        ("[4111111111111111.0]", '["<CARD>.0"]'),
    ],
)
def test_a_number_may_be_a_person_s_too(document, masked):
    assert map_json_text(document, lambda text: text.replace("4111111111111111", "<CARD>")) == masked


@pytest.mark.parametrize("document", ['{"a":1,  "b" : [true,null, 1.50]}', "1e3", "007", "", "[" * 50_000, "NaN"])
def test_a_document_in_which_nothing_changes_stays_as_it_is(document):
    assert map_json_text(document, lambda text: text) == document


def test_a_document_too_deep_to_walk_is_masked_as_text():
    deep = "[" * 400 + '"SECRET"' + "]" * 400
    assert "SECRET" not in map_json_text(deep, lambda text: text.replace("SECRET", "X"))


@for_all(conversations())
def test_changing_nothing_changes_nothing(conversation):
    assert conversation.map_strings(lambda text: text) == conversation


@pytest.mark.parametrize(
    "messages", [(), (Message("user", (Text(" \n"),)),), (Message("user", ()), Message("assistant", ()))]
)
def test_a_prompt_without_a_word_is_refused_whatever_else_is_there(messages):
    with pytest.raises(InvalidRequest) as caught:
        Conversation(messages, tools=(Tool("f", "words"),), sampling=Sampling(stop=("x",))).require_prompt()
    assert caught.value.code == "empty_prompt"
