"""OpenAI's own routes and helpers, over real HTTP to a server that answers what a test says."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import math
from typing import Any

import pytest
from servers.recording_server import Recorded, RecordingServer, json_answer, sse_answer

from api_backends import (
    create_api_backend,
    find_compatible_backend,
    get_backend,
    suggest_models,
)
from api_backends.errors import (
    ApiTimeoutError,
    ConfigurationError,
    ContentFilterError,
    InvalidRequestError,
    InvalidResponseError,
    ModelNotFoundError,
    RateLimitError,
)
from api_backends.openai_batches import BatchRoutes

KEY = "sk-openai-test-0123456789"
MODEL = "gpt-4o-mini-2024-07-18"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


def chat_answer(text: str | None = "ok", calls: Any = None, **extra: Any) -> Any:
    message = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json_answer({"id": "x", "model": MODEL, "choices": [choice], "usage": USAGE, **extra})


@pytest.fixture
def server() -> Any:
    with RecordingServer(lambda request: chat_answer()) as running:
        yield running


@pytest.fixture
def backend(server: RecordingServer) -> Any:
    metadata = {"openai_api_key": KEY, "api_base": server.url, "max_retries": 0}
    metadata["circuit_breaker"] = {"failure_threshold": 100}
    with create_api_backend("openai", metadata=metadata) as made:
        yield made


def call(identity: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


# -- cost ----------------------------------------------------------------------------------------


def test_cost_is_in_usage_and_stats(backend: Any) -> None:
    expected = (1000 * 0.15 + 100 * 0.6) / 1e6
    assert math.isclose(backend.chat("hi").usage.cost, expected)
    assert math.isclose(backend.get_stats()["cost"], expected)
    assert math.isclose(backend.estimate_cost("gpt-4o-mini", 1000, 100), expected)
    assert math.isclose(
        backend.estimate_cost("gpt-4o-mini", 1000, 0, 400), (600 * 0.15 + 400 * 0.075) / 1e6
    )


def test_cost_of_a_stream(server: Any, backend: Any) -> None:
    events = [
        {"id": "a", "model": MODEL, "choices": [{"index": 0, "delta": {"content": "hi"}}]},
        {"id": "a", "model": MODEL, "choices": [{"index": 0, "finish_reason": "stop"}]},
        {"id": "a", "model": MODEL, "choices": [], "usage": USAGE},
    ]  # fmt: skip
    server.respond = lambda request: sse_answer(*events)
    with backend.stream_chat("hi") as stream:
        last = list(stream)[-1]
    cost = (1000 * 0.15 + 100 * 0.6) / 1e6
    assert math.isclose(last.usage.cost, cost)
    assert math.isclose(stream.response().usage.cost, cost)
    assert math.isclose(backend.get_stats()["cost"], cost)


def test_an_unknown_price_is_none(server: Any, backend: Any) -> None:
    server.respond = lambda request: chat_answer(model="no-such-model")
    assert backend.chat("hi", "no-such-model").usage.cost is None
    assert backend.get_stats()["cost"] is None
    assert backend.estimate_cost("no-such-model", 1) is None


def test_prices_of_the_callers_own(server: Any) -> None:
    metadata = {"api_key": KEY, "api_base": server.url, "prices": {MODEL: (1, 10)}}
    with create_api_backend("openai", metadata=metadata) as backend:
        assert math.isclose(backend.chat("hi").usage.cost, (1000 + 1000) / 1e6)


@pytest.mark.parametrize("wrong", [3, {"m": 1}, {"m": {"input": -1}}, {"m": {"input": 1, "x": 2}}])
def test_wrong_prices(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="prices"):
        create_api_backend("openai", metadata={"api_key": KEY, "prices": wrong})


# -- tools and moderation --------------------------------------------------------------------------


def add(a: int, b: int = 3) -> int:
    """Add two numbers.

    More of it.
    """
    return a + b


async def slow_add(a: int, b: int) -> int:
    return a + b


def fails() -> None:
    raise ZeroDivisionError("by zero")


def tool_server(*calls: dict[str, Any], rounds: int = 1) -> Any:
    def respond(request: Recorded) -> Any:
        asked = sum(message["role"] == "assistant" for message in request.json["messages"])
        return chat_answer(None, list(calls)) if asked < rounds else chat_answer("done")

    return respond


def test_functions_are_run_in_order(server: Any, backend: Any) -> None:
    server.respond = tool_server(
        call("1", "add", '{"a": 1}'), call("2", "none", "{}"), call("3", "fails", ""),
        call("4", "add", "[1"),
    )  # fmt: skip
    assert backend.chat_with_functions("hi", [add, fails]).content == "done"
    sent = server.requests[-1].json
    assert sent["tools"][0]["function"] == {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a"],
        },
    }
    results = [m["content"] for m in sent["messages"] if m["role"] == "tool"]
    assert results[0] == "4"
    assert "there is no tool 'none'" in results[1]
    assert "ZeroDivisionError: by zero" in results[2]
    assert "not JSON" in results[3]


def test_async_functions(server: Any, backend: Any) -> None:
    server.respond = tool_server(call("1", "slow_add", '{"a": 1, "b": 2}'))
    assert asyncio.run(backend.achat_with_functions("hi", [slow_add])).content == "done"
    assert server.requests[-1].json["messages"][-1]["content"] == "3"
    with pytest.raises(InvalidRequestError, match="achat_with_functions"):
        backend.chat_with_functions("hi", [slow_add])


def test_rounds_are_limited(server: Any, backend: Any) -> None:
    server.respond = tool_server(call("1", "add", '{"a": 1}'), rounds=100)
    answer = backend.chat_with_functions("hi", {"add": add}, max_rounds=3)
    assert answer.finish_reason == "tool_calls"
    assert len(server.requests) == 4


@pytest.mark.parametrize("functions", [[], {}, "add", 3, [3]])
def test_no_functions(backend: Any, functions: Any) -> None:
    with pytest.raises(InvalidRequestError, match="functions"):
        backend.chat_with_functions("hi", functions)


def moderating(request: Recorded) -> Any:
    if request.path.endswith("/chat/completions"):
        return chat_answer("a bad answer" if "trick" in str(request.json) else "ok")
    bad = "bad" in str(request.json["input"])
    verdict = {"flagged": bad, "categories": {"hate": bad}, "category_scores": {"hate": 0.5}}
    return json_answer({"id": "m", "model": "omni", "results": [verdict]})


def test_moderated_chat(server: Any, backend: Any) -> None:
    server.respond = moderating
    assert backend.moderated_chat("hi").content == "ok"
    with pytest.raises(ContentFilterError, match=r"message was flagged.*hate"):
        backend.moderated_chat("something bad")
    assert "moderations" in server.requests[-1].path  # it was not sent on
    with pytest.raises(ContentFilterError, match="answer was flagged"):
        asyncio.run(backend.amoderated_chat("trick"))
    assert backend.moderate("bad").results[0].reasons == ["hate"]
    assert backend.moderate("bad").flagged


# -- models and tokens -----------------------------------------------------------------------------


def test_the_model_for_the_messages(backend: Any) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    assert backend.determine_model() == "gpt-4o-mini"
    assert backend.determine_model([{"role": "user", "content": [sound]}]) == "gpt-4o-audio-preview"
    assert backend.determine_model("word " * 200_000) == "gpt-4.1-mini"
    assert backend.determine_model("hi", "gpt-4") == "gpt-4"
    with pytest.raises(InvalidRequestError, match="no images"):
        backend.determine_model([{"role": "user", "content": [image]}], "gpt-4")
    with pytest.raises(InvalidRequestError, match="did you mean 'gpt-4o'"):
        backend.determine_model("hi", "gtp-4o")


def test_messages_are_put_together(backend: Any) -> None:
    given = [{"role": "user", "content": "what is it?"}]
    made = backend.process_messages(given, "Be terse.", images=[PNG, "https://x/y.png"])
    assert made[0] == {"role": "system", "content": "Be terse."}
    assert [part["type"] for part in made[1]["content"]] == ["text", "image_url", "image_url"]
    assert given == [{"role": "user", "content": "what is it?"}]
    with pytest.raises(InvalidRequestError, match=r"images\[0\]"):
        backend.process_messages("x", images=[b"no image"])


def test_old_turns_are_left_out(backend: Any) -> None:
    turns = [{"role": "system", "content": "s"}]
    for number in range(20):
        turns += [
            {"role": "user", "content": f"question {number} " * 10},
            {"role": "assistant", "content": None, "tool_calls": [call(f"c{number}", "f", "{}")]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": "r"},
        ]
    kept = backend.process_messages(turns, max_tokens=200)
    assert kept[0] == turns[0]
    assert kept[1:] == turns[-len(kept) + 1 :]
    assert kept[1]["role"] == "user"
    assert backend.count_tokens(kept) <= 200 < backend.count_tokens(turns)
    with pytest.raises(InvalidRequestError, match="last turn"):
        backend.process_messages(turns, max_tokens=5)


def test_an_estimate_says_so(backend: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tiktoken", None)
    count = backend.count_tokens("four characters a token, about")
    assert count.is_estimate
    assert 6 <= count <= 10
    assert "about" in repr(count)
    assert backend.count_tokens("世界人民") >= 4


def test_context_windows(backend: Any) -> None:
    assert backend.get_context_window() == 128_000
    assert backend.get_context_window("gpt-4.1-2025-04-14") == 1_047_576
    assert backend.get_context_window("ft:gpt-4o-mini:me::1") == 128_000
    assert backend.get_context_window("no-such-model") is None
    assert backend.fits("hi") is True


def test_did_you_mean(server: Any, backend: Any) -> None:
    body = {"error": {"message": "The model does not exist", "code": "model_not_found"}}
    server.respond = lambda request: json_answer(body, 404)
    with pytest.raises(ModelNotFoundError, match="Did you mean 'gpt-4o-mini'"):
        backend.chat("hi", "gpt-4o-mini1")
    assert "llama-3.3-70b-versatile" in suggest_models("llama-3.3-70b-versatil")
    assert suggest_models("qqqqqqqqqq") == []


def test_rate_limits(server: Any, backend: Any) -> None:
    headers = {
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5973",
        "x-ratelimit-reset-tokens": "2m59.56s",
        "x-ratelimit-remaining-requests": "99999999999999999999",
    }
    body = json.loads(chat_answer()[2])
    assert backend.get_rate_limits() == {}
    server.respond = lambda request: json_answer(body, headers=headers)
    backend.chat("hi")
    limits = backend.get_rate_limits()
    assert limits["tokens"][:2] == (6000, 5973)
    assert math.isclose(limits["tokens"].reset, 179.56)
    assert limits["requests"].remaining is None
    assert backend.get_rate_limits("default") == limits


def test_quota_and_rate_are_told_apart(server: Any, backend: Any) -> None:
    for code, passes in (("insufficient_quota", False), ("rate_limit_exceeded", True)):
        body = {"error": {"message": "stop", "code": code, "type": code}}
        server.respond = lambda request, body=body: json_answer(body, 429)
        with pytest.raises(RateLimitError) as caught:
            backend.chat("hi")
        assert caught.value.is_transient is passes
        backend.update_endpoint("default", api_key=KEY)  # a key that rests no more
        backend._pool.get("default").resting_until = 0.0


# -- files and batches -----------------------------------------------------------------------------


def batch_server(states: list[str]) -> Any:
    """A batch of three: the second is refused, the answers come in another order."""
    kept: dict[str, bytes] = {}
    left = list(states)

    def respond(request: Recorded) -> Any:
        if request.path.endswith("/files"):
            kept["in"] = next(data for name, _, data in request.form if name == "file")
            return json_answer({"id": "in"})
        if request.path.endswith("/content"):
            return 200, {}, kept[request.path.split("/")[-2]]
        state = left.pop(0) if len(left) > 1 else left[0]
        done = 2 if state != "in_progress" else 0
        return json_answer({
            "id": "b", "status": state, "endpoint": "/v1/chat/completions", "input_file_id": "in",
            "output_file_id": "out", "error_file_id": "bad",
            "request_counts": {"total": 3, "completed": done, "failed": 1},
        })  # fmt: skip

    def line(number: int, status: int, body: Any) -> bytes:
        response = {"status_code": status, "body": body}
        return json.dumps({"custom_id": f"request-{number}", "response": response}).encode()

    def answer(text: str) -> Any:
        return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}

    kept["out"] = b"\n".join([line(2, 200, answer("two")), line(0, 200, answer("zero"))])
    kept["bad"] = line(1, 400, {"error": {"message": "no"}})
    return respond


def test_a_batch_from_end_to_end(server: Any, backend: Any) -> None:
    server.respond = batch_server(["validating", "in_progress", "completed", "completed"])
    batch = backend.create_batch([{"model": "m", "messages": []}] * 3, metadata={"a": "b"})
    sent = server.requests[-1].json
    assert sent["metadata"] == {"a": "b"}
    told: list[tuple[int, int]] = []
    ended = backend.wait_for_batch(
        batch["id"], interval=0.001, progress=lambda done, total: told.append((done, total))
    )
    assert ended["status"] == "completed"
    assert told == [(1, 3), (3, 3)]
    results = backend.batch_results("b")
    assert [result.custom_id for result in results] == ["request-0", "request-1", "request-2"]
    assert results[0].response.content == "zero"
    assert isinstance(results[1].error, InvalidRequestError)
    assert results[2].response.content == "two"
    again = asyncio.run(backend.abatch_results("b"))
    assert [result.custom_id for result in again] == [result.custom_id for result in results]


def test_a_batch_that_is_not_done(server: Any, backend: Any) -> None:
    server.respond = batch_server(["in_progress"])
    with pytest.raises(ApiTimeoutError, match="goes on"):
        backend.wait_for_batch("b", interval=0.001, timeout=0.01)
    with pytest.raises(ApiTimeoutError, match="goes on"):
        asyncio.run(backend.await_for_batch("b", interval=0.001, timeout=0.01))
    with pytest.raises(InvalidRequestError, match="wait_for_batch"):
        backend.batch_results("b")


@pytest.mark.parametrize("requests", [[], [3], [{"custom_id": "a", "body": {}}] * 2])
def test_wrong_batches(backend: BatchRoutes, requests: Any) -> None:
    with pytest.raises(InvalidRequestError, match="requests"):
        backend.create_batch(requests)


def test_files_are_streamed_to_disk(server: Any, backend: Any, tmp_path: Any) -> None:
    tmp_path = tmp_path / "sound"
    tmp_path.mkdir()
    server.respond = lambda request: (200, {"content-type": "audio/mpeg"}, b"\xff\xf3" * 100_000)
    path = backend.text_to_speech_file("hi", tmp_path / "a.mp3")
    assert path.read_bytes() == b"\xff\xf3" * 100_000
    assert backend.download_file("file-1", tmp_path / "b") == tmp_path / "b"
    server.respond = lambda request: json_answer({"error": {"message": "no"}}, 400)
    with pytest.raises(InvalidRequestError):
        backend.text_to_speech_file("hi", tmp_path / "c.mp3")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.mp3", "b"]
    with pytest.raises(InvalidRequestError, match="can't be written"):
        backend.text_to_speech_file("hi", tmp_path / "none" / "a.mp3")


@pytest.mark.parametrize("kind", ["text", "srt", "vtt", "json", "verbose_json"])
def test_transcription_formats(server: Any, backend: Any, tmp_path: Any, kind: str) -> None:
    body = b"1\n00:00 --> 00:01\nhi\n"
    if kind.endswith("json"):
        segments = [{"start": 0.0, "end": 1.0, "text": "hi"}]
        body = json.dumps({"text": "hi", "duration": 1.5, "segments": segments}).encode()
    server.respond = lambda request: (200, {}, body)
    sound = tmp_path / "a.mp3"
    sound.write_bytes(b"ID3xxxx")
    for file in (sound, str(sound), sound.read_bytes(), sound.open("rb"), io.BytesIO(b"ID3")):
        answer = backend.transcribe(file, response_format=kind)
        name, filename, _ = server.requests[-1].form[0]
        assert (name, filename.rpartition(".")[2]) == ("file", "mp3")
        if hasattr(file, "close"):
            file.close()
    assert "hi" in answer.text
    assert answer.duration == (1.5 if kind.endswith("json") else None)
    assert answer.backend == "openai"


def wrong_files(folder: Any) -> list[Any]:
    (folder / "empty.mp3").write_bytes(b"")
    (folder / "text.txt").write_bytes(b"text")
    return [
        folder / "none.mp3",
        folder,
        folder / "empty.mp3",
        folder / "text.txt",
        b"",
        b"no sound at all",
        io.StringIO("text"),
        None,
        ("big.mp3", bytes(26 * 1024 * 1024)),
    ]


def test_files_that_will_not_do(backend: Any, server: Any, tmp_path: Any) -> None:
    for file in wrong_files(tmp_path):
        with pytest.raises(InvalidRequestError, match="file"):
            backend.transcribe(file)
    for image in (b"no image", [], ("a.gif", b"GIF89a")):
        with pytest.raises(InvalidRequestError, match="image"):
            backend.edit_image(image, "p")
    for text in ("", "  ", None):
        with pytest.raises(InvalidRequestError):
            backend.text_to_speech(text)
        with pytest.raises(InvalidRequestError):
            backend.generate_image(text)
    assert server.requests == []


def test_answers_that_are_none(server: Any, backend: Any) -> None:
    server.respond = lambda request: json_answer({"hello": "world"})
    for attempt in (
        lambda: backend.transcribe(b"ID3"),
        lambda: backend.generate_image("x"),
        lambda: backend.moderate("x"),
        lambda: backend.respond("x"),
        lambda: backend.upload_file(b"x"),
        lambda: backend.complete("x"),
        lambda: backend.text_to_speech("x"),
    ):
        with pytest.raises(InvalidResponseError):
            attempt()


# -- the Responses API -----------------------------------------------------------------------------


def test_an_answer_goes_back_with_its_reasoning(server: Any, backend: Any) -> None:
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": ""},
    ]
    raw = {"id": "r", "object": "response", "status": "completed", "output": output}
    server.respond = lambda request: json_answer(raw)
    answer = backend.respond("hi", tools=[{"type": "function", "function": {"name": "f"}}])
    assert answer.finish_reason == "tool_calls"
    assert server.requests[-1].json["tools"] == [{"type": "function", "name": "f"}]
    result = {"role": "tool", "tool_call_id": "c1", "content": "4"}
    backend.respond(["hi", answer, result][1:], max_tokens=20, reasoning_effort="low")
    sent = server.requests[-1].json
    assert sent["input"][:2] == output
    assert sent["input"][2] == {"type": "function_call_output", "call_id": "c1", "output": "4"}
    assert (sent["max_output_tokens"], sent["reasoning"]) == (20, {"effort": "low"})


def test_a_stream_of_the_responses_api_that_fails(server: Any, backend: Any) -> None:
    failed = {"error": {"code": "rate_limit_exceeded", "message": "slow down"}, "status": "failed"}
    server.respond = lambda request: sse_answer(
        {"type": "response.failed", "response": failed}, done=False
    )
    with pytest.raises(RateLimitError, match="slow down"):
        backend.stream_respond("hi")


def test_messages_become_items(server: Any, backend: Any) -> None:
    raw = {"id": "r", "object": "response", "status": "completed", "output": []}
    server.respond = lambda request: json_answer(raw)
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
    ]
    said = {"role": "assistant", "content": "b", "tool_calls": [call("c", "f", "{}")]}
    backend.respond([{"role": "user", "content": parts}, said])
    assert server.requests[-1].json["input"] == [
        {"role": "user", "content": [
            {"type": "input_text", "text": "a"},
            {"type": "input_image", "image_url": "https://x/y.png", "detail": "low"},
        ]},
        {"role": "assistant", "content": "b"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["openai", "openai_mini", "groq"])
def test_every_async_face_takes_what_its_twin_takes(name: str) -> None:
    kind = get_backend(name)
    asynchronous = [
        member
        for member in dir(kind)
        if member[0] == "a"
        and (
            inspect.iscoroutinefunction(getattr(kind, member))
            or inspect.isasyncgenfunction(getattr(kind, member))
        )
    ]
    assert {"achat", "atranscribe", "alist_models"} <= set(asynchronous)
    for member in asynchronous:
        twin = inspect.signature(getattr(kind, member[1:]))
        assert inspect.signature(getattr(kind, member)).parameters == twin.parameters, member


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "openai"),
        ("o3-mini", "openai"),
        ("whisper-1", "openai"),
        ("llama-3.3-70b-versatile", "groq"),
        ("openai/gpt-oss-20b", "groq"),
        ("whisper-large-v3", "groq"),
    ],
)
def test_a_model_finds_its_back_end(model: str, name: str, monkeypatch: Any) -> None:
    for variable in ("OPENAI_API_KEY", "GROQ_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    found = find_compatible_backend(model, metadata={f"{name}_api_key": KEY})
    assert found is not None
    assert found.name == name
    assert found.is_compatible_model(model)
    found.close()
