"""Forty conversations, each in OpenAI's words for `chat()` and in Anthropic's for its own SDK."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(32)).decode()
PDF = base64.b64encode(b"%PDF-1.7\n" + bytes(32)).decode()
NOTES = base64.b64encode("Käse und Brot".encode()).decode()
MODEL = "claude-sonnet-4-5"
LIMIT = 16384  # what is sent where a call gives no max_tokens
CACHED = {"type": "ephemeral"}


class Conversation(NamedTuple):
    """What is said to `chat()` and to the SDK's `messages.create()`."""

    name: str
    messages: Any
    options: dict[str, Any]
    sdk: dict[str, Any]
    betas: tuple[str, ...] = ()


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather there", "parameters": CITY},
}
SDK_WEATHER = {"name": "weather", "description": "The weather there", "input_schema": CITY}
CLOCK = {"type": "function", "function": {"name": "clock"}}
SDK_CLOCK = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}


def user(*content: Any) -> dict[str, Any]:
    whole = len(content) == 1 and isinstance(content[0], (str, list))
    return {"role": "user", "content": content[0] if whole else list(content)}


def text(said: str, **beside: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **beside}


def called(identity: str, name: str, **given: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(given)}
    return {"id": identity, "type": "function", "function": function}


def use(identity: str, name: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": name, "input": given}


def told(identity: str, content: Any, **beside: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content, **beside}


def result(identity: str, content: Any, **beside: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **beside}


def assistant(content: Any = None, **beside: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **beside}


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def image(**source: str) -> dict[str, Any]:
    return {"type": "image", "source": source}


HI = [user("Hi")]
OSLO = [user("Weather in Oslo?"), assistant(tool_calls=[called("toolu_1", "weather", city="Oslo")])]
SDK_OSLO = [user("Weather in Oslo?"), assistant([use("toolu_1", "weather", city="Oslo")])]
TWO = [
    user("Oslo and Rome?"),
    assistant(
        "I look.",
        tool_calls=[
            called("toolu_1", "weather", city="Oslo"),
            called("toolu_2", "weather", city="Rome"),
        ],
    ),
]
SDK_TWO = [
    user("Oslo and Rome?"),
    assistant(
        [text("I look."), use("toolu_1", "weather", city="Oslo"),
         use("toolu_2", "weather", city="Rome")]
    ),
]  # fmt: skip
BASE64_PNG = image(type="base64", media_type="image/png", data=PNG)
PDF_SOURCE = {"type": "base64", "media_type": "application/pdf", "data": PDF}

CONVERSATIONS = [
    Conversation("a text", "Hi", {}, {"messages": HI}),
    Conversation("a message", HI, {"max_tokens": 5}, {"messages": HI, "max_tokens": 5}),
    Conversation(
        "a system prompt",
        [{"role": "system", "content": "Be brief."}, *HI],
        {},
        {"system": "Be brief.", "messages": HI},
    ),
    Conversation(
        "a developer's prompt",
        [{"role": "developer", "content": "Be brief."}, *HI],
        {},
        {"system": "Be brief.", "messages": HI},
    ),
    Conversation(
        "two prompts, one of them late",
        [{"role": "system", "content": "Be brief."}, *HI, {"role": "system", "content": "Be kind"}],
        {},
        {"system": [text("Be brief."), text("Be kind")], "messages": HI},
    ),
    Conversation(
        "a cached prompt",
        [{"role": "system", "content": [text("Long.", cache_control=CACHED)]}, *HI],
        {},
        {"system": [text("Long.", cache_control=CACHED)], "messages": HI},
    ),
    Conversation(
        "turns",
        [*HI, assistant("Hello"), user("Who are you?")],
        {},
        {"messages": [*HI, assistant("Hello"), user("Who are you?")]},
    ),
    Conversation(
        "two of the user in a row",
        [user("Hi"), user("Anybody?"), assistant("Yes"), assistant("I am")],
        {},
        {
            "messages": [
                user(text("Hi"), text("Anybody?")),
                assistant([text("Yes"), text("I am")]),
            ]
        },
    ),
    Conversation(
        "a beginning to go on from",
        [user("Name a colour"), assistant("The colour is")],
        {"max_tokens": 10},
        {"messages": [user("Name a colour"), assistant("The colour is")], "max_tokens": 10},
    ),
    Conversation(
        "parts", [user(text("a"), text("b"))], {}, {"messages": [user(text("a"), text("b"))]}
    ),
    Conversation(
        "an image by address",
        [user(picture("https://example.com/a.png"), text("What is it?"))],
        {},
        {
            "messages": [
                user(image(type="url", url="https://example.com/a.png"), text("What is it?"))
            ]
        },
    ),
    Conversation(
        "an image by its bytes",
        [user(picture(f"data:image/png;base64,{PNG}"), text("What is it?"))],
        {},
        {"messages": [user(BASE64_PNG, text("What is it?"))]},
    ),
    Conversation(
        "a JPEG under its other name, twice",
        [user(*[picture(f"data:image/jpg;base64,{JPEG}")] * 2)],
        {},
        {
            "messages": [
                user(*[image(type="base64", media_type="image/jpeg", data=JPEG)] * 2),
            ]
        },
    ),
    Conversation(
        "a cached image",
        [user({**picture("https://example.com/a.png"), "cache_control": CACHED}, text("?"))],
        {},
        {
            "messages": [
                user(
                    {**image(type="url", url="https://example.com/a.png"), "cache_control": CACHED},
                    text("?"),
                )
            ]
        },
    ),
    Conversation(
        "a PDF",
        [
            user(
                {
                    "type": "file",
                    "file": {
                        "filename": "a.pdf",
                        "file_data": f"data:application/pdf;base64,{PDF}",
                    },
                },
                text("Sum up"),
            )
        ],
        {},
        {
            "messages": [
                user({"type": "document", "source": PDF_SOURCE, "title": "a.pdf"}, text("Sum up"))
            ]
        },
    ),
    Conversation(
        "a PDF by address, to cite from",
        [
            user(
                {
                    "type": "file",
                    "file": {"file_data": "https://example.com/a.pdf"},
                    "citations": {"enabled": True},
                },
                text("Sum up"),
            )
        ],
        {},
        {
            "messages": [
                user(
                    {
                        "type": "document",
                        "citations": {"enabled": True},
                        "source": {"type": "url", "url": "https://example.com/a.pdf"},
                    },
                    text("Sum up"),
                )
            ]
        },
    ),
    Conversation(
        "a plain text as a document",
        [user({"type": "file", "file": {"file_data": NOTES, "filename": "notes.txt"}}, text("?"))],
        {},
        {
            "messages": [
                user(
                    {
                        "type": "document",
                        "title": "notes.txt",
                        "source": {
                            "type": "text",
                            "media_type": "text/plain",
                            "data": "Käse und Brot",
                        },
                    },
                    text("?"),
                )
            ]
        },
    ),
    Conversation(
        "an uploaded file",
        [user({"type": "file", "file": {"file_id": "file_01"}}, text("Sum up"))],
        {},
        {
            "messages": [
                user(
                    {"type": "document", "source": {"type": "file", "file_id": "file_01"}},
                    text("Sum up"),
                )
            ]
        },
        ("files-api-2025-04-14",),
    ),
    Conversation(
        "Anthropic's own blocks",
        [
            user(
                {
                    "type": "search_result",
                    "source": "https://example.com",
                    "title": "A",
                    "content": [text("b")],
                },
                text("?"),
            )
        ],
        {},
        {
            "messages": [
                user(
                    {
                        "type": "search_result",
                        "source": "https://example.com",
                        "title": "A",
                        "content": [text("b")],
                    },
                    text("?"),
                )
            ]
        },
    ),
    Conversation(
        "tools",
        HI,
        {"tools": [WEATHER, CLOCK]},
        {"messages": HI, "tools": [SDK_WEATHER, SDK_CLOCK]},
    ),
    Conversation(
        "a tool that must be called",
        HI,
        {"tools": [WEATHER], "tool_choice": "required"},
        {"messages": HI, "tools": [SDK_WEATHER], "tool_choice": {"type": "any"}},
    ),
    Conversation(
        "no tool may be called",
        HI,
        {"tools": [WEATHER], "tool_choice": "none"},
        {"messages": HI, "tools": [SDK_WEATHER], "tool_choice": {"type": "none"}},
    ),
    Conversation(
        "this tool must be called",
        HI,
        {
            "tools": [WEATHER, CLOCK],
            "tool_choice": {"type": "function", "function": {"name": "clock"}},
        },
        {
            "messages": HI,
            "tools": [SDK_WEATHER, SDK_CLOCK],
            "tool_choice": {"type": "tool", "name": "clock"},
        },
    ),
    Conversation(
        "one tool at a time",
        HI,
        {"tools": [WEATHER], "parallel_tool_calls": False},
        {
            "messages": HI,
            "tools": [SDK_WEATHER],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        },
    ),
    Conversation(
        "a strict tool, cached",
        HI,
        {
            "tools": [
                {
                    **WEATHER,
                    "function": {**WEATHER["function"], "strict": True},
                    "cache_control": CACHED,
                }
            ]
        },
        {"messages": HI, "tools": [{**SDK_WEATHER, "strict": True, "cache_control": CACHED}]},
    ),
    Conversation(
        "a tool of Anthropic's",
        HI,
        {"tools": [SEARCH, WEATHER]},
        {"messages": HI, "tools": [SEARCH, SDK_WEATHER]},
    ),
    Conversation(
        "a tool in Anthropic's words",
        HI,
        {"tools": [SDK_WEATHER], "tool_choice": {"type": "any"}},
        {"messages": HI, "tools": [SDK_WEATHER], "tool_choice": {"type": "any"}},
    ),
    Conversation(
        "a result",
        [*OSLO, told("toolu_1", "rain")],
        {"tools": [WEATHER]},
        {"messages": [*SDK_OSLO, user([result("toolu_1", "rain")])], "tools": [SDK_WEATHER]},
    ),
    Conversation(
        "two results and a word",
        [*TWO, told("toolu_1", "rain"), told("toolu_2", "sun"), user("Which is nicer?")],
        {"tools": [WEATHER]},
        {
            "messages": [
                *SDK_TWO,
                user(result("toolu_1", "rain"), result("toolu_2", "sun"), text("Which is nicer?")),
            ],
            "tools": [SDK_WEATHER],
        },
    ),
    Conversation(
        "a result that is an error",
        [*OSLO, told("toolu_1", "no such city", is_error=True)],
        {"tools": [WEATHER]},
        {
            "messages": [*SDK_OSLO, user([result("toolu_1", "no such city", is_error=True)])],
            "tools": [SDK_WEATHER],
        },
    ),
    Conversation(
        "a result that is a picture",
        [*OSLO, told("toolu_1", [text("so:"), picture(f"data:image/png;base64,{PNG}")])],
        {"tools": [WEATHER]},
        {
            "messages": [*SDK_OSLO, user([result("toolu_1", [text("so:"), BASE64_PNG])])],
            "tools": [SDK_WEATHER],
        },
    ),
    Conversation(
        "two rounds of tools",
        [
            *OSLO,
            told("toolu_1", "rain"),
            assistant("And there?", tool_calls=[called("toolu_9", "clock")]),
            told("toolu_9", ""),
        ],
        {"tools": [WEATHER, CLOCK]},
        {
            "messages": [
                *SDK_OSLO,
                user([result("toolu_1", "rain")]),
                assistant([text("And there?"), use("toolu_9", "clock")]),
                user([{"type": "tool_result", "tool_use_id": "toolu_9"}]),
            ],
            "tools": [SDK_WEATHER, SDK_CLOCK],
        },
    ),
    Conversation(
        "calls of another provider's model",
        [
            user("Time?"),
            assistant(tool_calls=[called("functions.clock:0", "clock")]),
            told("functions.clock:0", "noon"),
        ],
        {"tools": [CLOCK]},
        {
            "messages": [
                user("Time?"),
                assistant([use("functions_clock_0", "clock")]),
                user([result("functions_clock_0", "noon")]),
            ],
            "tools": [SDK_CLOCK],
        },
    ),
    Conversation(
        "sampling",
        HI,
        {"temperature": 0.2, "top_p": 0.9, "top_k": 4, "stop": ["END", "###"], "user": "u1"},
        {
            "messages": HI,
            "stop_sequences": ["END", "###"],
            "metadata": {"user_id": "u1"},
            "temperature": 0.2,
            "top_p": 0.9,
            "top_k": 4,
        },
    ),
    Conversation(
        "one stop sequence",
        HI,
        {"stop": "END", "max_completion_tokens": 7},
        {"messages": HI, "stop_sequences": ["END"], "max_tokens": 7},
    ),
    Conversation(
        "structured output",
        HI,
        {"response_format": FORMAT},
        {"messages": HI, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    Conversation(
        "effort",
        HI,
        {"reasoning_effort": "low", "model": "claude-opus-4-6", "response_format": FORMAT},
        {
            "model": "claude-opus-4-6",
            "messages": HI,
            "output_config": {
                "effort": "low",
                "format": {"type": "json_schema", "schema": SCHEMA},
            },
        },
    ),
    Conversation(
        "thinking",
        [
            user("Hard?"),
            assistant(
                [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "AAAA"},
                    text("Yes."),
                    use("toolu_1", "clock"),
                ]
            ),
            told("toolu_1", "noon"),
        ],
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "tools": [CLOCK]},
        {
            "messages": [
                user("Hard?"),
                assistant(
                    [
                        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                        {"type": "redacted_thinking", "data": "AAAA"},
                        text("Yes."),
                        use("toolu_1", "clock"),
                    ]
                ),
                user([result("toolu_1", "noon")]),
            ],
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "tools": [SDK_CLOCK],
            "max_tokens": LIMIT + 2000,
        },
    ),
    Conversation(
        "the API's own options",
        HI,
        {"service_tier": "auto", "cache_control": CACHED, "betas": ["context-1m-2025-08-07"]},
        {"messages": HI, "service_tier": "auto", "cache_control": CACHED},
        ("context-1m-2025-08-07",),
    ),
    Conversation(
        "text of many scripts",
        [
            {"role": "system", "content": "日本語で"},
            user("Grüße 🎉 \u2028 \x7f"),
            assistant("はい"),
            user(text("مرحبا")),
        ],
        {"max_tokens": 3},
        {
            "system": "日本語で",
            "messages": [user("Grüße 🎉 \u2028 \x7f"), assistant("はい"), user([text("مرحبا")])],
            "max_tokens": 3,
        },
    ),
]
