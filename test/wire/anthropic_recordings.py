"""Recorded requests to Anthropic put into OpenAI's words, and compared as what they mean."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from api_backends.messages import normalize_messages
from api_backends.protocols.anthropic_options import default_max_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api_backends.claude import Claude

CHOICES = {"auto": "auto", "any": "required", "none": "none"}
# Of a tool in OpenAI's shape, beside the function.
FUNCTION = ("name", "description", "strict")


LEFT_OUT = base64.b64encode(b"an attachment that was left out").decode()
STAND_INS = {
    "image/png": b"\x89PNG\r\n\x1a\n" + bytes(32),
    "image/jpeg": b"\xff\xd8\xff\xe0" + bytes(32),
    "application/pdf": b"%PDF-1.4" + bytes(32),
}


def mended(value: Any) -> Any:
    """The same request with attachments of the right kind in the place of those left out."""
    if isinstance(value, list):
        return [mended(item) for item in value]
    if isinstance(value, dict):
        if value.get("media_type") in STAND_INS and value.get("data") == LEFT_OUT:
            data = base64.b64encode(STAND_INS[value["media_type"]]).decode()
            return {**value, "data": data}
        return {key: mended(item) for key, item in value.items()}
    return value


def body_of(
    backend: Claude, messages: list[Any], model: str | None, options: dict[str, Any]
) -> dict[str, Any]:
    """The body that a chat call sends."""
    options = dict(options)
    stream = options.pop("stream", False)
    return backend.chat_body(normalize_messages(messages), model, options, stream=stream)


def as_openai(recorded: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """A recorded request in OpenAI's words; what those don't have stays as it is."""
    options = {
        name: value
        for name, value in recorded.items()
        if name not in ("messages", "model", "system")
    }
    if "stop_sequences" in options:
        options["stop"] = options.pop("stop_sequences")
    if options.get("stream") is False:
        del options["stream"]
    _tools(options)
    output = options.get("output_config") or {}
    if output.get("format", {}).get("type") == "json_schema":
        schema = {"name": "answer", "schema": output["format"]["schema"]}
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
        options["output_config"] = {k: v for k, v in output.items() if k != "format"} or None
    messages: list[Any] = []
    if recorded.get("system"):
        messages.append({"role": "system", "content": _content(recorded["system"])})
    for message in recorded["messages"]:
        messages += _told(message)
    return messages, options


def _tools(options: dict[str, Any]) -> None:
    tools = options.get("tools")
    if tools:
        options["tools"] = [
            {
                "type": "function",
                "function": {
                    **{k: tool[k] for k in FUNCTION if k in tool},
                    "parameters": tool["input_schema"],
                },
                **{k: v for k, v in tool.items() if k not in (*FUNCTION, "input_schema")},
            }
            if "type" not in tool and "input_schema" in tool
            else tool
            for tool in tools
        ]
    choice = options.get("tool_choice")
    if choice:
        if choice.get("disable_parallel_tool_use") is True and tools:
            options["parallel_tool_calls"] = False
        if choice["type"] == "tool":
            function = {"name": choice["name"]}
            options["tool_choice"] = {"type": "function", "function": function}
        else:
            options["tool_choice"] = CHOICES[choice["type"]]


def _told(message: Any) -> Iterator[Any]:
    if not isinstance(message, dict):  # recorded for its refusal
        yield message
        return
    content = message["content"]
    if isinstance(content, str) or message["role"] == "system":
        yield {"role": message["role"], "content": content}
        return
    if message["role"] == "assistant":
        known = [block for block in content if block["type"] in ("text", "tool_use")]
        calls = [block for block in known if block["type"] == "tool_use"]
        # Anthropic's own blocks have no words of OpenAI's, nor a text behind a call a place.
        if (
            known == content
            and known[len(known) - len(calls) :] == calls
            and all(block.keys() <= {"type", "id", "name", "input"} for block in calls)
        ):
            texts = known[: len(known) - len(calls)]
            told: dict[str, Any] = {"role": "assistant", "content": _content(texts) or None}
            if calls:
                told["tool_calls"] = [_call(block) for block in calls]
            yield told
            return
        yield {"role": "assistant", "content": content}
        return
    rest = []
    for block in content:
        if block["type"] == "tool_result" and block.keys() <= {
            "type", "tool_use_id", "content", "is_error",
        }:  # fmt: skip
            given = block.get("content", "")
            result = {"role": "tool", "tool_call_id": block["tool_use_id"], "content": given}
            if not isinstance(given, str):
                result["content"] = [_part(part) for part in given] or ""
            if "is_error" in block:
                result["is_error"] = block["is_error"]
            yield result
        else:
            rest.append(_part(block))
    if rest:
        yield {"role": "user", "content": rest}


def _call(block: dict[str, Any]) -> dict[str, Any]:
    function = {"name": block["name"], "arguments": json.dumps(block["input"])}
    return {"id": block["id"], "type": "function", "function": function}


def _content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [_part(block) for block in content]


def _part(block: dict[str, Any]) -> dict[str, Any]:
    source = block.get("source") or {}
    beside = {k: v for k, v in block.items() if k not in ("type", "source", "title")}
    if block["type"] == "image" and source["type"] != "file":
        return {"type": "image_url", "image_url": {"url": _url(source)}, **beside}
    if block["type"] == "document" and source["type"] in ("base64", "text", "url", "file"):
        file = {"file_id": source["file_id"]} if "file_id" in source else {}
        if not file:
            file["file_data"] = _url(source)
        if "title" in block:
            file["filename"] = block["title"]
        return {"type": "file", "file": file, **beside}
    return block


def _url(source: dict[str, Any]) -> str:
    if source["type"] == "url":
        return str(source["url"])
    data = source["data"]
    if source["type"] == "text":
        data = base64.b64encode(data.encode()).decode()
    return f"data:{source['media_type']};base64,{data}"


def comparable(body: dict[str, Any]) -> Any:
    """A request's meaning: defaults left out, texts as blocks, neighbours of one role joined."""
    body = json.loads(json.dumps(body))
    body.pop("anthropic_version", None)
    for name in ("stream", "tools"):
        if not body.get(name):
            body.pop(name, None)
    for name in [name for name, value in body.items() if value is None]:
        del body[name]
    if body.get("max_tokens") == default_max_tokens(body.get("model")):
        del body["max_tokens"]
    if "system" in body:
        body["system"] = _blocks(body["system"])
        if not body["system"]:
            del body["system"]
    turns: list[Any] = []
    for message in body["messages"]:
        blocks = _blocks(message["content"])
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": message["role"], "content": blocks})
    for turn in turns:  # results come first
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    body["messages"] = turns
    choice = body.get("tool_choice")
    if choice and choice.get("disable_parallel_tool_use") is False:
        del choice["disable_parallel_tool_use"]
    return body


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    found = []
    for given in content:
        if given["type"] == "text" and not given["text"]:
            continue
        block = {name: value for name, value in given.items() if value is not None}
        if block["type"] == "tool_result":
            block["content"] = _blocks(block.get("content", ""))
            block.setdefault("is_error", False)
        found.append(block)
    return found


class stand_in_connection:  # noqa: N801 - made like a function
    """What a ChatStream reads from: pieces of bytes, and then the end."""

    is_framed = True

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def pieces(self) -> Iterator[bytes]:
        return iter([piece for piece in self._pieces if piece])

    def close(self) -> None:
        pass

    def finish(self, pieces: Any) -> None:
        pass

    def abort(self) -> None:
        pass

    def drop(self) -> None:
        pass
