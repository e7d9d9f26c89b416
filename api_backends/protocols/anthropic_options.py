"""The options of a chat call, from OpenAI's words to those of Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages. What Claude has no equivalent of is refused by
name; what is the API's own (`thinking`, `top_k`, `cache_control`, `mcp_servers`, …) passes as it
is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidRequestError
from api_backends.options import check_options

from .anthropic_tools import tool_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["default_max_tokens", "fields_of"]

# The least that an answer may take of `max_tokens` when a budget for thinking is in it too.
_LEAST_THINKING = 1024
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 12288}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}
_MORE_EFFORT = ("xhigh", "max")

# Old models write less. All others: the largest round number below the 21,333 tokens up to which
# Anthropic's own SDKs let a call wait for the whole answer; for Opus 4 and 4.1 that is 8,192.
_MAX_TOKENS = (
    (re.compile(r"claude-(2|instant|3-(opus|sonnet|haiku))"), 4096),
    (re.compile(r"claude-(3-5-|opus-4(-[01])?($|-2025)|4-opus)"), 8192),
)
_USUAL_MAX_TOKENS = 16384

_NO_THINKING = re.compile(r"claude-(2|instant|3-(5-)?(opus|sonnet|haiku))")
_BUDGET_THINKING = re.compile(
    r"claude-(3-7-|(opus|sonnet)-4($|-[01]($|-)|-2025)|(sonnet|haiku)-4-5)"
)

_SAMPLING = "Claude's sampling has no such setting: leave it out"
_NOT_HONOURED = {
    "seed": "Claude's answers can't be made repeatable: leave it out",
    "logprobs": "Claude reports no probabilities: leave it out",
    "top_logprobs": "Claude reports no probabilities: leave it out",
    "logit_bias": _SAMPLING,
    "frequency_penalty": _SAMPLING,
    "presence_penalty": _SAMPLING,
    "repetition_penalty": _SAMPLING,
    "min_p": _SAMPLING,
    "best_of": "Claude gives one answer a call: leave it out",
    "n": "Claude gives one answer a call: leave it out, and call several times",
    "audio": "Claude doesn't speak: leave it out",
    "modalities": "Claude answers in text alone: leave it out",
    "prediction": "Claude takes no predicted output: leave it out",
    "store": "answers are not kept: leave it out",
    "verbosity": "say in the prompt how long the answer should be",
    "web_search_options": 'give the tool {"type": "web_search_20250305", "name": "web_search"}',
    "functions": "give the functions as tools",
    "function_call": "give tool_choice",
    "prompt_cache_key": "mark what is to be cached with cache_control",
    "suffix": "Claude completes no text: leave it out",
}
# Values of those that ask for nothing that Claude doesn't do anyway.
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "min_p": (0,),
    "best_of": (1,),
    "n": (1,),
    "modalities": (["text"], ("text",)),
    "store": (False,),
}
_TRANSLATED = frozenset(
    (
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "stop_sequences",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "thinking",
        "output_config",
        "user",
        "metadata",
        "stream",
        "stream_options",
        "service_tier",
    )
)


def default_max_tokens(model: str | None) -> int:
    """Return the `max_tokens` that is sent for a model when the caller gives none."""
    name = (model or "").lower()
    return next((tokens for known, tokens in _MAX_TOKENS if known.search(name)), _USUAL_MAX_TOKENS)


def fields_of(
    options: Mapping[str, Any], model: str | None, *, stream: bool = False
) -> dict[str, Any]:
    """Return the fields of a request's body that options stand for; `max_tokens` is always there.

    An option that is None counts as not given.

    Raises:
        InvalidRequestError: An option is of the wrong kind or one that Claude can't honour.
    """
    given = {name: value for name, value in options.items() if value is not None}
    _check(given, stream=stream)
    fields = {k: v for k, v in given.items() if k not in _TRANSLATED and k not in _NOT_HONOURED}
    fields.update(tool_fields(given))
    stops = given.get("stop_sequences", given.get("stop"))
    if stops is not None:
        if "stop" in given and "stop_sequences" in given:
            raise _bad("stop", "and stop_sequences are the same", "give one of them")
        fields["stop_sequences"] = [stops] if isinstance(stops, str) else list(stops)
    tier = given.get("service_tier")
    if tier is not None:
        fields["service_tier"] = "standard_only" if tier == "default" else tier
    metadata = _metadata(given)
    if metadata:
        fields["metadata"] = metadata
    output = _output_config(given)
    limit = _limit(given)
    thinking = _effort(given, model, output, limit) or given.get("thinking")
    if output:
        fields["output_config"] = output
    if thinking is not None:
        fields["thinking"] = thinking
    fields["max_tokens"] = _max_tokens(limit, thinking, model)
    if stream:
        fields["stream"] = True
    return fields


def _check(given: Mapping[str, Any], *, stream: bool) -> None:
    # Tools may be Anthropic's own, which are of another shape.
    check_options({name: value for name, value in given.items() if name != "tools"})
    for name, remedy in _NOT_HONOURED.items():
        if name in given and given[name] not in _HARMLESS.get(name, ()):
            raise _bad(name, "can't be honoured", remedy)
    temperature = given.get("temperature")
    if temperature is not None and not 0 <= temperature <= 1:
        raise _bad("temperature", f"is {temperature}", "Claude's goes from 0 to 1")
    if "stream" in given and bool(given["stream"]) is not stream:
        raise _bad(
            f"stream={given['stream']!r}",
            "is not an option",
            "call stream_chat() for an answer in pieces, and chat() for a whole one",
        )


def _limit(given: Mapping[str, Any]) -> int | None:
    limit, same = given.get("max_tokens"), given.get("max_completion_tokens")
    if limit is not None and same is not None and limit != same:
        raise _bad("max_tokens", "and max_completion_tokens differ", "give one of them")
    found: int | None = same if limit is None else limit
    return found


def _max_tokens(limit: int | None, thinking: Any, model: str | None) -> int:
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int)):
        raise _bad("thinking.budget_tokens", f"is {budget!r}", "give a number of tokens")
    if limit is None:
        # Thinking counts: what is left for the answer stays as it is without.
        return default_max_tokens(model) + (budget or 0)
    return limit


def _effort(
    given: Mapping[str, Any], model: str | None, output: dict[str, Any], limit: int | None
) -> dict[str, Any] | None:
    """Put `reasoning_effort` into `output`, or return the `thinking` that it stands for.

    Models from Opus 4.5 on have an effort; those before them think within a budget.
    https://platform.claude.com/docs/en/build-with-claude/effort
    """
    effort = given.get("reasoning_effort")
    if effort is None:
        return None
    for other in ("thinking", "output_config"):
        held = given.get(other)
        if held is not None and (other == "thinking" or "effort" in held):
            raise _bad("reasoning_effort", f"and {other} say the same", "give one of them")
    if effort == "none":
        return {"type": "disabled"}
    name = (model or "").lower()
    if effort not in _EFFORTS and effort not in _MORE_EFFORT:
        known = ", ".join(("none", *_EFFORTS, *_MORE_EFFORT))
        raise _bad("reasoning_effort", f"is {effort!r}", f"use one of {known}")
    if _NO_THINKING.search(name):
        raise _bad("reasoning_effort", f"can't be honoured by {model}", "it doesn't think")
    if not _BUDGET_THINKING.search(name):
        output["effort"] = _EFFORTS.get(effort, effort)
        return None
    budget = _BUDGETS.get(effort)
    if budget is None:
        raise _bad("reasoning_effort", f"{effort!r} is more than {model} has", "use 'high'")
    if limit is not None and limit <= budget:
        if limit <= _LEAST_THINKING:
            raise _bad(
                "max_tokens", f"{limit} leaves no room for thinking",
                f"give more than {_LEAST_THINKING}, or leave reasoning_effort out",
            )  # fmt: skip
        budget = max(_LEAST_THINKING, limit // 2)
    return {"type": "enabled", "budget_tokens": budget}


def _output_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `output_config`: https://platform.claude.com/docs/en/build-with-claude/structured-outputs."""
    held = given.get("output_config")
    if held is not None and not isinstance(held, dict):
        raise _bad("output_config", f"is {type(held).__name__}", "give a dictionary")
    output = dict(held or {})
    wanted = given.get("response_format")
    if wanted is None or wanted["type"] == "text":
        return output
    if wanted["type"] != "json_schema":
        raise _bad(
            f"response_format {wanted['type']!r}",
            "can't be honoured: Claude writes JSON by a schema alone",
            'give {"type": "json_schema", "json_schema": {"name": …, "schema": …}}',
        )
    if output.get("format") is not None:
        raise _bad("response_format", "and output_config.format are the same", "give one of them")
    named = wanted.get("json_schema")
    schema = named.get("schema", named) if isinstance(named, dict) else wanted.get("schema")
    if not isinstance(schema, dict):
        raise _bad("response_format.json_schema.schema", "is missing", "give the schema")
    output["format"] = {"type": "json_schema", "schema": schema}
    return output


def _metadata(given: Mapping[str, Any]) -> dict[str, Any]:
    held = given.get("metadata")
    if held is not None and not isinstance(held, dict):
        raise _bad("metadata", f"is {type(held).__name__}", "give a dictionary")
    metadata = dict(held or {})
    user = given.get("user")
    if user is not None and metadata.setdefault("user_id", user) != user:
        raise _bad("user", "and metadata.user_id differ", "give one of them")
    return metadata


def _bad(name: str, what: str, remedy: str) -> InvalidRequestError:
    return InvalidRequestError(f"{name} {what}: {remedy}")
