"""The chat half of OpenAI's protocol: messages and options to a body, an answer to a result.

Pure functions of plain data. https://platform.openai.com/docs/api-reference/chat, and the
dialects of Groq, OpenRouter, xAI, DeepSeek, Together, Cerebras, Mistral, vLLM, llama.cpp and
others, who agree on the frame and differ in every corner that is handled here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidRequestError, InvalidResponseError
from api_backends.types import ChatCompletionResponse, ToolCall, Usage

from .openai_errors import error_in, mask_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "arguments_text",
    "call_id",
    "chat_body",
    "finish_reason_of",
    "read_chat",
    "read_usage",
    "reasoning_of",
    "split_content",
]

_FINISH = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_ENDS_IN_CALLS = frozenset((None, "", "stop"))


def chat_body(
    messages: Sequence[Mapping[str, Any]],
    model: str | None,
    options: Mapping[str, Any],
    *,
    stream: bool = False,
) -> dict[str, Any]:
    """Return the JSON body of a chat request.

    Args:
        messages: Messages as `normalize_messages` returns them; taken over as they are.
        model: Model to ask for; None where the server has only one.
        options: The provider's own options, sent as they are. An option that is None is sent as
            null, as other clients do and as servers accept; leave it out to not send it.
        stream: Whether the answer is to come in pieces. Usage is then asked for with
            `stream_options`, unless the options have that key; `stream_options=None` leaves it
            out altogether, for servers that don't know it.

    Raises:
        InvalidRequestError: The options ask for the opposite of `stream`.
    """
    body: dict[str, Any] = {"messages": messages}
    if model:
        body["model"] = model
    body.update(options)
    if "stream" in options and bool(options["stream"]) is not stream:
        raise InvalidRequestError(
            f"stream={options['stream']!r} is not an option of "
            + ("stream_chat(): leave it out, or call chat()" if stream else "chat(): call ")
            + ("" if stream else "stream_chat() for an answer in pieces")
        )
    if stream:
        body["stream"] = True
        if "stream_options" not in options:
            body["stream_options"] = {"include_usage": True}
        elif options["stream_options"] is None:
            del body["stream_options"]
    return body


def read_chat(raw: Any, *, backend: str = "") -> ChatCompletionResponse:
    """Return the result that a chat answer stands for.

    Args:
        raw: The answer's JSON. Of several choices the first counts; `raw` keeps all.
        backend: Name of the back end, for results and errors.

    Raises:
        ApiError: The answer reports an error, though its status was a success.
        InvalidResponseError: The answer is not a chat answer.
    """
    if raw.__class__ is not dict:
        raise _not_an_answer(raw, backend)
    choices = raw.get("choices")
    choice = _first(choices)
    if "error" in raw or choice is None or "error" in choice:
        error = error_in(raw, backend=backend)
        if error is not None:
            raise error
    message = choice.get("message") if choice is not None else None
    if message.__class__ is not dict:
        message = _other_message(choice)
    if choice is None or message is None:
        raise _not_an_answer(raw, backend)
    content = message.get("content")
    reasoning = ""
    if content.__class__ is not str:
        content, reasoning = split_content(content)
        audio = message.get("audio")
        if not content and isinstance(audio, dict) and isinstance(audio.get("transcript"), str):
            content = audio["transcript"]
    stated = choice.get("finish_reason", "")
    if stated is None or stated == "":
        stated = _finish_details(choice, stated)
    calls = _tool_calls(message, cut=stated == "length")
    refusal = message.get("refusal")
    return ChatCompletionResponse(
        _text(raw.get("id")),
        _text(raw.get("model")),
        content,
        _text(message.get("role")) or "assistant",
        calls,
        finish_reason_of(stated, has_calls=bool(calls)),
        read_usage(raw),
        (reasoning_of(message) or reasoning) or None,
        refusal if refusal and refusal.__class__ is str else None,
        raw,
        backend,
    )


def finish_reason_of(stated: Any, *, has_calls: bool) -> str | None:
    """Return why a turn ended, in the common words, or in the provider's where it has its own.

    "" stands for an answer that is complete and doesn't say why; null for one that is not
    complete as far as the provider knows (seen on answers that were cut). A turn that asks for
    tools ends in `tool_calls` also where the provider says `stop` (it does for a forced tool) or
    nothing; but one that was cut or filtered has not come to its calls' end.
    """
    if has_calls and (stated.__class__ is not str or stated in _ENDS_IN_CALLS):
        return "tool_calls"
    if stated.__class__ is not str:
        return None
    return _FINISH.get(stated, stated) if stated else "stop"


def read_usage(raw: Mapping[str, Any]) -> Usage:
    """Return the tokens that an answer or an event reports; a false `Usage` where it has none."""
    usage = raw.get("usage")
    if usage.__class__ is not dict:
        extra = raw.get("x_groq")
        usage = extra.get("usage") if isinstance(extra, dict) else None
        if usage.__class__ is not dict:
            return Usage()
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    completion = _count(usage, "completion_tokens", "output_tokens")
    total = _count(usage, "total_tokens") or prompt + completion
    read = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    wrote = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    cached = _count(read, "cached_tokens") if read.__class__ is dict else 0
    reasoning = _count(wrote, "reasoning_tokens") if wrote.__class__ is dict else 0
    if not cached:
        cached = _count(
            usage,
            "prompt_cache_hit_tokens",  # DeepSeek
            "cache_read_input_tokens",  # gateways in front of Claude
            "num_cached_tokens",  # Mistral
            "cached_tokens",
        )
    if not reasoning:
        reasoning = _count(usage, "reasoning_tokens")
    return Usage(prompt, completion, total, cached, reasoning, _cost(usage))


def split_content(content: Any) -> tuple[str, str]:
    """Return the text and the reasoning of a `content` that is not a plain string.

    Mistral answers with a list of parts of type `text` and `thinking`; some gateways put the
    parsed object of a structured output where its text belongs.
    """
    if isinstance(content, str):
        return content, ""
    if isinstance(content, dict):
        return _json(content), ""
    if not isinstance(content, list):
        return "", ""
    text: list[str] = []
    reasoning: list[str] = []
    for part in content:
        if isinstance(part, str):
            text.append(part)
        elif isinstance(part, dict):
            if part.get("type") in ("thinking", "reasoning"):
                thought = part.get("thinking") or part.get("reasoning") or part.get("text")
                reasoning.append(thought if isinstance(thought, str) else _detail_text(thought))
            elif isinstance(part.get("text"), str):
                text.append(part["text"])
    return "".join(text), "".join(reasoning)


def reasoning_of(message: Mapping[str, Any]) -> str:
    """Return the reasoning of a message or delta under whichever name it comes, or ""."""
    thought = message.get("reasoning_content")
    if not thought or thought.__class__ is not str:
        thought = message.get("reasoning")
        if not thought or thought.__class__ is not str:
            details = message.get("reasoning_details")
            return _detail_text(details) if details else ""
    return thought


def arguments_text(arguments: Any) -> str:
    """Return a tool call's arguments as JSON text: some servers send the object itself."""
    if arguments.__class__ is str:
        return arguments
    return "" if arguments is None else _json(arguments)


