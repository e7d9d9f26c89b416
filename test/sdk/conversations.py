"""Forty conversations, each with every option it needs: what both sides are asked to send."""

from __future__ import annotations

import base64
from typing import Any

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()
WAV = base64.b64encode(b"RIFF\x24\x00\x00\x00WAVEfmt ").decode()
SOUND = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}
PDF = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.4 hello").decode()

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather at a place",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
            "required": ["city"],
        },
    },
}
STRICT = {
    "type": "function",
    "function": {
        "name": "add",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "person",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
            "additionalProperties": False,
        },
    },
}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def image(url: str, **detail: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def call(identity: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def called(*calls: dict[str, Any], content: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(identity: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content}


HELLO = [user("Hello!")]
PARIS = call("call_1", "get_weather", '{"city":"Paris"}')
ROME = call("call_2", "get_weather", '{"city":"Rome","unit":"c"}')
SYSTEM = {"role": "system", "content": "You are terse."}
DEVELOPER = {"role": "developer", "content": "Answer in French."}
SAID = {"role": "assistant", "content": "Hi, how can I help?"}

# Every one is understood by both providers; (messages, options).
COMMON: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    (HELLO, {}),
    ([SYSTEM, *HELLO], {}),
    ([SYSTEM, *HELLO, SAID, user("Who are you?")], {}),
    ([user("Grüße, 世界 🌍 \u2028 \x7f")], {}),
    ([user("")], {}),
    ([user([text("one"), text("two")])], {}),
    (HELLO, {"temperature": 0.0}),
    (HELLO, {"temperature": 1.25, "top_p": 0.5}),
    (HELLO, {"max_tokens": 5}),
    (HELLO, {"max_completion_tokens": 64}),
    (HELLO, {"stop": "END"}),
    (HELLO, {"stop": ["a", "b"]}),
    (HELLO, {"seed": 7}),
    (HELLO, {"user": "somebody"}),
    (HELLO, {"frequency_penalty": 0.5, "presence_penalty": -0.5}),
    (HELLO, {"response_format": {"type": "json_object"}}),
    (HELLO, {"response_format": SCHEMA}),
    (HELLO, {"reasoning_effort": "low"}),
    ([user([text("What is it?"), image("https://example.com/a.png")])], {}),
    ([user([image(PNG, detail="low"), text("and this?")])], {}),
    (HELLO, {"tools": [WEATHER]}),
    (HELLO, {"tools": [WEATHER, STRICT], "tool_choice": "auto"}),
    (HELLO, {"tools": [WEATHER], "tool_choice": "required"}),
    (HELLO, {"tools": [WEATHER], "tool_choice": "none"}),
    (
        HELLO,
        {
            "tools": [WEATHER],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        },
    ),
    (HELLO, {"tools": [WEATHER], "parallel_tool_calls": False}),
    ([*HELLO, called(PARIS), result("call_1", "sunny")], {"tools": [WEATHER]}),
    ([*HELLO, called(PARIS, content="Let me see."), result("call_1", "{}")], {"tools": [WEATHER]}),
    (
        [*HELLO, called(PARIS, ROME), result("call_1", "sunny"), result("call_2", "rain")],
        {"tools": [WEATHER]},
    ),
    (
        [*HELLO, called(PARIS, ROME), result("call_2", "rain"), result("call_1", "sunny")],
        {"tools": [WEATHER], "parallel_tool_calls": True},
    ),
    (
        [
            *HELLO,
            called(PARIS),
            result("call_1", "sunny"),
            {"role": "assistant", "content": "Sunny."},
            user("And Rome?"),
            called(ROME),
            result("call_2", "rain"),
        ],
        {"tools": [WEATHER]},
    ),
    ([*HELLO, SAID, user([text("look"), image(PNG)]), SAID, user("go on")], {"max_tokens": 9}),
    (HELLO, {"service_tier": "auto"}),
    (HELLO, {"stream": True}),
    (HELLO, {"stream": True, "tools": [WEATHER], "temperature": 0.1}),
]

OPENAI = [
    *COMMON,
    ([SYSTEM, *HELLO], {"stream": True, "stream_options": {"include_usage": True}}),
    ([DEVELOPER, *HELLO], {"logprobs": True, "top_logprobs": 3, "n": 2}),
    (
        [user([text("listen"), SOUND])],
        {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    ),
    (
        [user([{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}, text("sum up")])],
        {"store": False, "metadata": {"a": "b"}},
    ),
    ([*HELLO, {"role": "assistant", "content": None, "refusal": "No."}, user("why?")],
     {"logit_bias": {"50256": -100}, "prediction": {"type": "content", "content": "x"}}),
]  # fmt: skip

GROQ = [
    *COMMON,
    ([SYSTEM, *HELLO], {"stream": True, "reasoning_format": "parsed"}),
    (HELLO, {"reasoning_format": "parsed"}),
    (HELLO, {"reasoning_format": "hidden", "reasoning_effort": "default"}),
    (HELLO, {"include_reasoning": False}),
    (HELLO, {"service_tier": "flex", "compound_custom": {"tools": {"enabled_tools": []}}}),
]

RESPONSES: list[tuple[Any, dict[str, Any]]] = [
    ("Hello!", {}),
    ("Hello!", {"instructions": "Be terse.", "max_output_tokens": 64}),
    ("And then?", {"previous_response_id": "resp_1"}),
    ([{"role": "user", "content": [{"type": "input_text", "text": "a"}]}], {"store": False}),
    ("x", {"reasoning": {"effort": "low", "summary": "auto"}}),
    ("x", {"tools": [{"type": "web_search_preview"}], "include": ["reasoning.encrypted_content"]}),
    (
        [
            {"role": "user", "content": "add"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"},
            {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "3"},
        ],
        {"tools": [{"type": "function", "name": "add", "parameters": {}, "strict": True}]},
    ),
    ("x", {"text": {"format": {"type": "json_object"}}, "temperature": 0.2}),
    ("x", {"stream": True}),
    ("x", {"background": True, "metadata": {"k": "v"}}),
]
