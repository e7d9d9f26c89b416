"""An answer of generateContent as the result that callers know.

https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse. Of several candidates the
first counts. Parts with code, its output, searches, images and sound stay in `raw`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidResponseError
from api_backends.types import ChatCompletionResponse, ToolCall, Usage

from .gemini_contents import CALL_PREFIX
from .gemini_errors import error_in

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "block_reason",
    "finish_reason_of",
    "is_answer",
    "parts_of",
    "read_chat",
    "read_usage",
    "signatures_in",
    "tool_call",
]

# In the order of their numbers, which some clients send in the place of names.
_FINISHES = (
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE",
    "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY",
    "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
)  # fmt: skip
_FILTERS = frozenset(
    (
        "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR",
    )
)  # fmt: skip
_BLOCKS = ("BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT")
_ENDS_IN_CALLS = frozenset((None, "STOP", "FINISH_REASON_UNSPECIFIED", "UNEXPECTED_TOOL_CALL"))
_ANSWERS = ("candidates", "promptFeedback", "usageMetadata", "responseId", "modelVersion")


def read_chat(raw: Any, *, backend: str = "") -> ChatCompletionResponse:
    """Return the result that an answer stands for.

    A prompt that was blocked is an answer too: without content, `finish_reason` is
    "content_filter", and `refusal` says why.

    Args:
        raw: The answer's JSON.
        backend: Name of the back end, for results and errors.

    Raises:
        ApiError: The answer reports an error, though its status was a success.
        InvalidResponseError: The answer is not one of this API.
    """
    error = error_in(raw, backend=backend)
    if error is not None:
        raise error
    if not is_answer(raw):
        raise InvalidResponseError(
            f"{backend or 'the server'} sent no answer of generateContent: check that the base URL "
            "is that of the Gemini API",
            backend=backend or None,
            body=raw,
        )
    candidate = _first(raw.get("candidates"))
    identity = _text(raw.get("responseId"))
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    for part in parts_of(candidate):
        text = part.get("text")
        if isinstance(text, str):
            (thoughts if part.get("thought") else texts).append(text)
        if isinstance(part.get("functionCall"), dict):
            calls.append(tool_call(part["functionCall"], identity, len(calls)))
    reason, why = block_reason(raw, candidate)
    return ChatCompletionResponse(
        identity,
        _text(raw.get("modelVersion")),
        "".join(texts),
        "assistant",
        calls,
        reason or finish_reason_of(candidate, has_calls=bool(calls)),
        read_usage(raw),
        "".join(thoughts) or None,
        why,
        raw,
        backend,
    )


def is_answer(raw: Any) -> bool:
    """Say whether JSON is an answer, or an event, of this API."""
    if not isinstance(raw, dict) or not any(key in raw for key in _ANSWERS):
        return False
    candidates = raw.get("candidates")
    return candidates is None or (
        isinstance(candidates, list) and all(isinstance(c, dict) for c in candidates)
    )


def parts_of(candidate: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the parts of a candidate; none where it has no content, or content without parts."""
    content = candidate.get("content") if candidate is not None else None
    parts = content.get("parts") if isinstance(content, dict) else None
    return [p for p in parts if isinstance(p, dict)] if isinstance(parts, list) else []


def tool_call(call: Mapping[str, Any], response_id: str, place: int) -> ToolCall:
    """Return a function call; one without an id gets one, the same whenever it is read.

    Args:
        call: `{"name", "args", "id"}`, of which Gemini leaves out any but the name.
        response_id: Id of the answer that it is in.
        place: Its place among the answer's calls.
    """
    name, arguments = _text(call.get("name")), call.get("args")
    if isinstance(arguments, str):
        text = arguments
    else:
        text = "{}" if arguments is None else json.dumps(arguments, ensure_ascii=False)
    identity = _text(call.get("id"))
    if not identity:
        seed = f"{response_id}\n{place}\n{name}\n{text}".encode("utf-8", "replace")
        identity = CALL_PREFIX + hashlib.sha256(seed).hexdigest()[:20]
    return ToolCall(identity, name, text)


