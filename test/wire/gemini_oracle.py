"""What a recorded Gemini answer says, read a second time and in another way.

Nothing here is shared with the library: a generator of facts over the JSON, written from Google's
reference, so that a mistake would have to be made twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from api_backends import errors

FILTERS = {
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "LANGUAGE",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
}
NUMBERS = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION", 5: "OTHER"}
STATUSES = {
    400: errors.InvalidRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    429: errors.RateLimitError,
    500: errors.ServerError,
    503: errors.OverloadedError,
}


def _facts(event: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The facts of one event, one after the other."""
    yield from (("id", event[k]) for k in ("responseId",) if event.get(k))
    yield from (("model", event[k]) for k in ("modelVersion",) if event.get(k))
    if isinstance(event.get("usageMetadata"), dict):
        yield "usage", event["usageMetadata"]
    if (event.get("promptFeedback") or {}).get("blockReason"):
        yield "blocked", event["promptFeedback"]["blockReason"]
    first = [c for c in event.get("candidates") or [] if c.get("index", 0) == 0]
    for candidate in first[:1]:
        yield "candidate", True
        for part in (candidate.get("content") or {}).get("parts") or []:
            if "text" in part:
                yield ("thought" if part.get("thought") else "text"), part["text"]
            if "functionCall" in part:
                yield "call", part["functionCall"]
        if candidate.get("finishReason"):
            reason = candidate["finishReason"]
            yield "finish", NUMBERS.get(reason, reason)


def _whole_calls(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls put together: those that come in pieces have no name but in the first."""
    calls: list[dict[str, Any]] = []
    for piece in pieces:
        if "name" in piece or not calls:
            calls.append({**piece, "paths": {}})
        for value in piece.get("partialArgs") or []:
            said = next(v for k, v in value.items() if k.endswith("Value"))
            paths = calls[-1]["paths"]
            is_more = isinstance(said, str) and value["jsonPath"] in paths
            paths[value["jsonPath"]] = paths[value["jsonPath"]] + said if is_more else said
    for call in calls:
        args: dict[str, Any] = dict(call.get("args") or {})
        for path, said in call["paths"].items():
            holder: Any = args
            *way, last = path.replace("]", "").replace("[", ".#").split(".")[1:]
            for step, following in zip(way, [*way[1:], last], strict=False):
                empty: Any = [] if following[0] == "#" else {}
                if step[0] != "#":
                    holder = holder.setdefault(step, empty)
                else:
                    if int(step[1:]) == len(holder):
                        holder.append(empty)
                    holder = holder[int(step[1:])]
            if last[0] == "#":
                holder.append(said)
            else:
                holder[last] = said
        call["args"] = args
    return calls


def expected_answer(*events: Any, complete: bool = True) -> dict[str, Any] | type:
    """What the events of a stream, or the one answer of a call, say; or the error they are."""
    said: list[tuple[str, Any]] = []
    for event in events:
        if isinstance(event, dict) and event.get("error"):
            return errors.InvalidRequestError if "400" in json.dumps(event) else errors.ApiError
        known = ("candidates", "promptFeedback", "usageMetadata", "responseId", "modelVersion")
        if not isinstance(event, dict) or not any(key in event for key in known):
            return errors.InvalidResponseError
        said.extend(_facts(event))

    def every(name: str) -> list[Any]:
        return [value for key, value in said if key == name]

    calls, finish = _whole_calls(every("call")), (every("finish") or [None])[-1]
    if calls and finish in ("STOP", None, "UNEXPECTED_TOOL_CALL"):
        reason = "tool_calls"
    elif finish in FILTERS or (complete and not every("candidate")):
        reason = "content_filter"
    else:
        reason = {"STOP": "stop", "MAX_TOKENS": "length"}.get(finish, finish)
    usage = {k: v for k, v in (every("usage") or [{}])[-1].items() if v is not None}
    thoughts, wrote = usage.get("thoughtsTokenCount", 0), usage.get("candidatesTokenCount", 0)
    read = usage.get("promptTokenCount", 0)
    return {
        "id": (every("id") or [""])[0],
        "model": (every("model") or [""])[0],
        "content": "".join(every("text")),
        "reasoning": "".join(every("thought")),
        "calls": [(call["name"], call["args"]) for call in calls],
        "call_ids": [call.get("id") for call in calls],
        "reason": reason,
        "usage": (
            read,
            wrote + thoughts,
            usage.get("totalTokenCount", read + wrote + thoughts),
            usage.get("cachedContentTokenCount", 0),
            thoughts,
        ),
        "has_reason": bool(every("blocked")) or finish in FILTERS,
    }


def expected_error(status: int, body: Any) -> type:
    """The class of the error that an answer with an error status is."""
    text = body if isinstance(body, str) else json.dumps(body)
    if "API_KEY_INVALID" in text or "API key not valid" in text:
        return errors.AuthenticationError
    if status == 404 and "odel" in text:
        return errors.ModelNotFoundError
    if status == 400 and "token count" in text:
        return errors.ContextLengthError
    return STATUSES[status]
