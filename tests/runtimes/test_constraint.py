from __future__ import annotations

import json
import math
import re
import threading
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.conversation import Conversation, ResponseFormat
from cloud_bridge.protocol.problems import Broken, InvalidRequest
from edge_agent.runtimes.chat.answer_format import answer_format
from edge_agent.runtimes.chat.constraint import Constraint, Constraints
from edge_agent.runtimes.chat.json_schema import ANNOTATIONS, ENFORCED
from edge_agent.runtimes.chat.tool_styles import TOLD
from edge_agent.runtimes.decoders.decoder import Vocabulary
from tests.runtimes.asking import model_file
from tests.runtimes.vocabularies import SmallVocabulary, vocabulary_of
from tests.runtimes.writing import RandomWriter

SMALL = SmallVocabulary()
CONSTRAINTS = Constraints(SMALL)
BIG = "qwen2.5-coder-1.5b-instruct-q4_k_m"


def grammar(schema: Any) -> str:
    form = answer_format(Conversation((), response_format=ResponseFormat("json_schema", schema=schema)), TOLD)
    assert form.grammar is not None
    return form.grammar


def constrained(schema: Any, constraints: Constraints = CONSTRAINTS) -> Constraint:
    return constraints.constraint(grammar(schema))


def accepts(schema: Any, text: str, vocabulary: Vocabulary = SMALL, constraints: Constraints = CONSTRAINTS) -> bool:
    """Whether `text` may be written whole, and the answer may end there."""
    constraint = constrained(schema, constraints)
    for token in vocabulary.tokenize(text, add_special=False, parse_special=False):
        if not constraint.allows(token):
            return False
        constraint.accept(token)
    return constraint.allows(vocabulary.end_tokens[0])


def fits(value: Any, schema: Any) -> bool:
    """A check of our own, of the keywords that `schemas` draws from."""
    kinds = {"null": type(None), "boolean": bool, "string": str, "array": list, "object": dict}
    if "anyOf" in schema:
        return any(fits(value, option) for option in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema["type"]
    if kind in {"integer", "number"}:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (kind == "number" or float(value).is_integer()) and _number_fits(value, schema)
    if not isinstance(value, kinds[kind]):
        return False
    if kind == "string":
        long_enough = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf)
        return long_enough and re.search(schema.get("pattern", ""), value) is not None
    if kind == "array":
        counted = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf)
        return counted and all(fits(item, schema["items"]) for item in value)
    return kind != "object" or _object_fits(value, schema)


def _number_fits(value: float, schema: Any) -> bool:
    within = schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
    return within and (Fraction(str(value)) / Fraction(str(schema.get("multipleOf", value or 1)))).denominator == 1


def _object_fits(value: dict[str, Any], schema: Any) -> bool:
    names = schema["properties"]
    in_order = [name for name in value if name in names] == [name for name in names if name in value]
    extra = schema.get("additionalProperties", {"enum": list(value.values())})
    return (
        in_order
        and set(schema["required"]) <= set(value)
        and all(
            fits(item, names[name]) if name in names else extra and fits(item, extra) for name, item in value.items()
        )
    )


scalars = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"minLength": st.integers(0, 3), "maxLength": st.integers(3, 6)}
    ),
    st.fixed_dictionaries(
        {"type": st.just("string"), "pattern": st.sampled_from(["^a+b$", "x|y", "^a|b$", "^[0-9]{3}$"])}
    ),
    st.fixed_dictionaries({"type": st.just("integer"), "minimum": st.integers(-20, 0), "maximum": st.integers(0, 300)}),
    st.fixed_dictionaries({"type": st.just("integer"), "multipleOf": st.sampled_from([2, 3, 7])}),
    st.fixed_dictionaries({"type": st.just("number"), "minimum": st.floats(-3, 0), "maximum": st.floats(0.5, 3)}),
    st.fixed_dictionaries({"type": st.sampled_from(["null", "boolean", "string"])}),
    st.fixed_dictionaries(
        {"enum": st.lists(st.sampled_from([1, "a", 'b\n"c\\', None, 2.5, [1], {"k": "é€"}]), min_size=1, max_size=3)}
    ),
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "b", "c d", "é", '"q', "n\n"])
    return st.dictionaries(names, inner, max_size=3).flatmap(
        lambda properties: st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.just(properties),
                "required": st.lists(st.sampled_from(sorted(properties)), unique=True) if properties else st.just([]),
            },
            optional={"additionalProperties": st.one_of(st.sampled_from([False]), scalars)},
        )
    )


