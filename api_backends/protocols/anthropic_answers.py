"""What Anthropic's Messages API answers, read: a message, its usage, why it ended.

https://platform.claude.com/docs/en/api/messages. Text is what the text blocks hold together (an
answer with citations comes in many), reasoning what the thinking blocks hold. Blocks of Anthropic's
own tools (web search, code execution, MCP) are no calls of the caller's: they are found in `raw`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidResponseError
from api_backends.types import ChatCompletionResponse, ToolCall, Usage

from .anthropic_errors import error_in
from .openai_errors import mask_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["finish_reason_of", "not_an_answer", "read_message", "read_usage"]

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def read_message(
    raw: Any, *, backend: str = "", arguments: Mapping[int, str] | None = None
) -> ChatCompletionResponse:
    """Return the result that a message stands for.

    Args:
        raw: The answer's JSON; it is kept as it is.
        backend: Name of the back end, for results and errors.
        arguments: What the model wrote as arguments of a call, by the place of its block; taken
            from the block's `input` where it isn't here.

    Raises:
        ApiError: The answer reports an error, though its status was a success.
        InvalidResponseError: The answer is not a message.
    """
    if not isinstance(raw, dict):
        raise not_an_answer(raw, backend)
    error = error_in(raw, backend=backend)
    if error is not None:
        raise error
    content = raw.get("content")
    if not isinstance(content, list) or raw.get("type", "message") != "message":
        raise not_an_answer(raw, backend)
    text: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for place, block in enumerate(content):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            text.append(_text(block.get("text")))
        elif kind == "thinking":
            thoughts.append(_text(block.get("thinking")))
        elif kind == "tool_use":
            written = arguments.get(place) if arguments is not None else None
            calls.append(_call(block, written))
    return ChatCompletionResponse(
        _text(raw.get("id")),
        _text(raw.get("model")),
        "".join(text),
        _text(raw.get("role")) or "assistant",
        calls,
        finish_reason_of(raw.get("stop_reason")),
        read_usage(raw.get("usage")),
        "".join(thoughts) or None,
        _refusal(raw),
        raw,
        backend,
    )


def finish_reason_of(stated: Any) -> str | None:
    """Return why a turn ended in the common words, `pause_turn` and others as they are."""
    return _FINISH.get(stated, stated) if isinstance(stated, str) else None


def read_usage(usage: Any) -> Usage:
    """Return the tokens of an answer; `prompt_tokens` counts what a cache gave and took too."""
    if not isinstance(usage, dict):
        return Usage()
    cached = _count(usage, "cache_read_input_tokens")
    read = _count(usage, "input_tokens") + cached + _count(usage, "cache_creation_input_tokens")
    wrote = _count(usage, "output_tokens")
    details = usage.get("output_tokens_details")
    thinking = _count(details, "thinking_tokens") if isinstance(details, dict) else 0
    return Usage(read, wrote, read + wrote, cached, thinking)


def not_an_answer(raw: Any, backend: str) -> InvalidResponseError:
    """Return the error for something that is no message."""
    shown = mask_keys(raw if isinstance(raw, str) else json.dumps(raw, default=str)[:4000])[:120]
    return InvalidResponseError(
        f"{backend or 'the server'} sent no message of Anthropic's Messages API ({shown}): check "
        "that the base URL is that of such an API",
        backend=backend or None,
        body=raw,
    )


def _call(block: Mapping[str, Any], written: str | None) -> ToolCall:
    if written is None:
        given = block.get("input")
        if not isinstance(given, str):
            given = json.dumps({} if given is None else given, ensure_ascii=False)
        written = given
    return ToolCall(_text(block.get("id")), _text(block.get("name")), written)


def _refusal(raw: Mapping[str, Any]) -> str | None:
    details = raw.get("stop_details")
    if raw.get("stop_reason") != "refusal" or not isinstance(details, dict):
        return None
    reason = details.get("explanation") or details.get("category")
    return reason if isinstance(reason, str) else None


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 <= value < 2**63 else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
