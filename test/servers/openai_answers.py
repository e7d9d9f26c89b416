"""What the OpenAI-compatible stand-in answers: always derived from the request, never fixed.

It repeats the text of the last message. Pure functions of the request's JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL = re.compile(r"call ([a-zA-Z0-9_-]+) (\{.*?\})\s*(?:$|\n|;)", re.DOTALL)
TOKEN = re.compile(r"\s*\S+|\s+$")

Json = dict[str, Any]


class RefusedError(Exception):
    """A request that the stand-in does not accept: status and body of the answer."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.body = {
            "error": {"message": message, "type": kind, "param": param, "code": code or None}
        }


def text_of(message: Json) -> str:
    """Return the text of a message; other parts are named with their size."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(map(_part, content))


def _part(part: Json) -> str:
    kind = part["type"]
    if kind in ("text", "refusal"):
        return str(part[kind])
    if kind == "image_url":
        url = part["image_url"]["url"]
        if not url.startswith("data:"):
            return f"[image at {url}]"
        data = _decoded(url.split(",", 1)[1], "image_url")
        return f"[image of {len(data)} bytes]"
    if kind == "input_audio":
        return f"[audio of {len(_decoded(part['input_audio']['data'], 'input_audio'))} bytes]"
    return f"[file {part['file'].get('filename') or part['file'].get('file_id')}]"


def _decoded(data: str, where: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise RefusedError(400, f"{where} is not valid base64", param="messages") from error


def tokens(text: str) -> list[str]:
    """Return the words of a text, each with the white space before it: this stand-in's tokens."""
    return TOKEN.findall(text)


def _instance(schema: Json, text: str) -> Any:
    """Return a small value that fits a JSON schema, with `text` wherever a free string goes."""
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return _instance(schema[union][0], text)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        properties = schema.get("properties", {})
        names = schema.get("required", list(properties))
        return {name: _instance(properties.get(name, {}), text) for name in names}
    if kind == "array":
        return [_instance(schema.get("items", {}), text)] * max(1, schema.get("minItems", 1))
    plain = {"string": text, "integer": len(text), "number": len(text) / 2, "boolean": True}
    return plain.get(kind)


def _tool_calls(request: Json, text: str) -> list[Json]:
    names = [tool["function"]["name"] for tool in request.get("tools") or []]
    choice = request.get("tool_choice", "auto")
    if not names or choice == "none":
        return []
    wanted = [(name, given) for name, given in CALL.findall(text) if name in names]
    if isinstance(choice, dict):
        chosen = choice["function"]["name"]
        if chosen not in names:
            raise RefusedError(
                400, f"tool_choice names {chosen!r}, not a tool", param="tool_choice"
            )
        wanted = [w for w in wanted if w[0] == chosen] or [(chosen, "{}")]
    elif choice == "required" and not wanted:
        wanted = [(names[0], "{}")]
    if request.get("parallel_tool_calls") is False:
        wanted = wanted[:1]
    return [
        {
            "id": f"call_{_hash(text, i)}",
            "type": "function",
            "function": {"name": n, "arguments": a},
        }
        for i, (n, a) in enumerate(wanted)
    ]


def _hash(*values: Any) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:24]


def _check_tool_turns(messages: list[Json]) -> None:
    """Every tool result answers a call of the turn before it, and every call has its result."""
    open_calls: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise RefusedError(
                    400, f"no tool call has the id {message['tool_call_id']!r}", param="messages"
                )
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            raise RefusedError(
                400, f"tool calls without a result: {sorted(open_calls)}", param="messages"
            )
        open_calls = {call["id"] for call in message.get("tool_calls") or []}


