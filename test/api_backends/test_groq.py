"""Groq's own ways: its options, its errors, its limits, its models."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest
from servers.recording_server import RecordingServer, json_answer, sse_answer

from api_backends import create_api_backend
from api_backends.errors import InvalidRequestError, RateLimitError

KEY = "gsk_groq_test_0123456789"
MODEL = "llama-3.3-70b-versatile"
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110, "queue_time": 0.01}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
CHAT = {"id": "x", "model": MODEL, "choices": [CHOICE], "usage": USAGE, "x_groq": {"id": "req"}}


@pytest.fixture
def server() -> Any:
    with RecordingServer(lambda request: json_answer(CHAT)) as running:
        yield running


@pytest.fixture
def backend(server: RecordingServer) -> Any:
    metadata = {"groq_api_key": KEY, "groq_api_url": server.url, "max_retries": 0}
    with create_api_backend("groq", metadata=metadata) as made:
        yield made


def test_its_route_its_key_and_its_price(server: Any, backend: Any) -> None:
    answer = backend.chat("hi", reasoning_format="parsed")
    sent = server.requests[-1]
    assert (sent.path, sent.headers["authorization"]) == (
        "/openai/v1/chat/completions",
        f"Bearer {KEY}",
    )
    assert sent.json["reasoning_format"] == "parsed"
    cost = (100 * 0.59 + 10 * 0.79) / 1e6
    assert math.isclose(answer.usage.cost, cost)
    used = backend.get_usage_stats()
    assert (used["total_requests"], used["total_tokens"]) == (1, 110)
    assert math.isclose(used["cost"], cost)
    assert math.isclose(backend.estimate_cost(MODEL, 100, 10), cost)
    assert backend.get_context_window() == 131_072


def test_usage_of_a_stream_is_in_x_groq(server: Any, backend: Any) -> None:
    delta = {"index": 0, "delta": {"content": "ok"}}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    server.respond = lambda request: sse_answer(
        {"id": "x", "model": MODEL, "choices": [delta], "x_groq": {"id": "req"}},
        {"id": "x", "model": MODEL, "choices": [end], "x_groq": {"id": "req", "usage": USAGE}},
    )
    with backend.stream_chat("hi") as stream:
        last = list(stream)[-1]
    assert (last.usage.total_tokens, last.finish_reason) == (110, "stop")
    assert last.usage.cost is not None


@pytest.mark.parametrize(
    "options",
    [
        {"n": 2},
        {"reasoning_format": "nice"},
        {"reasoning_format": "raw", "include_reasoning": True},
    ],
)
def test_what_it_does_not_do(server: Any, backend: Any, options: Any) -> None:
    with pytest.raises(InvalidRequestError, match=next(iter(options))):
        backend.chat("hi", **options)
    with pytest.raises(InvalidRequestError, match="embed"):
        backend.embed("hi")
    assert server.requests == []


def test_more_images_than_it_takes(server: Any, backend: Any) -> None:
    small = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(4 * 1024 * 1024)).decode()
    big = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    for parts, why in (([small] * 6, "6 images"), ([big], "MiB of images")):
        with pytest.raises(InvalidRequestError, match=why):
            backend.chat([{"role": "user", "content": parts}])
    assert backend.chat([{"role": "user", "content": [small] * 5}]).text == "ok"
    assert len(server.requests) == 1


def test_what_the_model_had_written_is_in_the_error(server: Any, backend: Any) -> None:
    error = {
        "message": "Failed to call a function.",
        "type": "invalid_request_error",
        "code": "tool_use_failed",
        "failed_generation": "<function=add>{",
    }
    server.respond = lambda request: json_answer({"error": error}, 400)
    with pytest.raises(InvalidRequestError, match="had written: '<function=add>") as caught:
        backend.chat("hi")
    assert caught.value.code == "tool_use_failed"
    assert caught.value.body["error"]["failed_generation"] == "<function=add>{"


def test_a_rate_limit_says_when_to_return(server: Any, backend: Any) -> None:
    headers = {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "2m59.56s",
    }
    error = {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}
    server.respond = lambda request: json_answer(error, 429, headers)
    with pytest.raises(RateLimitError) as caught:
        backend.chat("hi")
    assert math.isclose(caught.value.retry_after, 179.56)
    assert backend.get_rate_limits()["requests"][:2] == (14400, 0)


def test_models_have_categories(server: Any, backend: Any) -> None:
    names = [MODEL, "whisper-large-v3", "playai-tts", "meta-llama/llama-guard-4-12b"]
    rows = [{"id": name, "context_window": 8192} for name in names]
    server.respond = lambda request: json_answer({"object": "list", "data": rows})
    models = backend.list_models()
    assert [model["category"] for model in models] == [
        "chat", "transcription", "speech", "moderation",
    ]  # fmt: skip
    assert [m["id"] for m in backend.list_models("transcription")] == ["whisper-large-v3"]
    assert len(asyncio.run(backend.alist_models("chat"))) == 1
    with pytest.raises(InvalidRequestError, match="category"):
        backend.list_models("nonsense")


def test_prices_are_dated_and_complete() -> None:
    import api_backends

    folder = Path(api_backends.__file__).parent
    prices = json.loads((folder / "prices.json").read_text(encoding="utf-8"))
    for name, section in prices.items():
        if name == "about":
            continue
        assert section["as_of"].startswith("20")
        assert section["source"].startswith("https://")
        for model, price in section["models"].items():
            assert price["input"] > 0, model
            assert price.get("output", 1) > 0, model
            assert price.get("cached_input", 0) <= price["input"], model
