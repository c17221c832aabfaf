"""A JSON schema as a grammar for llama.cpp, so that the answer cannot help but fit it.

llama-cpp-python's own converter passes over keywords that it does not know and lets raw line breaks into
strings; here every keyword is either kept or refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cloud_bridge.protocol.conversation import ResponseFormat
from cloud_bridge.protocol.problems import InvalidRequest

MAX_REPEATS = 1000
MAX_DEPTH = 48
MAX_RULES = 2000

Schema = Mapping[str, Any]

_ANNOTATIONS = frozenset({
    "$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated", "description", "example", "examples",
    "readOnly", "title", "writeOnly",
})  # fmt: skip
_DIGITS = "[0-9]"
_DAY = '"0" [1-9] | [12] [0-9]'
# Every date that this allows exists; only 29 February is out of reach.
_DATE = (
    f'[12] {_DIGITS}{{3}} "-" (("0" [13578] | "10" | "12") "-" ({_DAY} | "3" [01])'
    f' | ("0" [469] | "11") "-" ({_DAY} | "30") | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8]))'
)
_TIME = f'([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." {_DIGITS}{{1,6}})? "Z"'
_HEX = "[0-9a-f]"
_FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": f'{_HEX}{{8}} "-" {_HEX}{{4}} "-4" {_HEX}{{3}} "-" [89ab] {_HEX}{{3}} "-" {_HEX}{{12}}',
}
_PRIMITIVES = {
    # Endless blank space is how small models get stuck.
    "ws": r'(" " | "\n" [ \t]{0,20})?',
    # No \u escapes: half a surrogate pair would be no text. Whatever they spell can be written as it is.
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" ["\\/bfnrt]',
    "string": r'"\"" char* "\""',
    "integer": '"-"? natural',
    "natural": '"0" | [1-9] [0-9]{0,15}',
    "positive": "[1-9] [0-9]{0,15}",
    "number": '"-"? natural ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "pair": 'string ws ":" ws value',
    "object": '"{" ws (pair (ws "," ws pair)* ws)? "}"',
    "array": '"[" ws (value (ws "," ws value)* ws)? "]"',
    "value": "object | array | string | number | boolean | null",
}


def response_grammar(wanted: ResponseFormat) -> str | None:
    """The grammar for a response format, None where any text will do.

    Raises InvalidRequest code "unsupported_schema" that names the keyword and where it stands.
    """
    match wanted.kind:
        case "text":
            return None
        case "json_object":
            return _written({"root": "object"})
        case "json_schema":
            return schema_grammar(wanted.schema if wanted.schema is not None else {})


def schema_grammar(schema: Any) -> str:
    """The grammar whose texts are JSON documents that fit `schema`. Raises as `response_grammar` does."""
    converter = _Converter(schema)
    return _written({"root": converter.rule(schema, "schema", 0), **converter.rules})


def _written(rules: Mapping[str, str]) -> str:
    return "\n".join(f"{name} ::= {body}" for name, body in {**rules, **_PRIMITIVES}.items())


class _Converter:
    """Turns each subschema into an expression; shared and long ones become rules of their own."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self.rules: dict[str, str] = {}
        self._references: dict[str, str] = {}
        self._types: dict[str, Callable[[Schema, str, int], str]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": lambda schema, where, _: self._plain(schema, where, "number"),
            "boolean": lambda schema, where, _: self._plain(schema, where, "boolean"),
            "null": lambda schema, where, _: self._plain(schema, where, "null"),
        }

    def rule(self, schema: Any, where: str, depth: int) -> str:
        """An expression for `schema`, which stands at `where`."""
        if depth > MAX_DEPTH or len(self.rules) > MAX_RULES:
            raise _unsupported(where, "is nested too deeply, or too large")
        if schema is True:
            return "value"
        if not isinstance(schema, Mapping):
            raise _unsupported(where, "is not a schema that anything can fit")
        keys = schema.keys() - _ANNOTATIONS
        if "$ref" in keys:
            _only(schema, where, {"$ref"})
            return self._reference(schema["$ref"], where, depth)
        if "anyOf" in keys:
            _only(schema, where, {"anyOf"})
            return self._any_of(schema["anyOf"], f"{where}.anyOf", depth)
        if "const" in keys or "enum" in keys:
            return self._literals(schema, where)
        return self._typed(schema, where, depth) if keys else "value"

    def _typed(self, schema: Schema, where: str, depth: int) -> str:
        kind = schema.get("type", "object" if "properties" in schema else "array" if "items" in schema else None)
        if isinstance(kind, list) and kind:
            choices = [self._typed(_part_for(schema, one, kind), where, depth + 1) for one in kind]
            return f"({' | '.join(choices)})"
        if not isinstance(kind, str) or kind not in self._types:
            named = min(schema.keys() - _ANNOTATIONS)
            raise _unsupported(f"{where}.{named}", "is not supported here" if kind is None else "is no known type")
        return self._types[kind](schema, where, depth)

    def _reference(self, target: Any, where: str, depth: int) -> str:
        if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
            raise _unsupported(f"{where}.$ref", "must point into the same schema, as `#/$defs/name` does")
        if target not in self._references:
            name = self._references[target] = f"ref{len(self._references)}"
            found = self._root
            for step in target.split("/")[1:]:
                step = step.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901 - JSON Pointer's own unescaping
                found = found.get(step) if isinstance(found, Mapping) else None
            if found is None:
                raise _unsupported(f"{where}.$ref", "points to nothing")
            self.rules[name] = self.rule(found, target, depth + 1)
        return self._references[target]

    def _any_of(self, choices: Any, where: str, depth: int) -> str:
        if not isinstance(choices, list) or not choices:
            raise _unsupported(where, "must be a list of schemas")
        rules = [self.rule(choice, f"{where}[{index}]", depth + 1) for index, choice in enumerate(choices)]
        return f"({' | '.join(rules)})"

    def _literals(self, schema: Schema, where: str) -> str:
        _only(schema, where, {"const", "enum", "type"} - ({"enum"} if "const" in schema else {"const"}))
        values = [schema["const"]] if "const" in schema else schema["enum"]
        kinds = schema.get("type")
        allowed = kinds if isinstance(kinds, list) else [kinds]
        if not isinstance(values, list) or not values:
            raise _unsupported(f"{where}.enum", "must be a list of values")
        if kinds is not None and any(not _is_of(value, allowed) for value in values):
            raise _unsupported(f"{where}.type", "does not fit the values beside it")
        return f"({' | '.join(_literal(json.dumps(value, ensure_ascii=False)) for value in values)})"

    def _object(self, schema: Schema, where: str, depth: int) -> str:
        _only(schema, where, {"type", "properties", "required", "additionalProperties"})
        properties, required = schema.get("properties", {}), schema.get("required", [])
        more = schema.get("additionalProperties", True)
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise _unsupported(where, "has properties or required names that are not such")
        names = [*properties, *(name for name in required if name not in properties)]
        if more is False and len(names) > len(properties):
            raise _unsupported(f"{where}.required", "names a property that is not allowed")
        if not names:
            return '"{" ws "}"' if more is False else self._map(more, where, depth)
        # What a schema only allows beside its own properties is left out: the answer fits without.
        pairs = {name: self._pair(name, properties.get(name, more), where, depth) for name in names}
        needed = [pairs[name] for name in names if name in required]
        optional = [pairs[name] for name in names if name not in required]
        return self._new_rule(f'"{{" ws {self._members(needed, optional)} "}}"')

    def _pair(self, name: str, schema: Any, where: str, depth: int) -> str:
        value = self.rule(schema, f"{where}.{name}", depth + 1)
        return self._new_rule(f'{_literal(json.dumps(name, ensure_ascii=False))} ws ":" ws {value}')

    def _members(self, needed: list[str], optional: list[str]) -> str:
        """Pairs with commas between them: all the needed ones, then any of the optional ones, in order."""
        rest = ""
        alone: list[str] = []
        for pair in reversed(optional):
            alone.append(f"{pair} {rest}".rstrip())
            rest = self._new_rule(f'(ws "," ws {pair})? {rest}'.rstrip())
        if needed:
            together = ' ws "," ws '.join(needed)
            return f"{together} {rest} ws"
        return f"(({' | '.join(reversed(alone))}) ws)?"

    def _map(self, schema: Any, where: str, depth: int) -> str:
        value = self.rule(schema, f"{where}.additionalProperties", depth + 1)
        pair = self._new_rule(f'string ws ":" ws {value}')
        return f'"{{" ws ({pair} (ws "," ws {pair})* ws)? "}}"'

    def _array(self, schema: Schema, where: str, depth: int) -> str:
        _only(schema, where, {"type", "items", "minItems", "maxItems"})
        item = self._new_rule(self.rule(schema.get("items", True), f"{where}.items", depth + 1))
        low, high = _bounds(schema, where, "minItems", "maxItems")
        if high == 0:
            return '"[" ws "]"'
        most = "" if high is None else str(high - 1)
        items = f'{item} (ws "," ws {item}){{{max(low - 1, 0)},{most}}} ws'
        return f'"[" ws {items} "]"' if low else f'"[" ws ({items})? "]"'

    def _string(self, schema: Schema, where: str, _depth: int) -> str:
        if "format" in schema:
            _only(schema, where, {"type", "format"})
            form = schema["format"]
            if form not in _FORMATS:
                raise _unsupported(f"{where}.format", f"is not one of {', '.join(_FORMATS)}")
            return rf'"\"" {_FORMATS[form]} "\""'
        _only(schema, where, {"type", "minLength", "maxLength"})
        low, high = _bounds(schema, where, "minLength", "maxLength")
        if low == 0 and high is None:
            return "string"
        return rf'"\"" char{{{low},{"" if high is None else high}}} "\""'

    def _integer(self, schema: Schema, where: str, _depth: int) -> str:
        _only(schema, where, {"type", "minimum"})
        match schema.get("minimum"):
            case None:
                return "integer"
            case 0:
                return "(natural)"
            case 1:
                return "positive"
        raise _unsupported(f"{where}.minimum", "can be 0 or 1 and nothing else")

    def _plain(self, schema: Schema, where: str, name: str) -> str:
        _only(schema, where, {"type"})
        return name

    def _new_rule(self, body: str) -> str:
        name = f"r{len(self.rules)}"
        self.rules[name] = body
        return name


