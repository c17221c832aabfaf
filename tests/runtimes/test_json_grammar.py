from __future__ import annotations

import pytest

from cloud_bridge.protocol.conversation import ResponseFormat
from cloud_bridge.protocol.problems import InvalidRequest
from edge_agent.runtimes.json_grammar import response_grammar, schema_grammar

UNSUPPORTED = [
    ({"type": "string", "pattern": "^a$"}, "pattern"),
    ({"type": "string", "format": "email"}, "format"),
    ({"type": "integer", "minimum": 5}, "minimum"),
    ({"type": "number", "maximum": 5}, "maximum"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"type": "array", "maxItems": 100_000}, "maxItems"),
    ({"type": "array", "minItems": 3, "maxItems": 2}, "minItems"),
    ({"type": "object", "patternProperties": {}}, "patternProperties"),
    ({"type": "object", "properties": {"a": {"oneOf": []}}}, "schema.a.oneOf"),
    ({"type": "object", "required": ["a"], "additionalProperties": False}, "required"),
    ({"allOf": [{}]}, "allOf"),
    ({"anyOf": [{}], "type": "object"}, "type"),
    ({"anyOf": []}, "anyOf"),
    ({"$ref": "https://example.com/schema"}, "$ref"),
    ({"$ref": "#/$defs/missing"}, "$ref"),
    ({"type": "strange"}, "type"),
    ({"type": "string", "enum": [1]}, "type"),
    ({"type": "string", "minimum": 1}, "minimum"),
    ({"type": ["string", "null"], "minimum": 1}, "minimum"),
    ({"enum": []}, "enum"),
    ({"not": {}}, "not"),
    (False, "schema"),
    ([], "schema"),
]


@pytest.mark.parametrize(("schema", "named"), UNSUPPORTED)
def test_a_keyword_that_cannot_be_kept_is_refused_by_name(schema, named):
    with pytest.raises(InvalidRequest) as caught:
        schema_grammar(schema)
    assert caught.value.code == "unsupported_schema"
    assert named in caught.value.message


def test_a_schema_nested_without_end_is_refused():
    schema: dict[str, object] = {"type": "string"}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidRequest) as caught:
        schema_grammar(schema)
    assert caught.value.code == "unsupported_schema"


def test_text_needs_no_grammar():
    assert response_grammar(ResponseFormat()) is None
    assert "root ::= object" in (response_grammar(ResponseFormat("json_object")) or "")


def test_a_schema_may_refer_to_itself():
    node = {
        "type": "object",
        "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["next"],
    }
    assert "ref0 ::=" in schema_grammar(node)
