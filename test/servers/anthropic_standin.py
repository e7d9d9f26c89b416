"""A stand-in for Anthropic's Messages API: a mock, but one that reads the request and checks it.

    python test/servers/anthropic_standin.py [--port P] [--key K] [--model NAME ...]

Serves /v1/messages (streamed or not), /v1/messages/count_tokens and /v1/models on 127.0.0.1.
Answers repeat the text of the last message; "call NAME {json}" calls a tool that was offered. A
body that is not of the API's shape gets the 400 that Anthropic would give; so does one whose turns
don't alternate as its tools demand. https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped,unused-ignore]

if __name__ == "__main__":  # run as a script: `servers` lies beside the folder of this file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from servers.standin_server import ServedStandIn, StandInServer, serve_by_hand

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = ("claude-sonnet-4-5",)
CALL = re.compile(r"call ([a-zA-Z0-9_-]+) (\{.*?\})\s*(?:$|\n|;)", re.DOTALL)
TEXT = {"type": "string", "minLength": 1}
KINDS = {  # type of a block: the fields that it must have
    "text": ("text",),
    "image": ("source",),
    "document": ("source",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "server_tool_use": ("id", "name", "input"),
}
BLOCK = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": TEXT,
        "text": TEXT,
        "tool_use_id": {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"},
        "id": {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"},
        "is_error": {"type": "boolean"},
    },
    "allOf": [
        {"if": {"properties": {"type": {"const": kind}}}, "then": {"required": ["type", *fields]}}
        for kind, fields in KINDS.items()
    ],
}
CONTENT = {"anyOf": [TEXT, {"type": "array", "minItems": 1, "items": BLOCK}]}
TOOL = {
    "type": "object",
    "required": ["name"],
    "anyOf": [{"required": ["input_schema"]}, {"required": ["type"]}],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,128}$"},
        "input_schema": {"type": "object", "required": ["type"]},
    },
}
KNOWN = {
    "model": TEXT,
    "max_tokens": {"type": "integer", "minimum": 0},
    "messages": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["role", "content"],
            "additionalProperties": False,
            "properties": {"role": {"enum": ["user", "assistant", "system"]}, "content": CONTENT},
        },
    },
    "system": CONTENT,
    "stream": {"type": "boolean"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 1},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "top_k": {"type": "integer", "minimum": 0},
    "stop_sequences": {"type": "array", "items": TEXT},
    "tools": {"type": "array", "items": TOOL},
    "tool_choice": {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": ["auto", "any", "tool", "none"]}},
    },
    "thinking": {"type": "object", "required": ["type"]},
    "output_config": {"type": "object"},
    "metadata": {"type": "object"},
    "service_tier": {"enum": ["auto", "standard_only"]},
    "cache_control": {"type": "object"},
    "container": {"type": "string"},
    "mcp_servers": {"type": "array"},
    "context_management": {"type": "object"},
}
NEEDED = {"messages": ["model", "messages", "max_tokens"], "count_tokens": ["model", "messages"]}
VALIDATORS = {
    route: jsonschema.Draft202012Validator(
        {"type": "object", "required": needed, "additionalProperties": False, "properties": KNOWN}
    )
    for route, needed in NEEDED.items()
}


class RefusedError(Exception):
    """A request that is not accepted: status, type and message of the error."""


def checked(route: str, request: Any, models: tuple[str, ...]) -> dict[str, Any]:
    """Return a request that is as it should be.

    Raises:
        RefusedError: It is not.
    """
    problem = next(iter(sorted(VALIDATORS[route].iter_errors(request), key=str)), None)
    if problem is not None:
        where = problem.json_path.removeprefix("$.").removeprefix("$") or "body"
        raise RefusedError(400, "invalid_request_error", f"{where}: {problem.message[:200]}")
    if request["model"] not in models:
        raise RefusedError(404, "not_found_error", f"model: {request['model']}")
    wanted: list[str] = []
    for place, message in enumerate(request["messages"]):
        blocks = blocks_of(message["content"])
        results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        if sorted(results) != sorted(wanted) or [b["type"] for b in blocks[: len(results)]] != [
            "tool_result"
        ] * len(results):
            said = "tool_use ids and the tool_result blocks right after them differ"
            raise RefusedError(400, "invalid_request_error", f"messages.{place}: {said}")
        wanted = [b["id"] for b in blocks if b["type"] == "tool_use"]
    return dict(request)


def blocks_of(content: Any) -> list[dict[str, Any]]:
    """Return content as blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def text_of(content: Any) -> str:
    """Return the text of content; other blocks are named."""
    said = []
    for block in blocks_of(content):
        inner = text_of(block["content"]) if block.get("content") else ""
        said.append(block.get("text") or inner or f"[{block['type']}]")
    return " ".join(said)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the message that answers a request: the text of its last turn, or a call."""
    text = text_of(request["messages"][-1]["content"])
    offered = [tool["name"] for tool in request.get("tools") or []]
    if (request.get("tool_choice") or {}).get("type") == "none":
        offered = []
    calls = [(name, given) for name, given in CALL.findall(text) if name in offered]
    words = re.findall(r"\S+\s*", text)
    content: list[dict[str, Any]] = [
        {"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": json.loads(given)}
        for n, (name, given) in enumerate(calls)
    ]
    reason = "tool_use"
    if not calls:
        reason = "end_turn" if len(words) <= request["max_tokens"] else "max_tokens"
        content = [{"type": "text", "text": "".join(words[: request["max_tokens"]])}]
    return {
        "id": "msg_standin",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": tokens(request),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": min(len(words), request["max_tokens"]) or 1,
        },
    }


def tokens(request: dict[str, Any]) -> int:
    """Return how many words the messages have."""
    said = [text_of(message["content"]) for message in request["messages"]]
    return sum(len(text.split()) for text in said)


def events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events that a message comes as."""
    usage = {**whole["usage"], "output_tokens": 1}
    head = {**whole, "content": [], "stop_reason": None, "usage": usage}
    yield {"type": "message_start", "message": head}
    yield {"type": "ping"}
    for index, block in enumerate(whole["content"]):
        if block["type"] == "text":
            empty: dict[str, Any] = {"type": "text", "text": ""}
            parts = re.findall(r"\S+\s*", block["text"])
            deltas = [{"type": "text_delta", "text": part} for part in parts]
        else:
            empty, text = {**block, "input": {}}, json.dumps(block["input"])
            pieces = ("", text[: len(text) // 2], text[len(text) // 2 :])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": whole["usage"]}
    yield {"type": "message_stop"}


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 30
    server: StandInServer

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: tests read what the server recorded."""

    def do_GET(self) -> None:
        """Answer a GET request."""
        self._respond(b"")

    def do_POST(self) -> None:
        """Answer a POST request."""
        self._respond(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _respond(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.record(self.command, self.path, dict(self.headers), body)
        try:
            self._route(body, headers)
        except RefusedError as refused:
            status, kind, said = refused.args
            self._send(status, {"type": "error", "error": {"type": kind, "message": said}})

    def _route(self, body: bytes, headers: dict[str, str]) -> None:
        given = headers.get("x-api-key", "")
        if self.server.key is not None and given != self.server.key:
            # Echoed on purpose: clients must keep keys out of their messages even then.
            raise RefusedError(401, "authentication_error", f"invalid x-api-key {given}")
        if "anthropic-version" not in headers:
            raise RefusedError(
                400, "invalid_request_error", "anthropic-version: header is required"
            )
        path = self.path.split("?", 1)[0]
        if (self.command, path) == ("GET", "/v1/models"):
            rows = [{"type": "model", "id": name} for name in self.server.models]
            self._send(200, {"data": rows, "has_more": False})
            return
        route = path.removeprefix("/v1/messages/").removeprefix("/v1/")
        if self.command != "POST" or route not in NEEDED:
            raise RefusedError(404, "not_found_error", f"Not found: {self.command} {path}")
        try:
            request = checked(route, json.loads(body), self.server.models)
        except ValueError as error:
            said = f"the body is not JSON: {error}"
            raise RefusedError(400, "invalid_request_error", said) from error
        if route == "count_tokens":
            self._send(200, {"input_tokens": tokens(request)})
        elif request.get("stream"):
            self._stream(events(answer(request)))
        else:
            self._send(200, answer(request))

    def _send(self, status: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self._head(status, "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _stream(self, made: Iterator[dict[str, Any]]) -> None:
        self._head(200, "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in made:
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _head(self, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("request-id", f"req_{self.server.served}")


class StandIn(ServedStandIn):
    """The stand-in in this process; see `ServedStandIn`."""

    handler = _Handler
    own_models = MODELS


def main() -> int:
    """Serve until interrupted."""
    return serve_by_hand(StandIn, __doc__)


if __name__ == "__main__":
    sys.exit(main())