_KEYS_OF = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"format", "minLength", "maxLength"},
    "integer": {"minimum"},
}


def _part_for(schema: Schema, kind: Any, kinds: list[Any]) -> Schema:
    """What of a schema with several types concerns one of them; a keyword that is nobody's stays, to be refused."""
    others = set().union(*(_KEYS_OF.get(other, set()) for other in kinds if other != kind and isinstance(other, str)))
    own = _KEYS_OF.get(kind, set()) if isinstance(kind, str) else set()
    return {**{key: value for key, value in schema.items() if key not in others - own}, "type": kind}


def _bounds(schema: Schema, where: str, low_key: str, high_key: str) -> tuple[int, int | None]:
    low, high = schema.get(low_key, 0), schema.get(high_key)
    for key, value in ((low_key, low), (high_key, high)):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_REPEATS
        ):
            raise _unsupported(f"{where}.{key}", f"must be a whole number from 0 to {MAX_REPEATS}")
    if high is not None and low > high:
        raise _unsupported(f"{where}.{low_key}", f"is more than {high_key}")
    return low, high


def _only(schema: Schema, where: str, known: set[str]) -> None:
    unknown = sorted(schema.keys() - _ANNOTATIONS - known)
    if unknown:
        raise _unsupported(f"{where}.{unknown[0]}", "is not supported here")


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def _is_of(value: Any, kinds: list[Any]) -> bool:
    if isinstance(value, bool):
        return "boolean" in kinds
    return any(isinstance(value, _PYTHON_TYPES.get(kind, ())) for kind in kinds)


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unsupported(where: str, complaint: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{where}' of the response format's schema {complaint}.",
        code="unsupported_schema",
        hint="Local models know type, properties, required, additionalProperties, items, enum, const, anyOf, $ref, "
        "lengths and the formats date, time, date-time and uuid.",
        param="response_format",
    )
