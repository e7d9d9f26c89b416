"""The Gemini back end against a server that records what it gets."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers.recording_server import Recorded, RecordingServer, json_answer, sse_answer

from api_backends import create_api_backend
from api_backends.errors import (
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    InvalidResponseError,
    MissingCredentialsError,
    ModelNotFoundError,
    RateLimitError,
    StreamInterruptedError,
)
from api_backends.gemini import Gemini

KEY = "AIzaSyTestKeyOfNobody0123456789"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


def answer(*parts: Any, finish: str = "STOP", **more: Any) -> dict[str, Any]:
    content = {"parts": list(parts), "role": "model"}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
    candidate = {"content": content, "finishReason": finish, "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "responseId": "r1", **more}


@contextmanager
def talking(respond: Callable[[Recorded], Any]) -> Iterator[tuple[Gemini, RecordingServer]]:
    with RecordingServer(respond) as server:
        metadata = {"gemini_api_key": KEY, "api_base": server.url, "max_retries": 0}
        with Gemini(metadata=metadata) as backend:
            yield backend, server


def test_the_key_goes_into_a_header_and_nowhere_else() -> None:
    with talking(lambda r: json_answer(answer({"text": "Hi"}))) as (backend, server):
        reply = backend.chat("Hello")
        assert reply.content == reply["content"] == "Hi"
        assert reply.backend == "gemini"
        assert reply.model == "gemini-2.5-flash"
        assert KEY not in repr(backend) + str(backend.get_stats())
    sent = server.requests[0]
    assert sent.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert sent.headers["x-goog-api-key"] == KEY
    assert "authorization" not in sent.headers
    assert KEY not in sent.path + sent.body.decode()


def test_names_of_models_make_safe_paths() -> None:
    with Gemini(metadata={"gemini_api_key": KEY}) as backend:
        paths = {
            "models/gemini-2.5-pro": "/models/gemini-2.5-pro:generateContent",
            "tunedModels/mine-1": "/tunedModels/mine-1:generateContent",
            "a?key=b#c": "/models/a%3Fkey%3Db%23c:generateContent",
        }
        for model, path in paths.items():
            assert backend.chat_path(model, stream=False) == path
        for model in ("../files", "models/../../x", "models/"):
            with pytest.raises(InvalidRequestError, match="model"):
                backend.chat("Hi", model)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://generativelanguage.googleapis.com/v1beta"),
        ({"gemini_api_url": "http://h:1/"}, "http://h:1/v1beta"),
        ({"api_base": "http://h:1/v1"}, "http://h:1/v1"),
        ({"api_base": "http://h:1/v1beta/models"}, "http://h:1/v1beta"),
    ],
)
def test_base_urls(settings: dict[str, Any], url: str) -> None:
    with Gemini(metadata={"google_api_key": KEY, **settings}) as backend:
        assert backend.get_endpoint("default")["endpoint_url"] == url


def test_no_key_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with Gemini() as backend, pytest.raises(MissingCredentialsError, match="GEMINI_API_KEY"):
        backend.chat("Hi")


CALL = {"functionCall": {"name": "now", "args": {"zone": "utc"}}, "thoughtSignature": "c2ln"}
TOOLS = [{"type": "function", "function": {"name": "now"}}]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("as_dictionary", [False, True])
def test_thought_signatures_come_back_with_their_calls(streams: bool, as_dictionary: bool) -> None:
    def respond(request: Recorded) -> Any:
        done = "functionResponse" in request.body.decode()
        said = answer({"text": "noon"}) if done else answer(CALL)
        return sse_answer(said, done=False) if "alt=sse" in request.path else json_answer(said)

    with talking(respond) as (backend, server):
        history: list[Any] = [{"role": "user", "content": "What time is it?"}]
        if streams:
            first = backend.stream_chat(history, "gemini-3-pro-preview", tools=TOOLS).response()
        else:
            first = backend.chat(history, "gemini-3-pro-preview", tools=TOOLS)
        assert first.finish_reason == "tool_calls"
        (call,) = first.tool_calls
        assert call.parsed_arguments() == {"zone": "utc"}
        if as_dictionary:
            function = {"name": call.name, "arguments": call.arguments}
            calls = [{"id": call.id, "type": "function", "function": function}]
            history.append({"role": "assistant", "content": None, "tool_calls": calls})
        else:
            history.append(first)
        history.append({"role": "tool", "tool_call_id": call.id, "content": "12:00"})
        assert backend.chat(history, "gemini-3-pro-preview", tools=TOOLS).content == "noon"
    turns = server.requests[-1].json["contents"]
    assert turns[1] == {"role": "model", "parts": [CALL]}
    response = {"name": "now", "response": {"result": "12:00"}}
    assert turns[2] == {"role": "user", "parts": [{"functionResponse": response}]}


def test_a_call_of_another_model_gets_the_signature_that_the_manual_names() -> None:
    function = {"name": "now", "arguments": "{}"}
    history = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": function}], "content": None},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ]
    with talking(lambda r: json_answer(answer({"text": "1"}))) as (backend, server):
        backend.chat(history, "gemini-3-flash")
        backend.chat(history, "gemini-2.5-flash")
    third, second = (r.json["contents"][1]["parts"][0] for r in server.requests)
    assert third["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in second


def test_streams_of_both_framings_and_a_whole_answer() -> None:
    events = [answer({"text": "a"}), answer({"text": "b"})]
    del events[0]["candidates"][0]["finishReason"]
    forms = [
        sse_answer(*events, done=False),
        json_answer(events),
        json_answer(answer({"text": "ab"})),
    ]
    with talking(lambda r: forms[len(server.requests) - 1]) as (backend, server):
        for _ in forms:
            with backend.stream_chat("Hi") as stream:
                chunks = list(stream)
            assert "".join(chunk.delta for chunk in chunks) == "ab"
            assert chunks[-1].done
            assert chunks[-1].finish_reason == "stop"
            assert stream.response().usage.total_tokens == 7
            assert stream.response().raw["candidates"][0]["content"]["parts"] == [{"text": "ab"}]
        assert backend.get_stats()["successful_requests"] == 3


def test_an_error_inside_of_a_stream() -> None:
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    first = answer({"text": "so far"})
    del first["candidates"][0]["finishReason"]
    with talking(lambda r: sse_answer(first, error, done=False)) as (backend, _):
        stream = backend.stream_chat("Hi")
        with pytest.raises(StreamInterruptedError) as caught:
            list(stream)
    assert caught.value.partial is not None
    assert caught.value.partial.content == "so far"
    assert caught.value.status_code == 503


@pytest.mark.parametrize("streams", [False, True])
def test_a_blocked_prompt_is_an_answer_with_its_reason(streams: bool) -> None:
    rating = {"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "HIGH"}
    raw = {
        "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": [rating]},
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
    }
    reply = sse_answer(raw, done=False) if streams else json_answer(raw)
    with talking(lambda r: reply) as (backend, _):
        said = backend.stream_chat("Hi").response() if streams else backend.chat("Hi")
    assert (said.content, said.finish_reason) == ("", "content_filter")
    assert said.refusal == "SAFETY (HARM_CATEGORY_HATE_SPEECH: HIGH)"
    assert said.usage.prompt_tokens == 4


def google_error(code: int, message: str, **more: Any) -> Any:
    return json_answer({"error": {"code": code, "message": message, **more}}, code)


def test_errors_are_of_their_kind() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    cases = [
        (
            google_error(400, f"API key not valid: {KEY}", details=[info]),
            AuthenticationError,
            "GEMINI_API_KEY",
        ),
        (
            google_error(404, "models/x-1.5 is not found for API version v1beta"),
            ModelNotFoundError,
            "list_models",
        ),
        (
            google_error(
                400, "The input token count (9) exceeds the maximum number of tokens allowed (8)."
            ),
            ContextLengthError,
            "Shorten",
        ),
        (google_error(400, "Unknown name"), InvalidRequestError, "Unknown name"),
        ((200, {"content-type": "text/html"}, b"<html>hi</html>"), InvalidResponseError, "web"),
    ]
    for reply, kind, words in cases:
        with talking(lambda r, reply=reply: reply) as (backend, _):
            with pytest.raises(kind, match=words) as caught:
                backend.chat("Hi")
            assert type(caught.value) is kind
            assert KEY not in str(caught.value) + repr(caught.value.body)
            assert caught.value.backend == "gemini"


@pytest.mark.parametrize(
    ("quota", "lasts"),
    [("GenerateRequestsPerDayPerProjectPerModel-FreeTier", True), ("TokensPerMinute", False)],
)
def test_a_used_up_quota_is_told_from_a_limit_that_passes(quota: str, lasts: bool) -> None:
    details = [
        {"@type": "…QuotaFailure", "violations": [{"quotaId": quota}]},
        {"@type": "…RetryInfo", "retryDelay": "34.4s"},
    ]
    reply = google_error(429, "You exceeded your current quota", details=details)
    with talking(lambda r: reply) as (backend, _), pytest.raises(RateLimitError) as caught:
        backend.chat("Hi")
    assert caught.value.retry_after == 34.4
    assert caught.value.code == quota
    assert caught.value.is_transient is not lasts


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"user": "me"}, "user"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "schema"),
        ({"tools": [{"type": "retrieval"}]}, "retrieval"),
        ({"tools": [{"type": "function"}]}, r"tools\[0\]"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"stream": True}, "stream"),
        ({"stream_options": {"x": 1}}, "stream_options.x"),
        ({"audio": {"voice": "Kore", "format": "mp3"}}, "audio.format"),
        ({"modalities": ["smell"]}, "modalities"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
        ({"temperature": float("nan")}, "temperature"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"reasoning_effort": "low", "thinking_budget": 3}, "reasoning_effort"),
        ({"web_search_options": {"search_context_size": "low"}}, "search_context_size"),
        ({"generationConfig": 3}, "generationConfig"),
    ],
)
def test_what_gemini_cannot_honour_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with talking(lambda r: json_answer(answer({"text": "?"}))) as (backend, server):
        with pytest.raises(InvalidRequestError, match=named):
            backend.chat("Hi", **options)
        assert server.requests == []


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "high", {"thinkingBudget": 24576}),
        ("gemini-2.5-pro", "none", None),
        ("gemini-3-pro-preview", "minimal", {"thinkingLevel": "LOW"}),
        ("gemini-3-flash", "minimal", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-flash", "none", None),
        ("gemini-flash-latest", "medium", {"thinkingLevel": "MEDIUM"}),
        ("gemini-2.0-flash", "low", None),
        ("gemma-3-27b-it", "low", None),
    ],
)
def test_reasoning_effort_by_generation(model: str, effort: str, config: Any) -> None:
    with Gemini(metadata={"gemini_api_key": KEY}) as backend:
        messages = [{"role": "user", "content": "Hi"}]
        if config is None:
            with pytest.raises(InvalidRequestError, match="reasoning_effort"):
                backend.chat_body(messages, model, {"reasoning_effort": effort}, stream=False)
            return
        body = backend.chat_body(messages, model, {"reasoning_effort": effort}, stream=False)
        assert body["generationConfig"] == {"thinkingConfig": config}


def part(kind: str, value: Any) -> list[Any]:
    return [{"role": "user", "content": [{"type": kind, kind: value}]}]


def url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        (part("image_url", {"url": url("image/gif", b"GIF89a" + bytes(16))}), "image/gif"),
        (part("image_url", {"url": url("image/png", b"no image")}), "not an image"),
        (part("input_audio", {"data": "AAAA", "format": "midi"}), "midi"),
        (part("file", {"file_data": "AAAA"}), "filename"),
        (part("file", {"file_data": "AAAA", "filename": "a.zip"}), "zip"),
        (part("hologram", {}), "hologram"),
        ([{"role": "system", "content": "alone"}], "system prompts alone"),
        ([{"role": "wizard", "content": "x"}], "role"),
        ([{"role": "tool", "tool_call_id": "x", "content": "1"}], "tool_call_id"),
        ([{"role": "user", "content": "x", "name": "Ann"}], "name"),
        (
            [
                {"role": "user", "content": "x"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{no"}}],
                },
            ],
            "arguments",
        ),
    ],
)
def test_messages_that_gemini_cannot_take(messages: Any, named: str) -> None:
    with (
        Gemini(metadata={"gemini_api_key": KEY}) as backend,
        pytest.raises(InvalidRequestError, match=named),
    ):
        backend.chat(messages)


def test_more_than_a_request_carries_is_refused() -> None:
    big = base64.b64encode(b"%PDF-" + bytes(51 * 1024 * 1024)).decode()
    with (
        Gemini(metadata={"gemini_api_key": KEY}) as backend,
        pytest.raises(InvalidRequestError, match="upload_file"),
    ):
        backend.chat(part("file", {"filename": "a.pdf", "file_data": big}))


def test_embeddings_one_and_many() -> None:
    def respond(request: Recorded) -> Any:
        if request.path.endswith(":embedContent"):
            return json_answer({"embedding": {"values": [1, 0]}})
        texts = [r["content"]["parts"][0]["text"] for r in request.json["requests"]]
        usage = {"promptTokenCount": len(texts)}
        vectors = [{"values": [float(text), 1]} for text in texts]
        return json_answer({"embeddings": vectors, "usageMetadata": usage})

    with talking(respond) as (backend, server):
        one = backend.embed("hi", dimensions=2, task_type="retrieval_query")
        assert one.embeddings.tolist() == [[1, 0]]
        many = backend.embed([str(n) for n in range(250)])
        assert many.embeddings[:, 0].tolist() == list(range(250))
        assert many.usage.prompt_tokens == 250
        assert len(many.raw["embeddings"]) == 250
        again = asyncio.run(backend.aembed([str(n) for n in range(101)]))
        assert again.embeddings.shape == (101, 2)
        with pytest.raises(InvalidRequestError, match="task_type"):
            backend.embed("hi", task_type="poetry")
        with pytest.raises(InvalidRequestError, match="dimensions"):
            backend.embed("hi", dimensions="many")
    assert server.requests[0].json == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "hi"}]},
        "outputDimensionality": 2,
        "taskType": "RETRIEVAL_QUERY",
    }
    assert [len(r.json.get("requests", [0])) for r in server.requests] == [1, 100, 100, 50, 100, 1]


def test_counting_tokens() -> None:
    with talking(lambda r: json_answer({"totalTokens": 12})) as (backend, server):
        assert backend.count_tokens("Hello") == 12
        system = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
        assert asyncio.run(backend.acount_tokens(system, "gemini-3-flash", timeout=5)) == 12
    plain, whole = (r.json for r in server.requests)
    assert plain == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    assert whole["generateContentRequest"]["model"] == "models/gemini-3-flash"
    assert whole["generateContentRequest"]["systemInstruction"] == {"parts": [{"text": "s"}]}


def test_models_have_ids() -> None:
    models = {"models": [{"name": "models/gemini-2.5-pro", "inputTokenLimit": 9}]}
    with talking(lambda r: json_answer(models)) as (backend, _):
        assert backend.list_models()[0]["id"] == "gemini-2.5-pro"
        assert backend.test_endpoint()
        assert backend.is_compatible_model("gemini-2.5-flash")
        assert not backend.is_compatible_model("gpt-4o")


def test_asking_about_an_image(tmp_path: Path) -> None:
    file = tmp_path / "cat.png"
    file.write_bytes(PNG)
    with talking(lambda r: json_answer(answer({"text": "a cat"}))) as (backend, server):
        for image in (file, str(file), PNG, io.BytesIO(PNG), url("image/png", PNG)):
            assert backend.process_image(image, "What?", max_tokens=9).content == "a cat"
        backend.process_image("https://example.com/cat.webp", "What?")
        (tmp_path / "empty.png").touch()
        for bad in (tmp_path / "empty.png", tmp_path / "missing.png", b"GIF89a" + bytes(9), b"x"):
            with pytest.raises(InvalidRequestError):
                backend.process_image(bad, "What?")
    *inline, by_address = [r.json["contents"][0]["parts"] for r in server.requests]
    data = {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}
    assert inline == [[{"inlineData": data}, {"text": "What?"}]] * 5
    assert by_address[0]["fileData"]["mimeType"] == "image/webp"


class FileStore:
    """The resumable protocol: takes pieces, and once breaks off in the middle."""

    def __init__(self) -> None:
        self.data = b""
        self.url = ""
        self.failures = 0

    def __call__(self, request: Recorded) -> Any:
        command = request.headers.get("x-goog-upload-command")
        if command == "start":
            return 200, {"x-goog-upload-url": f"{self.url}/up?upload_id=1"}, b""
        if command == "query":
            return 200, {"x-goog-upload-size-received": str(len(self.data))}, b""
        if command is not None:
            if self.failures and self.data:
                self.failures -= 1
                return google_error(503, "try again")
            assert int(request.headers["x-goog-upload-offset"]) == len(self.data)
            self.data += request.body
            if command == "upload, finalize":
                return json_answer({"file": {"name": "files/a-1", "state": "ACTIVE"}})
            return 200, {}, b""
        if request.method == "DELETE":
            return 200, {}, b""
        if "pageToken=2" in request.path:
            return json_answer({"files": [{"name": "files/b"}]})
        if "pageSize" in request.path:
            return json_answer({"files": [{"name": "files/a-1"}], "nextPageToken": "2"})
        return json_answer({"name": "files/a-1", "state": "ACTIVE"})


def test_files_are_uploaded_in_pieces_and_taken_up_again(tmp_path: Path) -> None:
    content = bytes(range(256)) * (70 * 1024)  # 17.5 MiB: three pieces
    file = tmp_path / "talk.mp4"
    file.write_bytes(content)
    store = FileStore()
    store.failures = 1
    with RecordingServer(store) as server:
        store.url = server.url
        metadata = {"gemini_api_key": KEY, "api_base": server.url, "initial_retry_delay": 0.01}
        with Gemini(metadata=metadata) as backend:
            assert backend.upload_file(file)["name"] == "files/a-1"
            assert backend.get_file("files/a-1")["state"] == "ACTIVE"
            assert backend.get_file("https://h/v1beta/files/a-1")["state"] == "ACTIVE"
            assert [f["name"] for f in backend.list_files()] == ["files/a-1", "files/b"]
            assert len(asyncio.run(backend.alist_files())) == 2
            assert backend.delete_file("a-1") == {}
            for bad in ("", "files/../x", None):
                with pytest.raises(InvalidRequestError, match="name"):
                    backend.get_file(bad)  # type: ignore[arg-type]
    assert store.data == content
    start, *rest = server.requests
    assert start.path == "/upload/v1beta/files"
    assert start.headers["x-goog-upload-header-content-type"] == "video/mp4"
    assert start.headers["x-goog-upload-header-content-length"] == str(len(content))
    assert start.json == {"file": {"displayName": "talk.mp4"}}
    uploads = [r for r in rest if r.path.startswith("/up?")]
    assert [r.headers["x-goog-upload-command"] for r in uploads] == [
        "upload", "upload", "query", "upload", "upload, finalize",
    ]  # fmt: skip
    assert not any("x-goog-api-key" in r.headers for r in uploads)
    assert not any(KEY in r.path for r in server.requests)


def test_what_can_not_be_uploaded(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with Gemini(metadata={"gemini_api_key": KEY}) as backend:
        for bad in (tmp_path / "empty.txt", tmp_path / "missing.txt", 3, b"what is it"):
            with pytest.raises(InvalidRequestError, match="file"):
                backend.upload_file(bad)
        with pytest.raises(InvalidRequestError, match="mime_type"):
            backend.upload_file(b"x", mime_type="nonsense")
        with pytest.raises(InvalidRequestError, match="colour"):
            backend.upload_file(b"x", mime_type="text/plain", colour=1)


def test_googles_own_json_in_and_out() -> None:
    said = answer({"executableCode": {"code": "1"}}, {"text": "1"})

    def respond(request: Recorded) -> Any:
        return sse_answer(said, done=False) if "alt=sse" in request.path else json_answer(said)

    data = {"model": "gemini-2.5-pro", "contents": [{"parts": [{"text": "Hi"}]}]}
    with talking(respond) as (backend, server):
        assert backend.make_post_request(data) == said
        assert list(backend.make_stream_request(data)) == [said]
        handler = backend.create_endpoint_handler(temperature=0.5)
        assert handler("Hi") == said
        assert handler({"contents": data["contents"]}) == said
        assert asyncio.run(handler.acall("Hi")) == said
    paths = [r.path.split("/")[-1] for r in server.requests]
    assert paths[:2] == [
        "gemini-2.5-pro:generateContent",
        "gemini-2.5-pro:streamGenerateContent?alt=sse",
    ]
    assert server.requests[0].json == server.requests[1].json == {"contents": data["contents"]}
    assert server.requests[2].json["generationConfig"] == {"temperature": 0.5}
    assert "model" not in server.requests[3].body.decode()


def test_by_name() -> None:
    with create_api_backend("gemini", metadata={"gemini_api_key": KEY}) as backend:
        assert type(backend) is Gemini
        assert json.dumps(backend.capabilities.names())
