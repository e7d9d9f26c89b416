"""The Responses API's translations: messages and options to a body, an answer to a result.

Pure functions of plain data. https://platform.openai.com/docs/api-reference/responses. What is
spelled as for chat completions is translated; what is spelled as this API has it is sent as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ApiError, InvalidRequestError, InvalidResponseError
from ..options import check_options
from ..types import ChatCompletionResponse, ToolCall
from .openai_chat import arguments_text, call_id, read_usage
from .openai_errors import error_from, error_in

__all__ = ["read_response", "reported_error", "responses_body"]

_ENDINGS = {"max_output_tokens": "length", "max_tokens": "length"}
# Options of chat completions that have another name here, or a place inside another.
_RENAMED = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}


def responses_body(
    asked: Any, model: str | None, options: Mapping[str, Any], *, stream: bool = False
) -> dict[str, Any]:
    """Return the JSON body of a request.

    Args:
        asked: A text; messages as for `chat` (tool calls and results among them become items);
            items as this API has them; answers of earlier turns; or None, where a prompt template
            or a conversation says it all.
        model: Model to ask for.
        options: Options of this API, or of chat completions.
        stream: Whether the answer is to come in pieces.

    Raises:
        InvalidRequestError: The input is none, or an option is of the wrong kind.
    """
    body: dict[str, Any] = {}
    if asked is not None:
        body["input"] = _input(asked)
    if model:
        body["model"] = model
    wrong = "stream" in options and bool(options["stream"]) is not stream
    if wrong:
        raise InvalidRequestError(
            f"stream={options['stream']!r}: leave it out; respond() gives the whole answer, "
            "stream_respond() its pieces"
        )
    chat_spelled = {k: v for k, v in options.items() if k not in ("tools", "tool_choice", "text")}
    check_options(chat_spelled)
    for name, value in options.items():
        _put(body, name, value)
    if stream:
        body["stream"] = True
    return body


def _put(body: dict[str, Any], name: str, value: Any) -> None:
    if name == "tools" and isinstance(value, (list, tuple)):
        body["tools"] = [_flat(tool) for tool in value]
    elif name == "tool_choice" and isinstance(value, dict):
        body["tool_choice"] = _flat(value)
    elif name == "response_format" and value is not None:
        body["text"] = {**(body.get("text") or {}), "format": _format(value)}
    elif name == "text" and isinstance(value, dict):
        body["text"] = {**(body.get("text") or {}), **value}
    elif name == "reasoning_effort" and value is not None:
        body["reasoning"] = {**(body.get("reasoning") or {}), "effort": value}
    elif name == "reasoning" and isinstance(value, dict):
        body["reasoning"] = {**(body.get("reasoning") or {}), **value}
    else:
        body[_RENAMED.get(name, name)] = value


def _flat(tool: Any) -> Any:
    """Return a tool (or the choice of one) with what chat completions has under `function`."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if isinstance(function, Mapping) and "name" not in tool:
        return {"type": "function", **function}
    return tool


def _format(value: Any) -> Any:
    schema = value.get("json_schema") if isinstance(value, Mapping) else None
    if isinstance(schema, Mapping):
        return {"type": "json_schema", **schema}
    return value


# -- input ----------------------------------------------------------------------------------------


def _input(asked: Any) -> Any:
    if isinstance(asked, str):
        if not asked.strip():
            raise InvalidRequestError("input: an empty text; say something")
        return asked
    if isinstance(asked, (ChatCompletionResponse, Mapping)):
        asked = [asked]
    if not isinstance(asked, Sequence) or isinstance(asked, (bytes, bytearray)):
        raise InvalidRequestError(
            f"input: {type(asked).__name__} given; it is a text or a list of messages and items"
        )
    items: list[Any] = []
    for place, item in enumerate(asked):
        if isinstance(item, ChatCompletionResponse):
            items += _items_of_answer(item)
        elif isinstance(item, Mapping):
            items += _items_of(item, f"input[{place}]")
        else:
            raise InvalidRequestError(
                f"input[{place}]: {type(item).__name__} given; an entry is a dictionary"
            )
    return items


def _items_of_answer(answer: ChatCompletionResponse) -> list[Any]:
    """Return what an answer adds to the conversation: its own items, reasoning included."""
    output = answer.raw.get("output") if isinstance(answer.raw, dict) else None
    if isinstance(output, list):
        return list(output)
    calls = [_call_item(c.id, c.name, c.arguments) for c in answer.tool_calls]
    said = [{"role": "assistant", "content": answer.content}] if answer.content else []
    return [*said, *calls]


def _items_of(item: Mapping[str, Any], where: str) -> list[Any]:
    """Return a message as items; what is an item already stays as it is."""
    role, kind = item.get("role"), item.get("type")
    if kind not in (None, "message"):
        return [item]
    if not isinstance(role, str):
        raise InvalidRequestError(
            f"{where}: neither a role nor the type of an item; give one of them"
        )
    if role == "tool" and "tool_call_id" in item:
        output = item.get("content")
        content = output if isinstance(output, str) else _parts(output, "user")
        answered = item["tool_call_id"]
        return [{"type": "function_call_output", "call_id": answered, "output": content}]
    calls = item.get("tool_calls")
    if not calls:
        content = item.get("content")
        parts = _parts(content, role) if isinstance(content, (list, tuple)) else content
        return [item if parts is content else {**item, "content": parts}]
    items: list[Any] = []
    if item.get("content"):
        items.append({"role": role, "content": _parts(item["content"], role)})
    for call in calls:
        if isinstance(call, ToolCall):
            items.append(_call_item(call.id, call.name, call.arguments))
        else:
            function = call.get("function") or {}
            items.append(
                _call_item(call.get("id"), function.get("name"), function.get("arguments"))
            )
    return items