schemas = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner, "maxItems": st.integers(1, 3)}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        _objects(inner),
    ),
    max_leaves=5,
)


@given(schemas, st.integers(0, 2**31))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_constraint_lets_through_is_json_that_fits(schema, seed):
    written = RandomWriter(SMALL, seed).write(constrained(schema))
    if written is not None:
        text = b"".join(map(SMALL.piece, written)).decode()
        assert fits(json.loads(text), schema), (schema, text)


@pytest.mark.parametrize(
    "text", ['{"a": "\\u0001 \\n é"}', '{"a":1}', '{\n  "a": [\n    1,\n    2\n  ]\n}', '{"a" : 1e5 }']
)
def test_what_models_write_is_let_through(text):
    assert accepts({"type": "object"}, text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "\n"}',  # a raw control character
        '{"a": "\\ud800"}',  # half a character
        '{"a":    1}',  # blanks that could go on for ever
        '{"a":\n\n1}',
        ' {"a": 1}',
        '{"a": 01}',
        '{"a": 1}}',
        "[1]",
        '{"a": 1',
    ],
)
def test_what_is_no_object_or_never_ends_is_not(text):
    assert not accepts({"type": "object"}, text)


def test_properties_keep_the_schemas_order():
    schema = {"type": "object", "properties": {"b": {}, "a": {}}, "required": ["a", "b"]}
    assert accepts(schema, '{"b": 1, "a": 2}')
    assert not accepts(schema, '{"a": 2, "b": 1}')


REFUSED = [
    ({"type": "string", "minLen": 3}, "minLen"),
    ({"type": "string", "nullable": True}, "nullable"),
    ({"type": "string", "lenient": True}, "lenient"),
    ({"type": "string", "format": "foo"}, "format"),
    ({"not": {}}, "not"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"type": "array", "contains": {}}, "contains"),
    ({"if": {}, "then": {}}, "if"),
    ({"type": "object", "propertyNames": {}}, "propertyNames"),
    ({"dependentRequired": {}}, "dependentRequired"),
    ({"unevaluatedProperties": False}, "unevaluatedProperties"),
    ({"properties": {"secret": {"items": {"not": {}}}}}, "'not') at 'properties[0].items'"),
    ({"$defs": {"secret": {"not": {}}}}, "'not') at '$defs[0]'"),
    ({"oneOf": [{"type": "string"}, {"minLength": 3}]}, "oneOf"),
    ({"properties": {"secret": {}}, "maxProperties": 3}, "maxProperties"),
    ({"type": "object", "minProperties": 2}, "minProperties"),
    ({"$ref": "#/$defs/secret"}, "$ref"),
    ({"$ref": "https://example.com/secret"}, "$ref"),
    ({"$ref": "#/default", "default": {"minLen": 3}}, "$ref"),
    ({"properties": {"a": {"$id": "secret"}}}, "$id"),
    ({"$dynamicRef": "#secret"}, "$dynamicRef"),
    ({"type": "secret"}, "type"),
    ({"type": 3}, "type"),
    ({"minLength": "secret"}, "minLength"),
    ({"required": "secret"}, "required"),
    ({"properties": ["secret"]}, "properties"),
    ({"anyOf": []}, "anyOf"),
    ({"pattern": "(?=secret)a"}, "pattern"),
    ({"pattern": "(secret"}, "pattern"),
    ({"multipleOf": 0}, "multipleOf"),
    ({"const": 2**53 + 1}, "const"),
    ({"minimum": -(2**60)}, "minimum"),
    ({"enum": [{"a": math.inf}]}, "enum"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "no value fits"),
    ({"enum": []}, "no value fits"),
    ({"$ref": "#"}, "no value fits"),
    ({"type": "object", "properties": {"secret": False}, "required": ["secret"]}, "no value fits"),
]


