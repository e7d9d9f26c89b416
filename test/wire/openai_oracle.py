"""What a recorded OpenAI-shaped answer means, written down a second time.

Straight from the published rules and from what the recordings look like, with none of the code
under test, and with no regard for speed or for bodies that are not in the recordings.
"""

from __future__ import annotations

import json
from typing import Any

from api_backends import errors

REASONS = {
    "eos": "stop",
    "eos_token": "stop",
    "function_call": "tool_calls",
    "tool_call": "tool_calls",
}

BY_STATUS = {
    400: errors.InvalidRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.InvalidRequestError,
    422: errors.InvalidRequestError,
    424: errors.InvalidRequestError,
    429: errors.RateLimitError,
    500: errors.ServerError,
    502: errors.ServerError,
    503: errors.OverloadedError,
    529: errors.OverloadedError,
}

# Read by a person in the recordings: what each of these sentences means.
BY_SENTENCE = {
    "maximum context length": errors.ContextLengthError,
    "exceeds the available context size": errors.ContextLengthError,
    "total length of all messages is too long": errors.ContextLengthError,
    "Content violates usage guidelines": errors.ContentFilterError,
    "does not exist or you do not have access": errors.ModelNotFoundError,
    "has been decommissioned": errors.ModelNotFoundError,
    "has been deprecated": errors.ModelNotFoundError,
    "was deprecated on": errors.ModelNotFoundError,
    "is not a valid model ID": errors.ModelNotFoundError,
    "Invalid model:": errors.ModelNotFoundError,
    "supported API model names are": errors.ModelNotFoundError,
    "No endpoints found for": errors.ModelNotFoundError,
    "alpha period for this model has ended": errors.ModelNotFoundError,
    "Specified model not found": errors.ModelNotFoundError,
    "API deployment for this resource does not exist": errors.ModelNotFoundError,
    "Azure Content management policy": errors.ContentFilterError,
    "This is not a chat model": errors.ModelNotFoundError,
    "is not supported with the Responses API": errors.ModelNotFoundError,
    "The requested model '": errors.ModelNotFoundError,
    "Model not found: ": errors.ModelNotFoundError,
    "Only Qwen/Qwen2.5-72B-Instruct": errors.ModelNotFoundError,
}


def expected_error(status: int, body: Any) -> type[errors.ApiError]:
    text = json.dumps(body, ensure_ascii=False)
    for sentence, cls in BY_SENTENCE.items():
        if sentence in text:
            return cls
    return BY_STATUS[status]


def status_of_error(error: Any) -> int:
    if isinstance(error, str):  # "Error: 400 …"
        return int(error.split()[1])
    if error.get("type") == "invalid_request_error":
        return 400
    return int(error.get("status") or error["code"])


def expected_answer(body: Any) -> dict[str, Any] | type[errors.ApiError]:
    """What an answer that is not streamed means: the facts, or the class of its error."""
    if not isinstance(body, dict):
        return errors.InvalidResponseError
    if body.get("error"):
        return expected_error(status_of_error(body["error"]), body)
    if not isinstance(body.get("choices"), list) or not body["choices"]:
        return errors.InvalidResponseError
    choice = body["choices"][0]
    if choice.get("error"):
        return expected_error(status_of_error(choice["error"]), choice)
    message = choice.get("message") or choice.get("delta") or {}  # none after a filter
    content = message.get("content")
    thinking = ""
    if isinstance(content, list):
        thinking = "".join(
            piece["text"]
            for part in content
            if part["type"] == "thinking"
            for piece in part["thinking"]
        )
        content = "".join(part["text"] for part in content if part["type"] == "text")
    if isinstance(content, dict):
        content = json.dumps(content, ensure_ascii=False)
    if not content and message.get("audio"):
        content = message["audio"]["transcript"]
    reason = choice.get("finish_reason", "")
    if "finish_details" in choice:
        reason = {"max_tokens": "length"}.get(choice["finish_details"]["type"], "stop")
    calls = [
        (str(call["id"]), call["function"]["name"], call["function"].get("arguments"))
        for call in message.get("tool_calls") or []
    ]
    legacy = message.get("function_call")
    if not calls and legacy and legacy["name"]:
        calls.append(("", legacy["name"], legacy["arguments"]))
    return {
        "id": body.get("id") or "",
        "model": body.get("model") or "",
        "content": content or "",
        "calls": [(i, name, text_of_arguments(args, reason)) for i, name, args in calls],
        "reason": expected_reason(reason, calls),
        "usage": expected_usage(body.get("usage") or {}),
        "reasoning": thoughts(message) or thinking,
        "refusal": message.get("refusal") or "",
    }