def signatures_in(raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the thought signatures of an answer's calls, by the id of the call."""
    found: dict[str, str] = {}
    identity, place = _text(raw.get("responseId")), 0
    for part in parts_of(_first(raw.get("candidates"))):
        if isinstance(part.get("functionCall"), dict):
            signature = part.get("thoughtSignature")
            if isinstance(signature, str) and signature:
                found[tool_call(part["functionCall"], identity, place).id] = signature
            place += 1
    return found


def finish_reason_of(candidate: Mapping[str, Any] | None, *, has_calls: bool) -> str | None:
    """Return why a candidate ended, in the common words, or in Gemini's where it has its own.

    Gemini says STOP also where the turn ends in calls. None means that it has not ended.
    """
    stated = _named(candidate.get("finishReason") if candidate is not None else None, _FINISHES)
    if has_calls and stated in _ENDS_IN_CALLS:
        return "tool_calls"
    if stated is None or stated == "FINISH_REASON_UNSPECIFIED":
        return None
    if stated in _FILTERS:
        return "content_filter"
    return {"STOP": "stop", "MAX_TOKENS": "length"}.get(stated, stated)


def block_reason(
    raw: Mapping[str, Any], candidate: Mapping[str, Any] | None
) -> tuple[str | None, str | None]:
    """Return "content_filter" for a prompt that was blocked, and why this or a candidate was."""
    if candidate is not None:
        stated = _named(candidate.get("finishReason"), _FINISHES)
        if stated not in _FILTERS:
            return None, None
        return None, _why(stated, candidate.get("finishMessage"), candidate)
    feedback = raw.get("promptFeedback")
    if not isinstance(feedback, dict):
        feedback = {}
    stated = _named(feedback.get("blockReason"), _BLOCKS)
    if stated is None:
        return "content_filter", "no candidates, and no reason given"
    return "content_filter", _why(stated, feedback.get("blockReasonMessage"), feedback)


def _why(stated: str, message: Any, rated: Mapping[str, Any]) -> str:
    """Return a reason in words: what was stated, what the ratings blame, what was said about it."""
    ratings = rated.get("safetyRatings")
    blamed = [
        f"{rating.get('category')}: {rating.get('probability')}"
        for rating in (ratings if isinstance(ratings, list) else ())
        if isinstance(rating, dict)
        and (rating.get("blocked") or rating.get("probability") in ("HIGH", "MEDIUM"))
    ]
    text = f"{stated} ({', '.join(blamed)})" if blamed else stated
    return f"{text}: {message}" if isinstance(message, str) and message else text


def read_usage(raw: Mapping[str, Any]) -> Usage:
    """Return the tokens of an answer: thoughts count as completion, as they are billed.

    What Google's own tools read (`toolUsePromptTokenCount`) is in the total and in `raw` alone.
    """
    usage = raw.get("usageMetadata")
    if not isinstance(usage, dict):
        return Usage()
    prompt, thoughts = _count(usage, "promptTokenCount"), _count(usage, "thoughtsTokenCount")
    completion = _count(usage, "candidatesTokenCount") + thoughts
    total = _count(usage, "totalTokenCount") or (
        prompt + completion + _count(usage, "toolUsePromptTokenCount")
    )
    return Usage(prompt, completion, total, _count(usage, "cachedContentTokenCount"), thoughts)


def _first(candidates: Any) -> dict[str, Any] | None:
    """Return the candidate with index 0, or the first; index 0 is left out of JSON."""
    if not isinstance(candidates, list) or not candidates:
        return None
    for candidate in candidates:
        if isinstance(candidate, dict) and not candidate.get("index"):
            return candidate
    return candidates[0] if isinstance(candidates[0], dict) else None


def _named(value: Any, names: tuple[str, ...]) -> str | None:
    """Return an enumeration's value by name, also where its number was sent."""
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else str(value)
    return value if isinstance(value, str) and value else None


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)  # 64-bit numbers are texts in Google's JSON
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e18:
        return int(value)
    return 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