@pytest.mark.parametrize(("schema", "named"), REFUSED)
def test_a_keyword_that_cannot_be_kept_is_refused_by_name(schema, named):
    with pytest.raises(InvalidRequest) as caught:
        constrained(schema)
    assert caught.value.code == "unsupported_schema"
    assert caught.value.param == "response_format"
    assert named in caught.value.message
    assert "secret" not in str(caught.value)
    assert caught.value.hint


LENIENT = {"lenient": True, "coerce_one_of": True, "whitespace_pattern": ".*"}


@pytest.mark.parametrize(
    "schema",
    [
        {"x-guidance": LENIENT, "type": "string"},
        {"properties": {"a": {"x-guidance": LENIENT}}},
        {"allOf": [{"x-guidance": LENIENT}]},
        {"$defs": {"a": {"x-guidance": LENIENT}}},
    ],
)
def test_a_schema_cannot_make_its_own_keywords_count_less(schema):
    with pytest.raises(InvalidRequest) as caught:
        constrained(schema)
    assert "x-guidance" in caught.value.message


def test_annotations_do_no_harm():
    schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "$id": "https://example.com/a",
        "title": "T",
        "x-order": 3,
        "description": "D",
        "type": "object",
        "properties": {"$ref": {"type": "integer", "default": {"minLen": 3}}},
        "required": ["$ref"],
    }
    assert accepts(schema, '{"$ref": 1}')
    assert not accepts(schema, '{"$ref": "1"}')


def test_an_object_has_the_properties_that_are_listed_unless_it_is_open():
    listed: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert not accepts(listed, '{"a": 1, "b": 2}')
    assert accepts({**listed, "additionalProperties": True}, '{"a": 1, "b": 2}')
    assert accepts({**listed, "required": ["a", "b"]}, '{"a": 1, "b": 2}')
    assert accepts({"allOf": [listed, {"properties": {"b": {}}}]}, '{"a": 1, "b": 2}')
    assert accepts({"$ref": "#/$defs/a", "required": ["b"], "$defs": {"a": listed}}, '{"a": 1, "b": 2}')


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["object", "#", "a"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(sorted(ENFORCED | ANNOTATIONS | {"$defs"})), st.text(max_size=3)),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(ENFORCED | {"$defs"})), anything, max_size=4))
@settings(max_examples=200, deadline=None)
def test_no_nonsense_gets_past_the_checks_as_anything_but_a_refusal(schema):
    try:
        constraint = constrained(schema)
    except InvalidRequest as problem:
        assert problem.code == "unsupported_schema"  # noqa: PT017 - either outcome is right
    else:
        constraint.mask(np.zeros(SMALL.size, dtype=np.float32))