def _call_item(identity: Any, name: Any, arguments: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "call_id": identity,
        "name": name,
        "arguments": arguments_text(arguments),
    }


def _parts(content: Any, role: str) -> Any:
    """Return parts in this API's spelling; the same object where they are so already."""
    if not isinstance(content, (list, tuple)):
        return content
    parts = [_part(part, role) for part in content]
    same = all(new is old for new, old in zip(parts, content, strict=True))
    return content if same else parts


def _part(part: Any, role: str) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        spelled = "output_text" if role == "assistant" else "input_text"
        return {"type": spelled, "text": part.get("text")}
    if kind == "image_url":
        image = part.get("image_url")
        if isinstance(image, Mapping):
            detail = {"detail": image["detail"]} if "detail" in image else {}
            return {"type": "input_image", "image_url": image.get("url"), **detail}
        return {"type": "input_image", "image_url": image}
    if kind == "file" and isinstance(part.get("file"), Mapping):
        return {"type": "input_file", **part["file"]}
    return part


# -- answers --------------------------------------------------------------------------------------


def read_response(raw: Any, *, backend: str = "") -> ChatCompletionResponse:
    """Return the result that an answer stands for.

    Raises:
        ApiError: The answer reports an error, or says that it failed.
        InvalidResponseError: It is not an answer of this API.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("output"), list):
        error = reported_error(raw, backend) or error_in(raw, backend=backend)
        if error is not None:
            raise error
        # An answer that is still being made may have no output at all, but not another kind.
        if not isinstance(raw, dict) or raw.get("object") != "response" or raw.get("output"):
            raise InvalidResponseError(
                f"{backend or 'the server'} sent no answer of the Responses API; check that the "
                "base URL is that of an API that has it",
                backend=backend or None,
                body=raw,
            )
    if raw.get("status") == "failed" or (raw.get("error") and not raw.get("output")):
        error = reported_error(raw, backend)
        if error is not None:
            raise error
    text, thoughts, refusals, calls = _said(raw.get("output") or [])
    return ChatCompletionResponse(
        _text(raw.get("id")),
        _text(raw.get("model")),
        text,
        "assistant",
        calls,
        _finish(raw, has_calls=bool(calls)),
        read_usage(raw),
        thoughts or None,
        refusals or None,
        raw,
        backend,
    )


def reported_error(raw: Any, backend: str) -> ApiError | None:
    """Return the error that an answer that failed (or an event) reports; None if it has none.

    A failure within a 200 has a code in words only; the words decide the class.
    """
    error = raw.get("error") if isinstance(raw, dict) else None
    if not error:
        if not isinstance(raw, dict) or raw.get("status") != "failed":
            return None
        error = {"message": "the answer failed, and the server does not say why"}
    if isinstance(error, dict) and not error.get("type") and error.get("code"):
        error = {**error, "type": error["code"]}
    return error_from(200, {}, {"error": error}, backend=backend)


def _said(output: Sequence[Any]) -> tuple[str, str, str, list[ToolCall]]:
    """Return text, reasoning, refusal and the calls of the caller's tools."""
    text: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    calls: list[ToolCall] = []
    for item in output:
        if not isinstance(item, dict):
            continue
        kind = item.get("type")
        if kind == "message":
            for part in _list(item.get("content")):
                if isinstance(part.get("text"), str):
                    text.append(part["text"])
                if isinstance(part.get("refusal"), str):
                    refusals.append(part["refusal"])
        elif kind == "reasoning":
            thoughts += [
                part["text"]
                for part in (*_list(item.get("summary")), *_list(item.get("content")))
                if isinstance(part.get("text"), str)
            ]
        elif kind == "function_call":
            arguments = arguments_text(item.get("arguments")) or "{}"
            calls.append(ToolCall(_identity(item), _text(item.get("name")), arguments))
        elif kind == "custom_tool_call":
            given = arguments_text(item.get("input"))
            calls.append(ToolCall(_identity(item), _text(item.get("name")), given))
    return "".join(text), "".join(thoughts), "".join(refusals), calls


def _identity(item: Mapping[str, Any]) -> str:
    return call_id(item.get("call_id")) or call_id(item.get("id"))


def _finish(raw: Mapping[str, Any], *, has_calls: bool) -> str | None:
    status = raw.get("status")
    if status in ("queued", "in_progress"):
        return None
    if status == "incomplete":
        details = raw.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return _ENDINGS.get(reason, reason) if isinstance(reason, str) else "incomplete"
    if status in (None, "", "completed", "complete"):
        return "tool_calls" if has_calls else "stop"
    return status if isinstance(status, str) else None


def _list(value: Any) -> list[dict[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
