"""JSON schemas as Gemini takes them: what it knows as it is, what it doesn't in words.

`responseJsonSchema` and `parametersJsonSchema` take a part of JSON Schema
(https://ai.google.dev/api/generate-content#FIELDS.response_json_schema). The rest is rewritten
where there is another way to say it, and else told to the model in the description of its place,
so that nothing that a schema asks for is lost.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["gemini_schema"]

_DEEPEST = 100

# Taken as they are: those that the API documents, and those seen to be taken.
_KNOWN = frozenset(
    (
        "$anchor", "$id", "$ref", "$schema", "default", "description", "enum", "example", "format",
        "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength",
        "minProperties", "minimum", "nullable", "pattern", "propertyOrdering", "required", "title",
        "type", "uniqueItems",
    )
)  # fmt: skip
_SCHEMA = frozenset(("items",))
_SCHEMAS = frozenset(("anyOf", "oneOf", "prefixItems"))
_NAMED_SCHEMAS = {"properties": "properties", "$defs": "$defs", "definitions": "$defs"}
_SAYS_NOTHING = frozenset(("$comment", "$vocabulary", "readOnly", "writeOnly", "deprecated"))


def gemini_schema(schema: Any, where: str) -> Any:
    """Return a JSON schema in the part of JSON Schema that Gemini takes.

    Args:
        schema: The schema; not changed.
        where: Its place in the request, for errors.

    Raises:
        InvalidRequestError: It is not a JSON schema, or holds itself.
    """
    if not isinstance(schema, dict):
        raise InvalidRequestError(
            f"{where} takes a JSON schema, a dictionary, not {type(schema).__name__}"
        )
    return _translated(schema, where, 0)


def _translated(schema: Any, where: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise InvalidRequestError(
            f"{where} is nested more than {_DEEPEST} deep: use $ref for what refers to itself"
        )
    if not isinstance(schema, dict):
        # `true` takes anything, as does the empty schema; other things are no schemas.
        return {} if schema is True else schema
    result: dict[str, Any] = {}
    told: list[str] = []
    for key, value in schema.items():
        spot = f"{where}.{key}"
        if key in _KNOWN:
            result[key] = _moved(value) if key == "$ref" else value
        elif key in _SCHEMA or (key == "additionalProperties" and isinstance(value, dict)):
            result[key] = _translated(value, spot, depth + 1)
        elif key == "additionalProperties":
            result[key] = value
        elif key in _SCHEMAS and isinstance(value, (list, tuple)):
            result[key] = [_translated(v, f"{spot}[{i}]", depth + 1) for i, v in enumerate(value)]
        elif key in _NAMED_SCHEMAS and isinstance(value, dict):
            named = {name: _translated(v, f"{spot}.{name}", depth + 1) for name, v in value.items()}
            place = _NAMED_SCHEMAS[key]
            result[place] = {**result.get(place, {}), **named}
        elif key == "allOf" and isinstance(value, (list, tuple)):
            for i, part in enumerate(value):
                _add_part(_translated(part, f"{spot}[{i}]", depth + 1), result, told)
        elif key in _REWRITTEN:
            _REWRITTEN[key](value, result, told)
        elif key not in _SAYS_NOTHING:
            told.append(_in_words(key, value))
    if told:
        said = result.get("description")
        words = "; ".join(told)
        result["description"] = f"{said} ({words})" if isinstance(said, str) and said else words
    return _alone(result)


def _alone(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with a reference by itself: nothing else may stand beside `$ref`."""
    if "$ref" not in schema or all(key.startswith("$") for key in schema):
        return schema
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {**rest, "anyOf": [*rest.get("anyOf", ()), {"$ref": schema["$ref"]}]}


def _moved(reference: Any) -> Any:
    if isinstance(reference, str):
        return reference.replace("#/definitions/", "#/$defs/")
    return reference


def _in_words(key: str, value: Any) -> str:
    return f"{key}: {json.dumps(value, ensure_ascii=False, default=str)}"


def _add_part(part: Any, result: dict[str, Any], told: list[str]) -> None:
    """Add a part of `allOf` to the schema that it is a part of, where none contradicts another."""
    if not isinstance(part, dict):
        told.append(_in_words("allOf", part))
        return
    for key, found in part.items():
        had = result.get(key, found)
        if had == found:
            result[key] = found
        elif isinstance(had, dict) and isinstance(found, dict) and not had.keys() & found.keys():
            result[key] = {**had, **found}
        elif key == "required" and isinstance(had, list) and isinstance(found, list):
            result[key] = list(dict.fromkeys((*had, *found)))
        elif key not in ("title", "description"):
            told.append(_in_words(f"also {key}", found))


def _const(value: Any, result: dict[str, Any], told: list[str]) -> None:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        result["enum"] = [value]
    else:
        told.append(_in_words("const", value))


def _above(value: Any, result: dict[str, Any], told: list[str]) -> None:
    # For whole numbers "more than 3" is "at least 4"; for others only words are left.
    if result.get("type") == "integer" and type(value) is int and "minimum" not in result:
        result["minimum"] = value + 1
    else:
        told.append(f"above {json.dumps(value, default=str)}")


def _below(value: Any, result: dict[str, Any], told: list[str]) -> None:
    if result.get("type") == "integer" and type(value) is int and "maximum" not in result:
        result["maximum"] = value - 1
    else:
        told.append(f"below {json.dumps(value, default=str)}")


_REWRITTEN: Mapping[str, Callable[[Any, dict[str, Any], list[str]], None]] = {
    "const": _const,
    "exclusiveMinimum": _above,
    "exclusiveMaximum": _below,
}
