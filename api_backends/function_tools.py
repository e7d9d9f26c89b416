"""Python functions as tools: their schema from their signature, their calls run and answered."""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

from .errors import ApiError, InvalidRequestError
from .types import ChatCompletionResponse, ToolCall

__all__ = ["Toolbox", "conversation", "tool_schema"]

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def tool_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the tool that a function is: name, first line of its docstring, its parameters.

    Raises:
        InvalidRequestError: It is no function, or takes arguments without names.
    """
    if not callable(function):
        raise InvalidRequestError(
            f"functions: {function!r:.80} can't be called; give functions, or a dictionary of them"
        )
    name = getattr(function, "__name__", type(function).__name__)
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):
        hints = {}
    properties: dict[str, Any] = {}
    required = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise InvalidRequestError(
                f"functions: {name}() takes {parameter.name} by place only; a model calls by name"
            )
        properties[parameter.name] = _schema(hints.get(parameter.name))
        if parameter.default is parameter.empty:
            required.append(parameter.name)
    parameters = {"type": "object", "properties": properties, "required": required}
    described = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")
    tool: dict[str, Any] = {"name": name, "parameters": parameters}
    if described:
        tool["description"] = described
    return {"type": "function", "function": tool}


def _schema(hint: Any) -> dict[str, Any]:
    if hint in _TYPES:
        return {"type": _TYPES[hint]}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(argument) for argument in arguments]}
    if hint in (list, tuple, set) or origin in (list, tuple, set, Sequence, Iterable):
        return {"type": "array", "items": _schema(arguments[0]) if arguments else {}}
    if hint is dict or origin in (dict, Mapping):
        return {"type": "object"}
    return {}


class Toolbox:
    """The functions that a model may call."""

    def __init__(self, functions: Any, tools: Sequence[Mapping[str, Any]] | None = None) -> None:
        if isinstance(functions, Mapping):
            self.functions: dict[str, Callable[..., Any]] = dict(functions)
        elif isinstance(functions, Iterable) and not isinstance(functions, (str, bytes)):
            self.functions = {
                tool_schema(function)["function"]["name"]: function for function in functions
            }
        else:
            raise InvalidRequestError(
                "functions: give a list of functions, or a dictionary of names and functions"
            )
        if not self.functions:
            raise InvalidRequestError("functions: there is none; give at least one, or use chat()")
        self.tools = list(tools) if tools is not None else self._made()

    def _made(self) -> list[dict[str, Any]]:
        made = []
        for name, function in self.functions.items():
            tool = tool_schema(function)
            tool["function"]["name"] = name
            made.append(tool)
        return made

    def call(self, call: ToolCall) -> Any:
        """Run a call; return what the function gave (a coroutine where it is async).

        What goes wrong is the answer: the model reads it and does better, or without.
        """
        function = self.functions.get(call.name)
        if function is None:
            return _Failure(
                f"there is no tool {call.name!r}; there are {', '.join(self.functions)}"
            )
        try:
            arguments = call.parsed_arguments()
            if not isinstance(arguments, dict):
                return _Failure("the arguments are no JSON object")
            return function(**arguments)
        except (ApiError, Exception) as error:  # noqa: BLE001 - told to the model
            return _Failure(f"{type(error).__name__}: {error}")


class _Failure:
    """What a call ended in, for the model to read."""

    def __init__(self, text: str) -> None:
        self.text = text


def as_text(result: Any) -> str:
    """Return a tool's result as the text that the model gets."""
    if isinstance(result, str):
        return result
    if isinstance(result, _Failure):
        return json.dumps({"error": result.text}, ensure_ascii=False)
    return json.dumps(result, ensure_ascii=False, default=str)


def failure(error: BaseException) -> Any:
    """Return an error of an async function as the result of its call."""
    return _Failure(f"{type(error).__name__}: {error}")


def conversation(
    messages: Sequence[Any], toolbox: Toolbox, max_rounds: int
) -> Generator[Any, Any, ChatCompletionResponse]:
    """Hold a conversation with tools, without knowing how it is carried out.

    Yields a list of messages to be asked, gets the answer; yields a list of results of functions,
    gets them back as values. Returns the last answer: one that calls no tools, or the one after
    `max_rounds` rounds of calls (its `finish_reason` is then "tool_calls").
    """
    said = list(messages)
    for _ in range(max_rounds):
        answer: ChatCompletionResponse = yield said
        if not answer.tool_calls:
            return answer
        results = yield tuple(toolbox.call(call) for call in answer.tool_calls)
        said = [
            *said,
            answer,
            *(
                {"role": "tool", "tool_call_id": call.id, "content": as_text(result)}
                for call, result in zip(answer.tool_calls, results, strict=True)
            ),
        ]
    last: ChatCompletionResponse = yield said
    return last
