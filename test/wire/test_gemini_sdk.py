"""Google's own SDK and this library say the same thing to the same server, 40 times over.

The bodies must be equal once what is written in two ways is written in one: the SDK spells some
names in snake_case, gives the system instruction a role, sorts tools by itself and writes base64 in
the alphabet for URLs.
"""

from __future__ import annotations

import base64
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.recording_server import Recorded, RecordingServer, json_answer, sse_answer

from api_backends.gemini import Gemini
from api_backends.messages import normalize_messages

genai = pytest.importorskip("google.genai", reason="google-genai is not installed (extra `test`)")
from google.genai import types as t  # noqa: E402

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
JPEG = b"\xff\xd8\xff\xe0" + bytes(16)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(16)
PDF = b"%PDF-1.7\n" + bytes(16)
SIGNATURE = base64.b64encode(b"what it thought").decode()
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where"},
        "days_ahead": {"type": "integer", "minimum": 0, "maximum": 10},
        "unit": {"type": "string", "enum": ["c", "f"]},
    },
    "required": ["city"],
}
NESTED = {
    "type": "object",
    "properties": {
        "people": {"type": "array", "items": {"$ref": "#/$defs/person"}, "minItems": 1},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "$defs": {
        "person": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "tags": {"prefixItems": [{"type": "string"}]},
            },
            "additionalProperties": False,
        }
    },
}
ANSWER = {
    "candidates": [{"content": {"parts": [{"text": "ok"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
}


def data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts) if not isinstance(parts[0], str) else parts[0]}


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def call(identity: str, name: str, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": identity, "type": "function", "function": function, **more}


def function(name: str, parameters: Any = None, description: str = "Does it") -> dict[str, Any]:
    made = {"name": name, "description": description}
    if parameters is not None:
        made["parameters"] = parameters
    return {"type": "function", "function": made}


def said(*parts: Any) -> Any:
    return t.Content(role="user", parts=[_sdk_part(part) for part in parts])


def answered(*parts: Any) -> Any:
    return t.Content(role="model", parts=[_sdk_part(part) for part in parts])


def _sdk_part(part: Any) -> Any:
    return t.Part(text=part) if isinstance(part, str) else part


def blob(data: bytes, kind: str) -> Any:
    return t.Part.from_bytes(data=data, mime_type=kind)


def file(uri: str, kind: str | None = None) -> Any:
    return t.Part(file_data=t.FileData(file_uri=uri, mime_type=kind))


def called(name: str, args: dict[str, Any], identity: str | None = None, sig: str = "") -> Any:
    return t.Part(
        function_call=t.FunctionCall(id=identity, name=name, args=args),
        thought_signature=base64.b64decode(sig) if sig else None,
    )


def returned(name: str, response: dict[str, Any], identity: str | None = None) -> Any:
    return t.Part(function_response=t.FunctionResponse(id=identity, name=name, response=response))


def declared(*functions: tuple[str, Any]) -> Any:
    return t.Tool(
        function_declarations=[
            t.FunctionDeclaration(name=n, description="Does it", parameters_json_schema=s)
            for n, s in functions
        ]
    )


def calling(mode: str, *names: str) -> Any:
    config = t.FunctionCallingConfig(mode=mode, allowed_function_names=list(names) or None)
    return t.ToolConfig(function_calling_config=config)


HISTORY = [
    user("Weather in Rome and Oslo?"),
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            call("c1", "weather", '{"city": "Rome"}'),
            call("c2", "weather", '{"city": "Oslo"}'),
        ],
    },
]
SDK_HISTORY = [
    said("Weather in Rome and Oslo?"),
    answered(called("weather", {"city": "Rome"}, "c1"), called("weather", {"city": "Oslo"}, "c2")),
]
SIGNED = {"extra_content": {"google": {"thought_signature": SIGNATURE}}}
WEATHER = [function("weather", SCHEMA)]
SDK_WEATHER = [declared(("weather", SCHEMA))]
Q = user("Hello")
SDK_Q = [said("Hello")]

# name: (our messages, our options, the SDK's contents, the SDK's config)
CONVERSATIONS: dict[str, tuple[Any, dict[str, Any], Any, dict[str, Any]]] = {
    "a text": ("Hello", {}, "Hello", {}),
    "one message": ([Q], {}, SDK_Q, {}),
    "system prompt": (
        [{"role": "system", "content": "Be brief."}, Q],
        {},
        SDK_Q,
        {"system_instruction": "Be brief."},
    ),
    "developer prompt": (
        [{"role": "developer", "content": [text("Be brief.")]}, Q],
        {},
        SDK_Q,
        {"system_instruction": "Be brief."},
    ),
    "two system prompts": (
        [{"role": "system", "content": "A"}, {"role": "system", "content": "B"}, Q],
        {},
        SDK_Q,
        {"system_instruction": ["A", "B"]},
    ),
    "several turns": (
        [Q, {"role": "assistant", "content": "Hi!"}, user("And now?")],
        {},
        [*SDK_Q, answered("Hi!"), said("And now?")],
        {},
    ),
    "two texts": ([user(text("a"), text("b"))], {}, [said("a", "b")], {}),
    "other alphabets": ("größer ✅ 日本", {}, "größer ✅ 日本", {}),
    "sampling": (
        [Q],
        {"temperature": 0.2, "top_p": 0.9, "top_k": 40, "seed": 7},
        SDK_Q,
        {"temperature": 0.2, "top_p": 0.9, "top_k": 40, "seed": 7},
    ),
    "lengths and stops": (
        [Q],
        {"max_tokens": 50, "stop": ["END", "STOP"]},
        SDK_Q,
        {"max_output_tokens": 50, "stop_sequences": ["END", "STOP"]},
    ),
    "one stop": ([Q], {"stop": "END"}, SDK_Q, {"stop_sequences": ["END"]}),
    "max_completion_tokens": (
        [Q],
        {"max_completion_tokens": 9},
        SDK_Q,
        {"max_output_tokens": 9},
    ),
    "penalties": (
        [Q],
        {"presence_penalty": 0.5, "frequency_penalty": -0.5},
        SDK_Q,
        {"presence_penalty": 0.5, "frequency_penalty": -0.5},
    ),
    "several candidates": ([Q], {"n": 3}, SDK_Q, {"candidate_count": 3}),
    "logprobs": (
        [Q],
        {"logprobs": True, "top_logprobs": 4},
        SDK_Q,
        {"response_logprobs": True, "logprobs": 4},
    ),
    "image inline": (
        [user(text("What is it?"), image(data_url("image/png", PNG)))],
        {},
        [said("What is it?", blob(PNG, "image/png"))],
        {},
    ),
    "two images": (
        [user(image(data_url("image/png", PNG)), image(data_url("image/jpeg", JPEG)))],
        {},
        [said(blob(PNG, "image/png"), blob(JPEG, "image/jpeg"))],
        {},
    ),
    "image by address": (
        [user(image("https://example.com/cat.png"))],
        {},
        [said(file("https://example.com/cat.png", "image/png"))],
        {},
    ),
    "image detail": (
        [user(image(data_url("image/png", PNG), detail="low"))],
        {},
        [said(blob(PNG, "image/png"))],
        {"media_resolution": "MEDIA_RESOLUTION_LOW"},
    ),
    "sound": (
        [
            user(
                {
                    "type": "input_audio",
                    "input_audio": {"data": base64.b64encode(WAV).decode(), "format": "wav"},
                }
            )
        ],
        {},
        [said(blob(WAV, "audio/wav"))],
        {},
    ),
    "pdf": (
        [
            user(
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": data_url("application/pdf", PDF)},
                }
            )
        ],
        {},
        [said(blob(PDF, "application/pdf"))],
        {},
    ),
    "uploaded file": (
        [user({"type": "file", "file": {"file_id": "files/abc-1", "mime_type": "video/mp4"}})],
        {},
        [said(file("https://generativelanguage.googleapis.com/v1beta/files/abc-1", "video/mp4"))],
        {},
    ),
    "video by address": (
        [user({"type": "video_url", "video_url": {"url": "https://youtu.be/9hE5-98ZeCg"}})],
        {},
        [said(file("https://youtu.be/9hE5-98ZeCg"))],
        {},
    ),
    "tools": ([Q], {"tools": WEATHER}, SDK_Q, {"tools": SDK_WEATHER}),
    "two tools, one without arguments": (
        [Q],
        {"tools": [*WEATHER, function("now")]},
        SDK_Q,
        {"tools": [declared(("weather", SCHEMA), ("now", None))]},
    ),
    "nested schema": (
        [Q],
        {"tools": [function("f", NESTED)]},
        SDK_Q,
        {"tools": [declared(("f", NESTED))]},
    ),
    "tool required": (
        [Q],
        {"tools": WEATHER, "tool_choice": "required"},
        SDK_Q,
        {"tools": SDK_WEATHER, "tool_config": calling("ANY")},
    ),
    "tool forbidden": (
        [Q],
        {"tools": WEATHER, "tool_choice": "none"},
        SDK_Q,
        {"tools": SDK_WEATHER, "tool_config": calling("NONE")},
    ),
    "one tool forced": (
        [Q],
        {
            "tools": WEATHER,
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
        },
        SDK_Q,
        {"tools": SDK_WEATHER, "tool_config": calling("ANY", "weather")},
    ),
    "parallel calls and results": (
        [
            *HISTORY,
            {"role": "tool", "tool_call_id": "c1", "content": '{"degrees": 30}'},
            {"role": "tool", "tool_call_id": "c2", "content": "cold"},
        ],
        {"tools": WEATHER},
        [
            *SDK_HISTORY,
            said(
                returned("weather", {"degrees": 30}, "c1"),
                returned("weather", {"result": "cold"}, "c2"),
            ),
        ],
        {"tools": SDK_WEATHER},
    ),
    "results in another order": (
        [
            *HISTORY,
            {"role": "tool", "tool_call_id": "c2", "content": "cold"},
            {"role": "tool", "tool_call_id": "c1", "content": "[1, 2]"},
        ],
        {"tools": WEATHER},
        [
            *SDK_HISTORY,
            said(
                returned("weather", {"result": [1, 2]}, "c1"),
                returned("weather", {"result": "cold"}, "c2"),
            ),
        ],
        {"tools": SDK_WEATHER},
    ),
    "calls over two turns": (
        [
            Q,
            {"role": "assistant", "content": "Let me see.", "tool_calls": [call("a", "f", "{}")]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "assistant", "content": "", "tool_calls": [call("b", "f", '{"x": 1}')]},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            {"role": "assistant", "content": "Done."},
            user("Thanks"),
        ],
        {},
        [
            *SDK_Q,
            answered("Let me see.", called("f", {}, "a")),
            said(returned("f", {"result": "1"}, "a")),
            answered(called("f", {"x": 1}, "b")),
            said(returned("f", {"result": "2"}, "b")),
            answered("Done."),
            said("Thanks"),
        ],
        {},
    ),
    "a thought signature": (
        [
            Q,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [call("a", "f", "{}", **SIGNED)],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ],
        {},
        [
            *SDK_Q,
            answered(called("f", {}, "a", SIGNATURE)),
            said(returned("f", {"result": "1"}, "a")),
        ],
        {},
    ),
    "the older functions": (
        [
            Q,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "f", "arguments": '{"x": 1}'},
            },
            {"role": "function", "name": "f", "content": "7"},
        ],
        {"functions": [{"name": "f", "description": "Does it"}]},
        [*SDK_Q, answered(called("f", {"x": 1})), said(returned("f", {"result": "7"}))],
        {"tools": [declared(("f", None))]},
    ),
    "json": (
        [Q],
        {"response_format": {"type": "json_object"}},
        SDK_Q,
        {"response_mime_type": "application/json"},
    ),
    "json schema": (
        [Q],
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "people", "schema": NESTED, "strict": True},
            }
        },
        SDK_Q,
        {"response_mime_type": "application/json", "response_json_schema": NESTED},
    ),
    "effort of 2.5": (
        [Q],
        {"reasoning_effort": "medium"},
        SDK_Q,
        {"thinking_config": t.ThinkingConfig(thinking_budget=8192)},
    ),
    "thinking": (
        [Q],
        {"thinking_budget": 512, "include_thoughts": True},
        SDK_Q,
        {"thinking_config": t.ThinkingConfig(thinking_budget=512, include_thoughts=True)},
    ),
    "thinking config": (
        [Q],
        {"thinkingConfig": {"thinkingLevel": "HIGH"}},
        SDK_Q,
        {"thinking_config": t.ThinkingConfig(thinking_level="HIGH")},
    ),
    "safety settings": (
        [Q],
        {
            "safety_settings": [
                {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}
            ]
        },
        SDK_Q,
        {
            "safety_settings": [
                t.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_ONLY_HIGH")
            ]
        },
    ),
    "search": (
        [Q],
        {"web_search_options": {}},
        SDK_Q,
        {"tools": [t.Tool(google_search=t.GoogleSearch())]},
    ),
    "code and functions": (
        [Q],
        {"tools": [*WEATHER, {"type": "code_execution"}, {"urlContext": {}}]},
        SDK_Q,
        {
            "tools": [
                *SDK_WEATHER,
                t.Tool(code_execution=t.ToolCodeExecution()),
                t.Tool(url_context=t.UrlContext()),
            ]
        },
    ),
    "speech": (
        [Q],
        {"modalities": ["audio"], "audio": {"voice": "Kore", "format": "pcm16"}},
        SDK_Q,
        {
            "response_modalities": ["AUDIO"],
            "speech_config": t.SpeechConfig(
                voice_config=t.VoiceConfig(
                    prebuilt_voice_config=t.PrebuiltVoiceConfig(voice_name="Kore")
                )
            ),
        },
    ),
    "cache and tier": (
        [Q],
        {"cached_content": "cachedContents/a", "service_tier": "flex"},
        SDK_Q,
        {"cached_content": "cachedContents/a", "service_tier": "flex"},
    ),
}

