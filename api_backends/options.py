"""The options that all chat back ends share, spelled as OpenAI spells them: checked, not ranged.

Wrong types and numbers that are none are refused at once, by name; what range a provider takes is
its own affair, and so is every option that is not listed here.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from .errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["check_options"]


def check_options(options: Mapping[str, Any]) -> None:
    """Check the common options of a chat call; an option that is None is not looked at.

    Raises:
        InvalidRequestError: An option is of the wrong type or not a finite number; the error
            names it and says what it takes.
    """
    for name, value in options.items():
        if value is None:
            continue
        check = _CHECKS.get(name)
        if check is not None:
            check(name, value)
        elif value.__class__ is float and not isfinite(value):
            raise _bad(name, value, "a finite number")


def _number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _bad(name, value, "a number")
    if not isfinite(value):
        raise _bad(name, value, "a finite number")


def _integer(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _bad(name, value, "a whole number")


def _positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _bad(name, value, "a whole number above 0")


def _not_negative(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _bad(name, value, "a whole number, 0 or more")


def _truth(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise _bad(name, value, "True or False")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _bad(name, value, "a text")


def _stop(name: str, value: Any) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, (list, tuple)) or not all(isinstance(s, str) for s in value):
        raise _bad(name, value, "a text or a list of texts")


def _logit_bias(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise _bad(name, value, "a dictionary of token ids and numbers")
    for token, bias in value.items():
        _number(f"{name}[{token!r}]", bias)


def _object(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise _bad(name, value, "a dictionary")


def _response_format(name: str, value: Any) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise _bad(
            name,
            value,
            'a dictionary like {"type": "json_object"} or {"type": "json_schema", "json_schema": '
            '{"name": …, "schema": …}}',
        )
    # llama.cpp has the schema one level up
    given = value.get("json_schema", value.get("schema"))
    if value["type"] == "json_schema" and not isinstance(given, dict):
        raise _bad(f"{name}.json_schema", given, "a dictionary with a schema")


def _tools(name: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        raise _bad(name, value, "a list of tools")
    for place, tool in enumerate(value):
        spot = f"{name}[{place}]"
        if not isinstance(tool, dict):
            raise _bad(spot, tool, 'a dictionary like {"type": "function", "function": {…}}')
        function = tool.get("function")
        if tool.get("type", "function") == "function" and not _is_named(function):
            raise _bad(f"{spot}.function", function, "a dictionary with a name")


def _functions(name: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)) or not all(_is_named(f) for f in value):
        raise _bad(name, value, "a list of dictionaries, each with a name")


def _choice(name: str, value: Any) -> None:
    if not isinstance(value, (str, dict)) or not value:
        raise _bad(
            name,
            value,
            '"auto", "none", "required" or {"type": "function", "function": {"name": …}}',
        )


def _is_named(function: Any) -> bool:
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _bad(name: str, value: Any, takes: str) -> InvalidRequestError:
    shown = repr(value)
    if len(shown) > 60:
        shown = shown[:59] + "…"
    return InvalidRequestError(
        f"{name} takes {takes}, not {shown} ({type(value).__name__}): change it, or leave it out"
    )


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "temperature": _number,
    "top_p": _number,
    "top_k": _number,
    "min_p": _number,
    "frequency_penalty": _number,
    "presence_penalty": _number,
    "repetition_penalty": _number,
    "max_tokens": _positive,
    "max_completion_tokens": _positive,
    "n": _positive,
    "seed": _integer,
    "top_logprobs": _not_negative,
    "parallel_tool_calls": _truth,
    "stop": _stop,
    "logit_bias": _logit_bias,
    "response_format": _response_format,
    "tools": _tools,
    "functions": _functions,
    "tool_choice": _choice,
    "function_call": _choice,
    "stream_options": _object,
    "reasoning_effort": _text,
    "user": _text,
}
