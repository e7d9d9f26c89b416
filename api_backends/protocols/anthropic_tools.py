"""Tools and the choice among them, from OpenAI's shape to Anthropic's.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview. A tool that has Anthropic's
shape already (an `input_schema`, or a type like `web_search_20250305`) passes as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["tool_fields"]

_CHOICES = {"auto": "auto", "none": "none", "required": "any", "any": "any"}
# What a tool takes in Anthropic's API beside name, description and schema.
_BESIDE = (
    "allowed_callers",
    "cache_control",
    "defer_loading",
    "eager_input_streaming",
    "input_examples",
    "strict",
)


def tool_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `tools` and `tool_choice` of a request, where the options ask for any.

    Raises:
        InvalidRequestError: A tool is not one, or the choice is none that Claude has.
    """
    fields: dict[str, Any] = {}
    tools = given.get("tools")
    if tools is not None:
        if not isinstance(tools, (list, tuple)):
            raise _bad("tools", f"is {type(tools).__name__}", "give a list of tools")
        fields["tools"] = [_tool(tool, f"tools[{place}]") for place, tool in enumerate(tools)]
    choice = _choice(given.get("tool_choice"))
    if choice is not None and choice["type"] == "tool" and "mcp_servers" not in given:
        _check_is_offered(choice.get("name"), fields.get("tools") or [])
    if given.get("parallel_tool_calls") is False and tools:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice = {**choice, "disable_parallel_tool_use": True}
    if choice is not None:
        fields["tool_choice"] = choice
    return fields


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise _bad(where, f"is {type(tool).__name__}", "give a dictionary")
    function = tool.get("function")
    if function is None and tool.get("type", "custom") != "function":
        if "type" not in tool and not isinstance(tool.get("input_schema"), dict):
            raise _bad(
                where,
                "is no tool",
                'give {"type": "function", "function": {"name": …, "parameters": …}}',
            )
        return tool
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _bad(f"{where}.function.name", "is missing", "name the function")
    schema = function.get("parameters")
    if schema is not None and not isinstance(schema, dict):
        raise _bad(
            f"{where}.function.parameters", f"is {type(schema).__name__}", "give a JSON schema"
        )
    made: dict[str, Any] = {"name": function["name"]}
    if function.get("description") is not None:
        made["description"] = function["description"]
    made["input_schema"] = schema or {"type": "object", "properties": {}}
    for source in (function, tool):
        made.update({name: source[name] for name in _BESIDE if source.get(name) is not None})
    return made


def _choice(choice: Any) -> dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise _bad(f"tool_choice {choice!r}", "is none of Claude's", f"use {_known()}")
        return {"type": _CHOICES[choice]}
    kind = choice.get("type")
    function = choice.get("function")
    if kind == "function" and isinstance(function, dict) and isinstance(function.get("name"), str):
        return {"type": "tool", "name": function["name"]}
    if kind in ("auto", "none", "any", "tool"):  # Anthropic's own
        return dict(choice)
    raise _bad(f"tool_choice of type {kind!r}", "is none of Claude's", f"use {_known()}")


def _known() -> str:
    return '"auto", "none", "required" or {"type": "function", "function": {"name": …}}'


def _check_is_offered(name: Any, tools: list[dict[str, Any]]) -> None:
    offered = [tool.get("name") for tool in tools]
    if name not in offered:
        raise _bad(
            f"tool_choice names {name!r}",
            "which is not among the tools",
            f"use one of {', '.join(map(repr, offered)) or 'them, and give tools'}",
        )


def _bad(where: str, what: str, remedy: str) -> InvalidRequestError:
    return InvalidRequestError(f"{where} {what}: {remedy}")
