"""Whether a JSON schema allows one document only, so that no answer that is held to it could be wrong."""

from __future__ import annotations

from typing import Any


def allows_one(schema: Any) -> bool:
    """Whether exactly one document fits, as far as `const`, `enum`, objects and fixed arrays say.

    False where it cannot be told: of references, patterns and bounds.
    """
    if not isinstance(schema, dict):
        return False
    if "const" in schema or schema.get("type") == "null":
        return True
    if isinstance(schema.get("enum"), list):
        return len(schema["enum"]) == 1
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(name), list) and (name == "allOf" or len(schema[name]) == 1):
            return any(map(allows_one, schema[name]))
    return _one_object(schema) or _one_array(schema)


def _one_object(schema: dict[str, Any]) -> bool:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return (
        schema.get("type") == "object"
        and schema.get("additionalProperties") is False
        and isinstance(properties, dict)
        and isinstance(required, list)
        and all(name in required and allows_one(each) for name, each in properties.items())
    )


def _one_array(schema: dict[str, Any]) -> bool:
    most = schema.get("maxItems")
    return schema.get("type") == "array" and (
        most == 0 or (most is not None and most == schema.get("minItems") and allows_one(schema.get("items")))
    )
