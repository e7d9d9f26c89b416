"""What a recorded answer of the Responses API means, written down a second time.

Straight from the published rules, with none of the code under test.
"""

from __future__ import annotations

from typing import Any

from openai_oracle import BY_STATUS, expected_error

from api_backends import errors

# Codes of answers that failed within a 200, read by a person in the recordings.
BY_CODE = {
    "insufficient_quota": errors.RateLimitError,
    "rate_limit_exceeded": errors.RateLimitError,
    "unsupported_file": errors.InvalidRequestError,
    "invalid_value": errors.InvalidRequestError,
}


def expected_failure(error: Any) -> type[errors.ApiError]:
    if isinstance(error, str) and "Error: " in error:
        return expected_error(int(error.split()[1]), error)
    code = error.get("code") if isinstance(error, dict) else None
    if code in BY_CODE:
        return BY_CODE[code]
    return BY_STATUS[500]


def expected_response(body: Any) -> dict[str, Any] | type[errors.ApiError]:
    if body.get("object") not in ("response", None) or "output" not in body:
        if body.get("error"):
            return expected_failure(body["error"])
        if body.get("object") != "response":
            return errors.InvalidResponseError
    if body.get("status") == "failed":
        return expected_failure(body["error"])
    facts: dict[str, Any] = {
        "id": body.get("id") or "",
        "model": body.get("model") or "",
        "content": "",
        "calls": [],
        "reasoning": "",
        "refusal": "",
    }
    for item in body.get("output") or []:
        match item["type"]:
            case "message":
                for part in item["content"]:
                    facts["content"] += part.get("text") or ""
                    facts["refusal"] += part.get("refusal") or ""
            case "reasoning":
                for part in (item.get("summary") or []) + (item.get("content") or []):
                    facts["reasoning"] += part["text"]
            case "function_call":
                call = (item["call_id"], item["name"], item["arguments"] or "{}")
                facts["calls"].append(call)
            case "custom_tool_call":
                facts["calls"].append((item["call_id"], item["name"], item["input"]))
    facts["reason"] = expected_end(body, facts["calls"])
    facts["usage"] = expected_tokens(body.get("usage") or {})
    return facts


def expected_end(body: Any, calls: list[Any]) -> str | None:
    status = body.get("status")
    if status == "incomplete":
        reason = (body.get("incomplete_details") or {"reason": "incomplete"})["reason"]
        return {"max_output_tokens": "length"}.get(reason, reason)
    if status in ("queued", "in_progress"):
        return None
    if status == "cancelled":
        return "cancelled"
    return "tool_calls" if calls else "stop"


def expected_tokens(usage: Any) -> tuple[int, ...]:
    read, written = usage.get("input_tokens") or 0, usage.get("output_tokens") or 0
    return (
        read,
        written,
        usage.get("total_tokens") or read + written,
        (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0,
        (usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
    )


def expected_response_stream(events: list[Any]) -> dict[str, Any] | type[errors.ApiError] | None:
    """The last event holds the whole answer; None where the stream was cut before it.

    Some servers leave the items out of it: then they are those that were said to be done.
    """
    done = []
    for event in events:
        if event.get("type") == "error":
            return expected_failure(event["error"])
        if event.get("type") == "response.failed":
            return expected_failure(event["response"]["error"])
        if event.get("type") == "response.output_item.done":
            done.append(event["item"])
        if event.get("type") in ("response.completed", "response.incomplete"):
            response = event["response"]
            return expected_response({**response, "output": response.get("output") or done})
    return None


def text_so_far(events: list[Any]) -> str:
    return "".join(e["delta"] for e in events if e.get("type") == "response.output_text.delta")
