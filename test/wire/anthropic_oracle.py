"""What a recorded answer of Anthropic's Messages API means, written down a second time.

Straight from the published rules and from what the recordings look like, with none of the code
under test, and with no regard for speed or for bodies that are not in the recordings.
"""

from __future__ import annotations

import json
from typing import Any

from api_backends import errors

REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
BY_STATUS = {
    400: errors.InvalidRequestError,
    401: errors.AuthenticationError,
    404: errors.NotFoundError,
    422: errors.InvalidRequestError,
}
# Read by a person in the recordings: what each of these sentences means.
BY_SENTENCE = {
    '"message": "model: ': errors.ModelNotFoundError,
    '"message": "The given model doesn\'t exist in the requested endpoint", "code"': (
        errors.ModelNotFoundError
    ),
    "prompt is too long": errors.ContextLengthError,
}
BY_TYPE = {"api_error": errors.ServerError}


def expected_error(status: int, body: Any) -> type[errors.ApiError]:
    text = json.dumps(body)
    for sentence, cls in BY_SENTENCE.items():
        if sentence in text:
            return cls
    return BY_STATUS[status]


def expected_answer(body: dict[str, Any]) -> dict[str, Any] | type[errors.ApiError]:
    """The facts of a message that came whole, or the class of the error that is in it."""
    if isinstance(body.get("error"), str):  # "Error: 400 {…}"
        return expected_error(int(body["error"].split()[1]), body)
    blocks = body["content"]
    details = body.get("stop_details") or {}
    return {
        "id": body["id"],
        "model": body["model"],
        "content": "".join(b["text"] for b in blocks if b["type"] == "text"),
        "calls": [(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"],
        "reason": REASONS.get(body["stop_reason"], body["stop_reason"]),
        "usage": expected_usage(body["usage"]),
        "reasoning": "".join(b["thinking"] for b in blocks if b["type"] == "thinking"),
        "refusal": details.get("explanation") or details.get("category") or "",
    }


def expected_usage(usage: dict[str, Any]) -> tuple[int, int, int, int, int]:
    read = usage.get("cache_read_input_tokens") or 0
    prompt = usage["input_tokens"] + read + (usage.get("cache_creation_input_tokens") or 0)
    thinking = (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0)
    return prompt, usage["output_tokens"], prompt + usage["output_tokens"], read, thinking


def whole_message(events: list[Any]) -> dict[str, Any] | type[errors.ApiError]:
    """The message that the events of a stream are the pieces of, or the class of their error.

    Of several messages in one recording (a client's loop saved as one) the first counts; one that
    begins before the one in front of it has ended replaces it.
    """
    message: dict[str, Any] = {}
    for event in events:
        kind = event["type"]
        if kind == "error":
            return BY_TYPE[event["error"]["type"]]
        if kind == "message_start":
            message = json.loads(json.dumps(event["message"]))
        elif kind == "content_block_start":
            assert event["index"] == len(message["content"])
            message["content"].append({**event["content_block"]})
            if event["content_block"]["type"] == "fallback":
                message["model"] = event["content_block"]["to"]["model"]
        elif kind == "content_block_delta":
            add_delta(message["content"][event["index"]], event["delta"])
        elif kind == "message_delta":
            message.update(event["delta"])
            message["usage"].update({k: v for k, v in event["usage"].items() if v is not None})
            if "context_management" in event:
                message["context_management"] = event["context_management"]
        elif kind == "message_stop":
            break
        else:
            assert kind in ("ping", "content_block_stop"), kind
    for block in message["content"]:
        if "json" in block:
            block["input"] = parsed(block.pop("json"))
    return message


def add_delta(block: dict[str, Any], delta: dict[str, Any]) -> None:
    kind = delta["type"]
    if kind == "text_delta":
        block["text"] += delta["text"]
    elif kind == "thinking_delta":
        block["thinking"] += delta["thinking"]
    elif kind == "input_json_delta":
        if delta["partial_json"]:
            block["json"] = block.get("json", "") + delta["partial_json"]
    elif kind == "signature_delta":
        block["signature"] = delta["signature"]
    elif kind == "compaction_delta":
        block["content"] = (block["content"] or "") + delta["content"]
    else:
        assert kind == "citations_delta", kind
        block["citations"] = (block.get("citations") or []) + [delta["citation"]]


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"INVALID_JSON": text}