_FREE = {"args", "response", "parametersJsonSchema", "responseJsonSchema"}


def normalized(value: Any) -> Any:
    """A body in one spelling: camelCase names, no empty settings, tools in one order."""
    if isinstance(value, list):
        return [normalized(item) for item in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for key, item in value.items():
        name = re.sub(r"_([a-z])", lambda found: found[1].upper(), key)
        made[name] = item if name in _FREE else normalized(item)
        if name == "data" and isinstance(item, str):
            made[name] = item.replace("-", "+").replace("_", "/")  # either alphabet of base64
    if isinstance(made.get("systemInstruction"), dict):
        made["systemInstruction"].pop("role", None)
    if "tools" in made:
        made["tools"] = sorted(made["tools"], key=json.dumps)
    if made.get("generationConfig") == {}:
        del made["generationConfig"]
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[RecordingServer]:
    def respond(request: Recorded) -> Any:
        if "alt=sse" in request.path:
            return sse_answer(ANSWER, done=False)
        return json_answer(ANSWER)

    with RecordingServer(respond) as running:
        yield running


def test_there_are_enough_conversations() -> None:
    assert len(CONVERSATIONS) >= 40


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_sdk_sends_what_we_send(server: RecordingServer, name: str) -> None:
    messages, options, contents, config = CONVERSATIONS[name]
    with Gemini(metadata={"gemini_api_key": "k-of-a-test-123", "api_base": server.url}) as backend:
        assert backend.chat(messages, "gemini-2.5-flash", **options).content == "ok"
    ours = server.requests[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the SDK's own
        http = t.HttpOptions(base_url=server.url, api_version="v1beta")
        client = genai.Client(api_key="k-of-a-test-123", http_options=http)
        turned_off = t.AutomaticFunctionCallingConfig(disable=True)
        client.models.generate_content(
            model="gemini-2.5-flash",
            contents=contents,
            config=t.GenerateContentConfig(**config, automatic_function_calling=turned_off),
        )
        client.close()
    theirs = server.requests[-1]
    assert theirs is not ours
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert ours.headers["x-goog-api-key"] == theirs.headers["x-goog-api-key"]
    assert normalized(ours.json) == normalized(theirs.json)


def unknown_fields(value: Any, schema: dict[str, Any], schemas: Any, where: str) -> list[str]:
    """What a body holds that Google's discovery document doesn't."""
    if "$ref" in schema:
        schema = schemas.get(schema["$ref"], {})  # our copy has not all of them
    if schema.get("type") == "array":
        if not isinstance(value, list):
            return [where]
        return [
            u
            for i, item in enumerate(value)
            for u in unknown_fields(item, schema["items"], schemas, f"{where}[{i}]")
        ]
    if schema.get("type") == "object" and "properties" in schema:
        known = schema["properties"]
        found = [f"{where}.{key}" for key in value if key not in known]
        for key in value.keys() & known.keys():
            found.extend(unknown_fields(value[key], known[key], schemas, f"{where}.{key}"))
        return found
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool}
    wrong = not isinstance(value, kinds.get(schema.get("type"), object))  # type: ignore[arg-type]
    wrong = wrong or ("enum" in schema and value not in schema["enum"])
    return [where] if wrong else []


@pytest.mark.real("recorded traffic")
def test_all_that_we_send_is_in_googles_document(recorded_traffic: Path) -> None:
    document = recorded_traffic / "specs" / "google-discovery.json"
    schemas = json.loads(document.read_text(encoding="utf-8"))["schemas"]
    request = schemas["GenerateContentRequest"]
    with Gemini(metadata={"gemini_api_key": "k-of-a-test-123"}) as backend:
        for name, (messages, options, _, _) in CONVERSATIONS.items():
            for model in ("gemini-2.5-flash", "gemini-3-pro-preview"):
                body = backend.chat_body(
                    normalize_messages(messages), model, dict(options), stream=False
                )
                assert unknown_fields(body, request, schemas, name) == []
    assert unknown_fields({"tempo": 1}, request, schemas, "") == [".tempo"]


def test_the_sdk_streams_from_where_we_do(server: RecordingServer) -> None:
    with Gemini(metadata={"gemini_api_key": "k-of-a-test-123", "api_base": server.url}) as backend:
        assert backend.stream_chat("Hello", "gemini-2.5-flash").response().content == "ok"
    ours = server.requests[-1]
    http = t.HttpOptions(base_url=server.url, api_version="v1beta")
    client = genai.Client(api_key="k-of-a-test-123", http_options=http)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="Hello"))
        client.close()
    theirs = server.requests[-1]
    assert ours.path == theirs.path
    assert normalized(ours.json) == normalized(theirs.json)