def _choice(request: Json, index: int) -> Json:
    """Return one choice of a chat completion."""
    text = text_of(request["messages"][-1])
    calls = _tool_calls(request, text) if request["messages"][-1]["role"] == "user" else []
    if calls:
        message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": calls}
        return {"index": index, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    wanted = request.get("response_format") or {"type": "text"}
    if wanted["type"] == "json_object":
        text = json.dumps({"echo": text}, ensure_ascii=False)
    elif wanted["type"] == "json_schema":
        schema = wanted["json_schema"].get("schema", {})
        text = json.dumps(_instance(schema, text), ensure_ascii=False)
    stops = request.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop, 1)[0]
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    pieces, reason = tokens(text), "stop"
    if limit and len(pieces) > limit:
        pieces, reason = pieces[:limit], "length"
    message = {"role": "assistant", "content": "".join(pieces), "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": reason}


def chat(request: Json) -> Json:
    """Return the chat completion that answers a (valid) request.

    Raises:
        RefusedError: The conversation makes no sense, or asks for what the stand-in can't do.
    """
    for option in ("logprobs", "audio"):
        if request.get(option):
            raise RefusedError(400, f"{option} is not supported by this stand-in", param=option)
    _check_tool_turns(request["messages"])
    choices = [_choice(request, i) for i in range(request.get("n") or 1)]
    read = sum(len(tokens(text_of(m))) for m in request["messages"])
    written = sum(len(_written(choice["message"])) for choice in choices)
    return {
        "id": f"chatcmpl-{_hash(request)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request["model"],
        "choices": choices,
        "usage": {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "system_fingerprint": None,
    }


def _written(message: Json) -> list[str]:
    calls = [call["function"]["arguments"] for call in message.get("tool_calls") or []]
    return [piece for text in [message["content"] or "", *calls] for piece in tokens(text)]


def chunks(request: Json, whole: Json) -> Iterator[Json]:
    """Yield the chunks that stream the completion `whole`, token by token."""
    include_usage = bool((request.get("stream_options") or {}).get("include_usage"))
    head = {
        "id": whole["id"],
        "object": "chat.completion.chunk",
        "created": whole["created"],
        "model": whole["model"],
        "system_fingerprint": None,
    }

    def chunk(index: int, delta: Json, reason: str | None = None) -> Json:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice], **({"usage": None} if include_usage else {})}

    for choice in whole["choices"]:
        index, message = choice["index"], choice["message"]
        calls = message.get("tool_calls") or []
        yield chunk(index, {"role": "assistant", "content": None if calls else "", "refusal": None})
        for token in tokens(message["content"] or ""):
            yield chunk(index, {"content": token})
        for position, call in enumerate(calls):
            opening = {**call, "function": {**call["function"], "arguments": ""}}
            yield chunk(index, {"tool_calls": [{"index": position, **opening}]})
            text = call["function"]["arguments"]
            for start in range(0, len(text), 5):
                piece = {"arguments": text[start : start + 5]}
                yield chunk(index, {"tool_calls": [{"index": position, "function": piece}]})
        yield chunk(index, {}, choice["finish_reason"])
    if include_usage:
        yield {**head, "choices": [], "usage": whole["usage"]}


def embedding(value: str | list[int], dimensions: int) -> list[float]:
    """Return a unit vector that depends on nothing but the input: words hashed into places."""
    words = tokens(value) if isinstance(value, str) else value
    vector = [0.0] * dimensions
    for word in words:
        key = word.strip().lower() if isinstance(word, str) else str(word)
        digest = hashlib.sha256(key.encode()).digest()
        for i in range(0, 16, 4):
            place = int.from_bytes(digest[i : i + 3], "big") % dimensions
            vector[place] += 1.0 if digest[i + 3] & 1 else -1.0
    norm = sum(v * v for v in vector) ** 0.5
    # A text of words that cancel out still has a direction.
    return [v / norm for v in vector] if norm else [1.0, *vector[1:]]


def embeddings(request: Json) -> Json:
    """Return the answer to a (valid) embeddings request."""
    given = request["input"]
    inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    dimensions = request.get("dimensions") or 64
    data = []
    for index, value in enumerate(inputs):
        vector: Any = embedding(value, dimensions)
        if request.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    read = sum(len(tokens(v)) if isinstance(v, str) else len(v) for v in inputs)
    usage = {"prompt_tokens": read, "total_tokens": read}
    return {"object": "list", "data": data, "model": request["model"], "usage": usage}
