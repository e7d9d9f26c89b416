"""Answers of the Messages API that the recordings don't hold, and any JSON at all."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_backends.errors import (
    ApiError,
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    InvalidRequestError,
    InvalidResponseError,
    ModelNotFoundError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from api_backends.protocols.anthropic_answers import read_message
from api_backends.protocols.anthropic_batches import in_order, lines_of, results_of
from api_backends.protocols.anthropic_errors import error_from
from api_backends.protocols.anthropic_stream import MessageStreamReader
from api_backends.types import ChatCompletionResponse, StreamChunk

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Let me "},
        {"type": "text", "text": "look.", "citations": [{"cited_text": "x"}]},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "a"}},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Zürich"}},
        {"type": "tool_use", "id": "toolu_2", "name": "clock", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 60,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 2},
    },
}


def events_of(message: dict[str, Any], *, piece: int = 3) -> list[dict[str, Any]]:
    """The events that a message comes as, its texts in small pieces."""
    head = {**message, "content": [], "stop_reason": None}
    head["usage"] = {**message["usage"], "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": head},
        {"type": "ping"},
    ]
    for index, block in enumerate(message["content"]):
        events += _block_events(index, block, piece)
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    events.append({"type": "message_delta", "delta": delta, "usage": usage})
    events.append({"type": "message_stop"})
    return events


def _block_events(index: int, block: dict[str, Any], piece: int) -> list[dict[str, Any]]:
    empty, deltas = dict(block), []
    for field, kind in (("thinking", "thinking_delta"), ("text", "text_delta")):
        if field in block:
            empty[field] = ""
            deltas += [{"type": kind, field: part} for part in parts_of(block[field], piece)]
    for cited in empty.pop("citations", []):
        deltas.append({"type": "citations_delta", "citation": cited})
    if "signature" in block:
        empty["signature"] = ""
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    if block.get("input"):
        empty["input"] = {}
        written = json.dumps(block["input"])
        deltas += [
            {"type": "input_json_delta", "partial_json": part}
            for part in ("", *parts_of(written, piece))
        ]
    return [
        {"type": "content_block_start", "index": index, "content_block": empty},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def parts_of(text: str, size: int) -> list[str]:
    return [text[place : place + size] for place in range(0, len(text), size)]


def played(events: list[Any]) -> tuple[list[StreamChunk], ChatCompletionResponse]:
    reader = MessageStreamReader(backend="test")
    chunks = [chunk for chunk in map(reader.read, events) if chunk is not None]
    chunks.append(reader.end(False))
    return chunks, reader.response()


def test_a_whole_answer() -> None:
    answer = read_message(MESSAGE, backend="test")
    assert answer.content == "Let me look."
    assert answer.reasoning == "Hm."
    assert [(c.id, c.name, c.arguments) for c in answer.tool_calls] == [
        ("toolu_1", "weather", '{"city": "Zürich"}'),
        ("toolu_2", "clock", "{}"),
    ]
    assert answer.finish_reason == "tool_calls"
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (100, 7, 107)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (30, 2)
    assert answer.raw is MESSAGE


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_a_stream_gives_the_whole_answer(piece: int) -> None:
    chunks, answer = played(events_of(MESSAGE, piece=piece))
    assert answer.raw == MESSAGE
    whole = read_message(MESSAGE, backend="test")
    answer.tool_calls[0].arguments = json.dumps(
        answer.tool_calls[0].parsed_arguments(), ensure_ascii=False
    )
    whole.raw = answer.raw
    assert answer == whole
    assert chunks[0].role == "assistant"
    assert chunks[-1].done
    assert chunks[-1].usage.completion_tokens == 7


def test_blocks_that_come_interleaved() -> None:
    events = events_of(MESSAGE)
    starts = [e for e in events if e["type"] == "content_block_start"]
    deltas = [e for e in events if e["type"] == "content_block_delta"]
    by_block = {i: [e for e in deltas if e["index"] == i] for i in range(6)}
    mixed: list[dict[str, Any]] = []  # round about, each block's own in order
    while any(by_block.values()):
        mixed += [own.pop(0) for own in by_block.values() if own]
    stops = [e for e in events if e["type"] == "content_block_stop"]
    _, answer = played([events[0], *starts, *mixed, *stops, *events[-2:]])
    assert answer.raw["content"] == MESSAGE["content"]
    assert answer.tool_calls[0].parsed_arguments() == {"city": "Zürich"}


@pytest.mark.parametrize(
    ("stated", "common"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("compaction", "compaction"),
        (None, None),
    ],
)
def test_reasons(stated: str | None, common: str | None) -> None:
    assert read_message({**MESSAGE, "stop_reason": stated}).finish_reason == common


@pytest.mark.parametrize(
    ("details", "refusal"),
    [
        ({"type": "refusal", "category": "cyber", "explanation": "Not this."}, "Not this."),
        ({"type": "refusal", "category": "cyber", "explanation": None}, "cyber"),
        (None, None),
    ],
)
def test_a_refusal_says_why(details: Any, refusal: str | None) -> None:
    raw = {**MESSAGE, "content": [], "stop_reason": "refusal", "stop_details": details}
    answer = read_message(raw)
    assert (answer.finish_reason, answer.refusal, answer.content) == ("content_filter", refusal, "")
    events = events_of(raw)
    events[-2]["delta"]["stop_details"] = details
    assert played(events)[1].refusal == refusal


def test_a_call_that_was_cut() -> None:
    events = events_of({**MESSAGE, "stop_reason": "max_tokens"}, piece=4)
    last = max(
        i for i, e in enumerate(events) if e.get("delta", {}).get("type") == "input_json_delta"
    )
    _, answer = played(events[:last] + events[last + 1 :])
    assert answer.finish_reason == "length"
    with pytest.raises(InvalidResponseError, match="weather"):
        answer.tool_calls[0].parsed_arguments()
    assert answer.raw["content"][4]["input"] == {"INVALID_JSON": answer.tool_calls[0].arguments}


def test_an_error_in_mid_stream_is_raised() -> None:
    reader = MessageStreamReader(backend="test")
    for event in events_of(MESSAGE)[:8]:
        reader.read(event)
    with pytest.raises(OverloadedError, match="Overloaded"):
        reader.read(
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        )
    assert reader.response().reasoning == "Hm."
    assert reader.response().finish_reason is None


def test_what_is_not_known_is_passed_over() -> None:
    events = events_of(MESSAGE)
    events.insert(3, {"type": "new_event", "x": 1})
    events.insert(
        3, {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta", "x": 1}}
    )
    assert played(events)[1].raw == MESSAGE


@pytest.mark.parametrize(
    ("status", "kind", "said", "cls", "transient"),
    [
        (400, "invalid_request_error", "max_tokens: Field required", InvalidRequestError, False),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum",
         ContextLengthError, False),
        (400, "invalid_request_error", ("input length and `max_tokens` exceed context limit: 9 + 1 "
         "> 8, decrease input length or `max_tokens` and try again"), ContextLengthError, False),
        (400, "invalid_request_error", ("max_tokens: 99999 > 8192, which is the maximum allowed "
         "number of output tokens for claude-3-5-haiku"), InvalidRequestError, False),
        (400, "invalid_request_error", ("messages.0.content.1.image.source.base64: image exceeds "
         "5 MB maximum: 6291456 bytes > 5242880 bytes"), InvalidRequestError, False),
        (400, "invalid_request_error", "Output blocked by content filtering policy",
         ContentFilterError, False),
        (400, "invalid_request_error", ("Your credit balance is too low to access the Anthropic "
         "API. Please go to Plans & Billing to upgrade."), RateLimitError, False),
        (400, "invalid_request_error", ("You have reached your specified API usage limits. You "
         "will regain access on 2027-01-01 at 00:00 UTC."), RateLimitError, False),
        (401, "authentication_error", "invalid x-api-key", AuthenticationError, False),
        (402, "billing_error", "There is an issue with your billing", RateLimitError, False),
        (403, "permission_error", "Your key may not use this", PermissionDeniedError, False),
        (404, "not_found_error", "model: claude-9", ModelNotFoundError, False),
        (404, "not_found_error", "Not found", NotFoundError, False),
        (413, "request_too_large", "Request exceeds the maximum size", InvalidRequestError, False),
        (429, "rate_limit_error", ("This request would exceed your organization's rate limit of "
         "50,000 input tokens per minute"), RateLimitError, True),
        (500, "api_error", "Internal server error", ServerError, True),
        (504, "timeout_error", "Request timed out", ServerError, True),
        (529, "overloaded_error", "Overloaded", OverloadedError, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("in_stream", [False, True])
def test_errors(
    status: int, kind: str, said: str, cls: type[ApiError], transient: bool, in_stream: bool
) -> None:
    body = {"type": "error", "error": {"type": kind, "message": said}, "request_id": "req_1"}
    before = copy.deepcopy(body)
    error = error_from(200 if in_stream else status, {}, body, backend="claude", model="m")
    assert type(error) is cls
    assert error.is_transient is transient
    assert (error.status_code, error.error_type, error.request_id) == (status, kind, "req_1")
    assert said[:40] in str(error)
    assert error.body == before == body


def test_what_is_in_front_of_the_api() -> None:
    assert isinstance(error_from(502, {}, "<html>Bad gateway", backend="c"), ServerError)
    assert isinstance(error_from(403, {}, None, backend="c"), PermissionDeniedError)
    assert isinstance(error_from(429, {}, {"error": "slow down"}, backend="c"), RateLimitError)


def test_no_error_shows_a_key() -> None:
    key = "sk-ant-api03-abcdefghijklmnop"
    body = {"error": {"type": "invalid_request_error", "message": f"x-api-key: {key} is odd; "
                      "your credit balance is too low"}}  # fmt: skip
    for status in (400, 401, 404):
        error = error_from(status, {}, body, backend="claude")
        assert key not in str(error) + repr(error)


def test_results_of_a_batch() -> None:
    lines = [
        {"custom_id": "request-10", "result": {"type": "expired"}},
        {"custom_id": "request-2", "result": {"type": "succeeded", "message": MESSAGE}},
        {"custom_id": "request-1", "result": {"type": "errored", "error": {
            "type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}}},
        {"custom_id": "request-0", "result": {"type": "canceled"}},
    ]  # fmt: skip
    data = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n\n"
    results = results_of(lines_of(data), backend="claude")
    assert [r.custom_id for r in results] == [line["custom_id"] for line in lines]
    first, second, third, last = in_order(results, None)
    assert (first.error.error_type, last.error.error_type) == ("canceled", "expired")
    assert isinstance(second.error, OverloadedError)
    assert third.response.content == "Let me look."
    mixed = in_order(results, ["request-2", "request-10"])
    assert [r.custom_id for r in mixed[:2]] == ["request-2", "request-10"]


# -- any JSON at all ------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["type", "text", "message", "content", "id", "tool_use", "thinking", "error", "usage", "delta",
     "input", "index", "refusal", "text_delta", "input_json_delta", "message_delta", "ping",
     "content_block_start", "content_block_delta", "content_block_stop", "message_start",
     "message_stop", "stop_reason", "stop_details", "partial_json", "citations_delta", "citation",
     "content_block", "output_tokens", "input_tokens", "succeeded", "custom_id", "result",
     "signature_delta", "thinking_delta", "compaction_delta", "fallback", "to", "model"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | WORDS,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every place in a piece of JSON."""
    found = [path]
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        found += places(value[key], (*path, key))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def check_answer(answer: Any) -> None:
    """A right answer: every field of its declared kind, so that callers can rely on it."""
    assert isinstance(answer, ChatCompletionResponse)
    for text in (answer.id, answer.model, answer.content, answer.role):
        assert isinstance(text, str)
    assert answer.finish_reason is None or isinstance(answer.finish_reason, str)
    assert answer.reasoning is None or isinstance(answer.reasoning, str)
    assert answer.refusal is None or isinstance(answer.refusal, str)
    for count in (answer.usage.prompt_tokens, answer.usage.total_tokens):
        assert type(count) is int
        assert count >= 0
    for call in answer.tool_calls:
        assert isinstance(call.id + call.name + call.arguments, str)
    json.dumps(answer.to_dict())


