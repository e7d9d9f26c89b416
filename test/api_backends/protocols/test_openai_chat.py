from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_backends.errors import (
    ApiError,
    ContentFilterError,
    InvalidRequestError,
    InvalidResponseError,
    ServerError,
)
from api_backends.protocols.openai_chat import chat_body, finish_reason_of, read_chat
from api_backends.types import ChatCompletionResponse, ToolCall

HI = [{"role": "user", "content": "hi"}]
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "model": "m-1",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": [{"type": "text", "text": "so"}],
                "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
                "audio": {"id": "a", "transcript": "heard"},
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
        }
    ],
    "usage": {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
        "cost": 0.5,
    },
    "x_groq": {"usage": {"prompt_tokens": 1}},
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "x", "text", "thinking", "stop", "error", "data:,", "<html>"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "choices",
                    "delta",
                    "content",
                    "type",
                    "text",
                    "tool_calls",
                    "id",
                    "function",
                    "name",
                    "arguments",
                    "usage",
                    "index",
                    "code",
                    "detail",
                    "status",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(inner, (*path, key))
    return found


@st.composite
def spoilt(draw: st.DrawFn, body: Any) -> Any:
    """The body with something else in one or two of its places."""
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(places(body)))
        place = body
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = draw(json_values)
        if not places(body):
            break
    return body


def answer(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}


def test_body_is_messages_model_and_options_as_they_are() -> None:
    options = {"temperature": 0.5, "top_k": 4, "stop": None}
    body = chat_body(HI, "m", options)
    assert body == {"messages": HI, "model": "m", "temperature": 0.5, "top_k": 4, "stop": None}
    assert "model" not in chat_body(HI, None, {})


def test_a_stream_asks_for_usage_unless_told_otherwise() -> None:
    assert chat_body(HI, "m", {}, stream=True)["stream_options"] == {"include_usage": True}
    given = {"include_usage": False}
    assert chat_body(HI, "m", {"stream_options": given}, stream=True)["stream_options"] == given
    body = chat_body(HI, "m", {"stream_options": None}, stream=True)
    assert body["stream"] is True
    assert "stream_options" not in body


def test_the_opposite_of_what_was_called_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"stream_chat\(\) for an answer in pieces"):
        chat_body(HI, "m", {"stream": True})
    with pytest.raises(InvalidRequestError, match=r"call chat\(\)"):
        chat_body(HI, "m", {"stream": False}, stream=True)
    assert chat_body(HI, "m", {"stream": False})["stream"] is False


def test_a_full_answer() -> None:
    read = read_chat(ANSWER, backend="b")
    assert (read.id, read.model, read.content, read.role) == (
        "chatcmpl-1",
        "m-1",
        "so",
        "assistant",
    )
    assert (read.reasoning, read.finish_reason, read.backend) == ("hm", "tool_calls", "b")
    assert read.tool_calls == [ToolCall("c1", "f", "{}")]
    usage = read.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 7, 12)
    assert (usage.cached_tokens, usage.reasoning_tokens, usage.cost) == (3, 2, 0.5)
    assert read.raw is ANSWER


@pytest.mark.parametrize(
    ("message", "content", "reasoning"),
    [
        ({"content": None}, "", None),
        ({}, "", None),
        ({"content": "a", "reasoning": "r"}, "a", "r"),
        ({"content": "a", "reasoning": "", "reasoning_content": "r"}, "a", "r"),
        ({"content": "", "reasoning_details": [{"summary": "r"}, {"data": "…"}]}, "", "r"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}]}, "", "r"),
        ({"content": [{"type": "thinking", "thinking": "r"}, "a"]}, "a", "r"),
        ({"content": {"a": "é"}}, '{"a": "é"}', None),
        ({"content": None, "audio": {"transcript": "heard"}}, "heard", None),
    ],
)
def test_content_and_reasoning_in_their_many_forms(
    message: dict[str, Any], content: str, reasoning: str | None
) -> None:
    read = read_chat(answer({"role": "assistant", **message}))
    assert (read.content, read.reasoning) == (content, reasoning)


@pytest.mark.parametrize(
    ("arguments", "finish", "text"),
    [
        ('{"a": 1}', "tool_calls", '{"a": 1}'),
        ({"a": "é"}, "tool_calls", '{"a": "é"}'),
        ("", "tool_calls", "{}"),
        (None, "stop", "{}"),
        ("", "length", ""),  # cut before the arguments came: not a call without any
        ('{"a', "length", '{"a'),
        ("null", "tool_calls", "null"),
    ],
)
def test_arguments_are_json_text(arguments: Any, finish: str, text: str) -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    read = read_chat(answer({"content": None, "tool_calls": [call]}, finish))
    assert read.tool_calls == [ToolCall("c", "f", text)]


