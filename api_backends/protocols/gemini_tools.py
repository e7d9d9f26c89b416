"""Tools as Gemini takes them: functions declared together, Google's own beside them.

https://ai.google.dev/gemini-api/docs/function-calling, https://ai.google.dev/api/caching#Tool.
"""

from __future__ import annotations

from typing import Any

from api_backends.errors import InvalidRequestError

from .gemini_schema import gemini_schema

__all__ = ["read_tool_choice", "read_tools"]

_GOOGLES = (
    "functionDeclarations", "codeExecution", "googleSearch", "googleSearchRetrieval", "urlContext",
    "googleMaps", "fileSearch", "computerUse", "mcpServers",
)  # fmt: skip
_BY_TYPE = {
    "code_execution": "codeExecution",
    "code_interpreter": "codeExecution",
    "google_search": "googleSearch",
    "web_search": "googleSearch",
    "url_context": "urlContext",
    "google_maps": "googleMaps",
    "file_search": "fileSearch",
    "computer_use": "computerUse",
}
_SNAKE = {
    "function_declarations": "functionDeclarations",
    "google_search_retrieval": "googleSearchRetrieval",
    "mcp_servers": "mcpServers",
    **{
        name: native for name, native in _BY_TYPE.items() if name.replace("_", "") == native.lower()
    },
}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "any": "ANY", "validated": "VALIDATED"}


def read_tools(name: str, tools: Any) -> tuple[list[dict[str, Any]], bool]:
    """Return tools in Gemini's shape, and whether one of them asks for strict arguments.

    Args:
        name: Name of the option, for errors: `tools`, or the older `functions`.
        tools: OpenAI's function tools, Gemini's own (`{"googleSearch": {}}`), or those by type
            (`{"type": "code_execution"}`).

    Raises:
        InvalidRequestError: One is no tool, or of a kind that Gemini doesn't have.
    """
    if not isinstance(tools, (list, tuple)):
        raise InvalidRequestError(f"{name} takes a list of tools, not {type(tools).__name__}")
    declared: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    strict = False
    for place, tool in enumerate(tools):
        where = f"{name}[{place}]"
        if not isinstance(tool, dict):
            raise InvalidRequestError(
                f'{where} takes a dictionary like {{"type": "function", "function": {{…}}}}, not '
                f"{type(tool).__name__}"
            )
        native = {_SNAKE.get(str(key), str(key)): value for key, value in tool.items()}
        kind = native.pop("type", None)
        if any(key in _GOOGLES for key in native):
            others.append(native)
        elif isinstance(kind, str) and kind in _BY_TYPE:
            others.append({_BY_TYPE[kind]: native})
        elif kind in (None, "function"):
            function = tool if name == "functions" else tool.get("function")
            declared.append(_declaration(function, where))
            strict = strict or bool(isinstance(function, dict) and function.get("strict"))
        else:
            known = ", ".join(sorted(("function", *_BY_TYPE)))
            raise InvalidRequestError(f"{where}.type: Gemini has no {kind!r}; it has {known}")
    functions = [{"functionDeclarations": declared}] if declared else []
    return [*functions, *others], strict


def _declaration(function: Any, where: str) -> dict[str, Any]:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequestError(f"{where}.function takes a dictionary with a name")
    made = {"name": function["name"]}
    if function.get("description"):
        made["description"] = function["description"]
    parameters = function.get("parameters")
    if parameters:
        made["parametersJsonSchema"] = gemini_schema(parameters, f"{where}.function.parameters")
    return made


def read_tool_choice(choice: Any, *, strict: bool) -> dict[str, Any] | None:
    """Return the function calling config for a tool choice, None where there is nothing to say.

    Args:
        choice: "auto", "none", "required", a function's name in OpenAI's shape, or a list of
            allowed tools.
        strict: Whether arguments must hold to their schema; Gemini has a mode for it.

    Raises:
        InvalidRequestError: It is none of these.
    """
    if choice is None:
        return {"mode": "VALIDATED"} if strict else None
    if isinstance(choice, str):
        mode = _MODES.get(choice)
        if mode is None:
            raise InvalidRequestError(
                f"tool_choice: {choice!r} is none of auto, none, required; for one function give "
                '{"type": "function", "function": {"name": …}}'
            )
        return {"mode": "VALIDATED" if strict and mode == "AUTO" else mode}
    if isinstance(choice, dict):
        names, mode = _allowed(choice)
        if names and all(isinstance(name, str) for name in names):
            return {"mode": mode, "allowedFunctionNames": names}
    raise InvalidRequestError(
        f'tool_choice takes {{"type": "function", "function": {{"name": …}}}}, not {choice!r:.80}'
    )


def _allowed(choice: dict[str, Any]) -> tuple[list[Any], str]:
    allowed = choice.get("allowed_tools")
    if isinstance(allowed, dict):
        tools = allowed.get("tools")
        listed = tools if isinstance(tools, list) else []
        # Only with VALIDATED may a list leave the model the choice to call none.
        return [_name(t) for t in listed], "ANY" if allowed.get(
            "mode"
        ) == "required" else "VALIDATED"
    return [_name(choice)], "ANY"


def _name(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return None
    function = tool.get("function")
    return function.get("name") if isinstance(function, dict) else tool.get("name")