def call_id(identity: Any) -> str:
    """Return a tool call's id as text: some servers number their calls, some give no id."""
    if identity.__class__ is int:
        return str(identity)
    return identity if identity.__class__ is str else ""


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise InvalidResponseError(
            "the answer is nested too deep to be one: check the server behind the base URL"
        ) from None


def _detail_text(details: Any) -> str:
    # OpenRouter: reasoning.text, reasoning.summary and reasoning.encrypted, which says nothing.
    said = []
    for item in details if isinstance(details, list) else ():
        if isinstance(item, dict):
            thought = item.get("text") or item.get("summary")
            if isinstance(thought, str):
                said.append(thought)
    return "".join(said)


def _first(choices: Any) -> dict[str, Any] | None:
    """Return the choice number 0, or the first one."""
    if choices.__class__ is not list or not choices:
        return None
    for choice in choices if len(choices) > 1 else ():
        if isinstance(choice, dict) and choice.get("index") == 0:
            return choice
    return choices[0] if isinstance(choices[0], dict) else None


def _other_message(choice: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what stands in the place of a message: a delta, or nothing after a filter."""
    if choice is None:
        return None
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return delta
    ended = choice.get("finish_reason") and "text" not in choice
    return {} if ended and isinstance(choice["finish_reason"], str) else None


def _tool_calls(message: Mapping[str, Any], *, cut: bool) -> list[ToolCall]:
    """Return the calls of a message; a legacy `function_call` counts as one without an id.

    A call without arguments gets `{}`, so that `arguments` is JSON; not where the answer was cut
    before they came.
    """
    calls = message.get("tool_calls")
    none = "" if cut else "{}"
    found: list[ToolCall] = []
    for call in calls if calls.__class__ is list else ():
        if not isinstance(call, dict):
            continue
        function = call.get("function")
        if not isinstance(function, dict):
            custom = call.get("custom")  # a tool that takes free text instead of JSON
            if isinstance(custom, dict):
                text = arguments_text(custom.get("input"))
                found.append(ToolCall(call_id(call.get("id")), _text(custom.get("name")), text))
            continue
        text = arguments_text(function.get("arguments"))
        found.append(ToolCall(call_id(call.get("id")), _text(function.get("name")), text or none))
    legacy = message.get("function_call")
    if not found and isinstance(legacy, dict) and _text(legacy.get("name")):
        text = arguments_text(legacy.get("arguments"))
        found.append(ToolCall("", legacy["name"], text or none))
    return found


def _finish_details(choice: Mapping[str, Any], stated: Any) -> Any:
    details = choice.get("finish_details")  # the first vision models of OpenAI
    return details.get("type") or stated if isinstance(details, dict) else stated


def _count(usage: Mapping[str, Any], *names: str) -> int:
    for name in names:
        value = usage.get(name)
        if value.__class__ is int:
            return value
        if value.__class__ is float and value.is_integer():
            return int(value)
    return 0


def _cost(usage: Mapping[str, Any]) -> float | None:
    cost = usage.get("cost")  # USD: a number (OpenRouter), or an object (Perplexity)
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    return float(cost) if cost.__class__ in (int, float) else None


def _text(value: Any) -> str:
    return value if value.__class__ is str else ""


def _not_an_answer(raw: Any, backend: str) -> InvalidResponseError:
    if isinstance(raw, str) and "<html" in raw[:300].lower():
        what = "a web page"
    elif isinstance(raw, dict):
        what = "an object with " + (", ".join(map(repr, list(raw)[:8])) if raw else "nothing in it")
    else:
        what = {None.__class__: "null", list: "a list"}.get(raw.__class__) or (
            f"{mask_keys(raw[:80])!r}" if isinstance(raw, str) else f"a bare {type(raw).__name__}"
        )
    return InvalidResponseError(
        f"{backend or 'the server'} answered {what} where a chat completion was expected: check "
        "that the base URL is that of an OpenAI-compatible API and that the model is a chat model",
        backend=backend or None,
        body=mask_keys(raw[:2000]) if isinstance(raw, str) else raw,
    )