def test_other_calls() -> None:
    legacy = read_chat(answer({"function_call": {"name": "f", "arguments": "{}"}}, "function_call"))
    assert (legacy.tool_calls, legacy.finish_reason) == ([ToolCall("", "f", "{}")], "tool_calls")
    custom = {"id": 7, "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    assert read_chat(answer({"tool_calls": [custom]})).tool_calls == [
        ToolCall("7", "sql", "SELECT 1")
    ]
    empty = read_chat(answer({"content": "a", "function_call": {"name": "", "arguments": ""}}, ""))
    assert (empty.tool_calls, empty.finish_reason) == ([], "stop")


@pytest.mark.parametrize(
    ("stated", "has_calls", "reason"),
    [
        ("stop", False, "stop"),
        ("eos", False, "stop"),
        ("eos_token", False, "stop"),
        ("tool_call", False, "tool_calls"),
        ("function_call", True, "tool_calls"),
        ("stop", True, "tool_calls"),
        ("", True, "tool_calls"),
        (None, True, "tool_calls"),
        ("length", True, "length"),
        ("content_filter", True, "content_filter"),
        ("", False, "stop"),
        (None, False, None),
        ("insufficient_system_resource", False, "insufficient_system_resource"),
        (3, False, None),
    ],
)
def test_reasons_to_end(stated: Any, has_calls: bool, reason: str | None) -> None:
    assert finish_reason_of(stated, has_calls=has_calls) == reason


@pytest.mark.parametrize(
    ("usage", "cached", "reasoning"),
    [
        ({"prompt_cache_hit_tokens": 4}, 4, 0),
        ({"num_cached_tokens": 4}, 4, 0),
        ({"cache_read_input_tokens": 4, "reasoning_tokens": 2}, 4, 2),
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, 0, 0),
        ({"input_tokens_details": {"cached_tokens": 4}}, 4, 0),
    ],
)
def test_usage_spellings(usage: dict[str, Any], cached: int, reasoning: int) -> None:
    counts = {"prompt_tokens": 9, "completion_tokens": 3}
    read = read_chat(answer({"content": "a"}, usage={**counts, **usage})).usage
    assert (read.cached_tokens, read.reasoning_tokens, read.total_tokens) == (cached, reasoning, 12)


def test_usage_of_groq_and_none_at_all() -> None:
    groq = read_chat(answer({"content": "a"}, x_groq={"usage": {"prompt_tokens": 2}}))
    assert groq.usage.total_tokens == 2
    assert not read_chat(answer({"content": "a"})).usage


def test_the_first_choice_counts() -> None:
    two = answer({"content": "second"})
    two["choices"][0]["index"] = 1
    two["choices"].append({"index": 0, "message": {"content": "first"}, "finish_reason": "stop"})
    assert read_chat(two).content == "first"


def test_a_filtered_answer_without_a_message() -> None:
    read = read_chat({"choices": [{"index": 0, "finish_reason": "content_filter"}]})
    assert (read.content, read.finish_reason) == ("", "content_filter")


def test_success_that_reports_an_error() -> None:
    with pytest.raises(ServerError) as caught:
        read_chat({"error": {"code": 502, "message": "upstream is gone"}}, backend="b")
    assert caught.value.status_code == 502
    assert "upstream is gone" in str(caught.value)
    broken = answer({"content": "half"})
    broken["choices"][0]["error"] = {"code": 400, "message": "content policy violation"}
    with pytest.raises(ContentFilterError):
        read_chat(broken)
    assert read_chat({**answer({"content": "a"}), "error": None}).content == "a"


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "",
        "hello",
        "<html><body>hi</body></html>",
        {},
        7,
        True,
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"text": "a", "finish_reason": "stop"}]},
        answer(None, None),
        answer("text", None),
        {"object": "list", "data": []},
    ],
)
def test_what_is_no_chat_answer(raw: Any) -> None:
    with pytest.raises(InvalidResponseError, match="base URL"):
        read_chat(raw, backend="b")


@settings(max_examples=400, deadline=None)
@given(st.one_of(json_values, spoilt(ANSWER)))
def test_whatever_json_comes_it_is_an_answer_or_a_typed_error(raw: Any) -> None:
    before = copy.deepcopy(raw)
    try:
        read = read_chat(raw, backend="b")
    except ApiError:
        pass  # typed, which is all that is asked of it
    else:
        assert isinstance(read, ChatCompletionResponse)
        texts = [read.id, read.model, read.content, read.role]
        texts += [part for c in read.tool_calls for part in (c.id, c.name, c.arguments)]
        assert all(isinstance(text, str) for text in texts)
        assert all(isinstance(t, (str, type(None))) for t in (read.reasoning, read.refusal))
    assert raw == before


def test_an_answer_nested_beyond_reason() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = {"text": deep, "type": "thinking", "thinking": [deep]}
    for message in ({"content": deep}, {"tool_calls": [{"function": {"arguments": deep}}]}):
        with pytest.raises(InvalidResponseError, match="too deep"):
            read_chat(answer(message))
    assert read_chat(answer({"content": [deep]})).content == ""