def expected_stream(events: list[Any], done: bool) -> dict[str, Any] | type[errors.ApiError]:
    """What the events of a stream mean together: the facts, or the class of its error."""
    facts: dict[str, Any] = {"id": "", "model": "", "content": "", "reasoning": "", "refusal": ""}
    usage: dict[str, Any] = {}
    reason = None
    calls: list[list[str]] = []
    current: dict[Any, list[str]] = {}
    for event in events:
        if event.get("error"):
            return expected_error(status_of_error(event["error"]), event)
        usage = event.get("usage") or (event.get("x_groq") or {}).get("usage") or usage
        for choice in event.get("choices") or []:
            facts["id"] = facts["id"] or event.get("id") or ""
            facts["model"] = facts["model"] or event.get("model") or ""
            if choice.get("index", 0) != 0:
                continue
            reason = choice.get("finish_reason") or reason
            delta = choice.get("delta") or {}
            content = delta.get("content") or ""
            if isinstance(content, list):
                for part in content:
                    if part["type"] == "text":
                        facts["content"] += part["text"]
                    elif part["type"] == "thinking":
                        facts["reasoning"] += "".join(piece["text"] for piece in part["thinking"])
            else:
                facts["content"] += content
            facts["reasoning"] += thoughts(delta)
            facts["refusal"] += delta.get("refusal") or ""
            for piece in delta.get("tool_calls") or []:
                # A piece with an id or an index not seen before begins a call; any other continues
                # the call of its index.
                function = piece.get("function") or {}
                new = piece.get("id") and piece["id"] not in [call[0] for call in calls]
                if new or piece.get("index") not in current:
                    calls.append([piece.get("id") or "", function.get("name") or "", ""])
                    current[piece.get("index")] = calls[-1]
                current[piece.get("index")][2] += function.get("arguments") or ""
    stated = reason or ("" if done else None)
    facts["calls"] = [(i, name, text_of_arguments(args, reason)) for i, name, args in calls]
    facts["reason"] = expected_reason(stated, calls)
    facts["usage"] = expected_usage(usage)
    return facts


def text_of_arguments(arguments: Any, reason: str | None) -> str:
    """JSON text; no arguments are an empty object, unless the answer was cut before them."""
    if arguments is None or arguments == "":
        return "" if reason == "length" else "{}"
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def expected_reason(reason: str | None, calls: list[Any]) -> str | None:
    """The common word; null is a provider's "not ended", "" a complete answer without a word."""
    if calls and reason in (None, "", "stop"):
        return "tool_calls"
    if reason is None:
        return None
    return REASONS.get(reason, reason or "stop")


def expected_usage(usage: dict[str, Any]) -> tuple[int, int, int, int, int]:
    prompt = usage.get("prompt_tokens") or 0
    completion = usage.get("completion_tokens") or 0
    read = usage.get("prompt_tokens_details") or {}
    wrote = usage.get("completion_tokens_details") or {}
    cached = (
        read.get("cached_tokens")
        or usage.get("prompt_cache_hit_tokens")
        or usage.get("cache_read_input_tokens")
        or usage.get("num_cached_tokens")
        or usage.get("cached_tokens")
        or 0
    )
    reasoning = wrote.get("reasoning_tokens") or usage.get("reasoning_tokens") or 0
    total = usage.get("total_tokens") or prompt + completion
    return prompt, completion, total, cached, reasoning


def thoughts(message: dict[str, Any]) -> str:
    said = message.get("reasoning") or message.get("reasoning_content")
    if said:
        return said
    details = message.get("reasoning_details") or []
    return "".join(detail.get("text") or detail.get("summary") or "" for detail in details)