@given(JSON, st.data())
@settings(max_examples=1500)
def test_any_answer_is_right_or_a_typed_error(noise: Any, data: st.DataObject) -> None:
    for raw in (noise, put(MESSAGE, data.draw(st.sampled_from(places(MESSAGE))), noise)):
        before = copy.deepcopy(raw)
        with suppress(ApiError):
            check_answer(read_message(raw, backend="fuzz"))
        assert raw == before


EVENTS = events_of(MESSAGE, piece=40)


@given(JSON, st.data())
@settings(max_examples=1500)
def test_any_stream_is_right_or_a_typed_error(noise: Any, data: st.DataObject) -> None:
    events = put(EVENTS, data.draw(st.sampled_from(places(EVENTS)[1:])), noise)
    order = data.draw(st.sampled_from(["kept", "mixed"]))
    if order == "mixed":
        events = data.draw(st.permutations(events))
    reader = MessageStreamReader(backend="fuzz")
    with suppress(ApiError):
        for event in events:
            chunk = reader.read(event)
            assert chunk is None or isinstance(chunk, StreamChunk)
        reader.end(False)
    check_answer(reader.response())


@given(st.integers(100, 599), JSON)
@settings(max_examples=800)
def test_any_error_body_is_an_error(status: int, body: Any) -> None:
    error = error_from(status, {}, body, backend="fuzz")
    assert isinstance(error, ApiError)
    assert str(error)
    with suppress(ApiError):
        results_of([body], backend="fuzz")