def test_a_schema_may_refer_to_itself():
    node = {"properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]}
    schema = {"type": "object", "additionalProperties": False, **node}
    assert accepts(schema, '{"next": {"next": null}}')
    assert not accepts(schema, '{"next": {"next": 1}}')


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for level in range(levels):
        schema = {"type": "array", "items": schema} if level % 2 else {"properties": {"a": schema}}
    return schema


HOSTILE = {
    "nested": nested(400),
    "values": {"enum": [f"value {i}" for i in range(100_000)]},
    "objects": {"enum": [{"a": i} for i in range(20_000)]},
    "wide": {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(20_000)}},
    "repeats": {"type": "string", "pattern": "^(a{1000}){1000}$"},
    "repeated repeats": {"type": "string", "pattern": "^(((((a{10}){10}){10}){10}){10}){10}$"},
    "choices": {"allOf": [{"anyOf": [{"properties": {f"a{i}": {"const": j}}} for j in range(4)]} for i in range(8)]},
    "steps": {"allOf": [{"type": "integer", "multipleOf": step} for step in (9973, 9967)]},
    "large steps": {"type": "integer", "multipleOf": 1_000_003},
    "patterns": {"patternProperties": {f"^x{i}.*$": {} for i in range(300)}},
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_schema_that_would_take_for_ever_is_refused_soon(schema):
    began = time.process_time()
    with pytest.raises(InvalidRequest) as caught:
        constrained(schema)
    assert caught.value.code == "unsupported_schema"
    assert time.process_time() - began < 10


@pytest.mark.parametrize("pattern", ["^((a|b|ab)*c)*$", "^(.*a){20}$", "^[^a]*a.{30}$", "(a?){100}a{100}"])
def test_patterns_that_other_engines_choke_on_are_followed(pattern):
    began = time.process_time()
    RandomWriter(SMALL, 1).write(constrained({"type": "string", "pattern": pattern}))
    assert time.process_time() - began < 10


def test_an_answer_is_over_when_only_its_end_may_come():
    constraint = constrained({"const": True})
    assert constraint.forced() == SMALL.tokenize("true", add_special=False, parse_special=False)
    for token in constraint.forced():
        assert not constraint.is_over
        constraint.accept(token)
    assert constraint.is_over
    logits = np.zeros(SMALL.size + 8, dtype=np.float32)
    constraint.mask(logits)
    assert list(np.flatnonzero(np.isfinite(logits))) == list(SMALL.end_tokens)
    constraint.accept(SMALL.end_tokens[0])
    assert constraint.is_over


def test_answers_part_ways():
    constraint = constrained({"enum": ["ab", "ac"]})
    other = constraint.copy()
    for character in '"ab':
        constraint.accept(ord(character))
    assert not other.allows(ord("b"))
    other.accept(ord('"'))
    assert other.allows(ord("a"))


def test_a_token_that_is_not_allowed_breaks_the_answer_for_good():
    constraint = constrained({"type": "integer"})
    with pytest.raises(Broken) as caught:
        constraint.accept(ord("x"))
    assert caught.value.code == "inference_failed"
    for use in (
        lambda: constraint.mask(np.zeros(SMALL.size, dtype=np.float32)),
        lambda: constraint.allows(ord("1")),
        lambda: constraint.accept(ord("1")),
        constraint.forced,
    ):
        with pytest.raises(Broken):
            use()
    assert not constraint.is_over


def test_threads_may_share_the_vocabulary():
    constraints = Constraints(SmallVocabulary())
    made: list[bool] = []
    threads = [
        threading.Thread(target=lambda: made.append(accepts({"type": "integer"}, "12", constraints=constraints)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [True] * 8


@given(st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_the_mask_and_the_single_check_agree(seed):
    dice = np.random.default_rng(seed)
    constraint = constrained({"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}})
    for _ in range(10):
        logits = np.zeros(SMALL.size, dtype=np.float32)
        constraint.mask(logits)
        allowed = np.isfinite(logits)
        assert [constraint.allows(token) for token in range(SMALL.size)] == list(allowed)
        constraint.accept(int(dice.choice(np.flatnonzero(allowed))))
        if constraint.is_over:
            break


def check_on(vocabulary: Vocabulary) -> None:
    constraints = Constraints(vocabulary)
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 14}},
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    for seed in range(8):
        written = RandomWriter(vocabulary, seed).write(constrained(schema, constraints))
        assert written is not None
        assert fits(json.loads(b"".join(map(vocabulary.piece, written)).decode()), schema)
    assert accepts(schema, '{"city": "Åbo \\"x\\" 😀", "days": 14}', vocabulary, constraints)
    assert not accepts(schema, '{"city": "a", "days": 15}', vocabulary, constraints)


@pytest.mark.slow
def test_a_real_vocabulary_of_bytes_is_constrained(models_home):
    check_on(vocabulary_of(model_file(models_home)))


@pytest.mark.slow
@pytest.mark.big
def test_so_is_a_large_one_and_cheaply(big_models_home):
    vocabulary = vocabulary_of(model_file(big_models_home, BIG))
    check_on(vocabulary)
    constraint = constrained({"type": "array", "items": {"type": "string"}}, Constraints(vocabulary))
    logits = np.zeros(vocabulary.size, dtype=np.float32)
    for token in vocabulary.tokenize('["a', add_special=False, parse_special=False):
        constraint.accept(token)
    began = time.process_time()
    for _ in range(50):
        constraint.mask(logits)
    assert (time.process_time() - began) / 50 < 0.01
