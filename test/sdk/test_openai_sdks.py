"""What the official SDKs send, and what we send for the same conversation: the same bodies."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from conversations import GROQ, OPENAI, RESPONSES
from servers.recording_server import Recorded, RecordingServer, json_answer, sse_answer

from api_backends import create_api_backend

KEY = "sk-recording-0123456789"
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "completed",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "ok", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}


def respond(request: Recorded) -> Any:
    if request.path.endswith("/responses"):
        if request.json.get("stream"):
            return sse_answer({"type": "response.completed", "response": RESPONSE}, done=False)
        return json_answer(RESPONSE)
    if request.path.endswith("/chat/completions"):
        if request.json.get("stream"):
            event = {**CHAT, "object": "chat.completion.chunk"}
            event["choices"] = [{"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}]
            return sse_answer(event)
        return json_answer(CHAT)
    if "/audio/speech" in request.path:
        return 200, {"content-type": "audio/mpeg"}, b"\xff\xf3\x00"
    if "/audio/" in request.path:
        return json_answer({"text": "ok"})
    if "/images/" in request.path:
        return json_answer({"created": 1, "data": [{"b64_json": "aGk="}]})
    if "/moderations" in request.path:
        verdict = {"flagged": False, "categories": {}, "category_scores": {}}
        return json_answer({"id": "modr-1", "model": "m", "results": [verdict]})
    if "/embeddings" in request.path:
        data = [{"index": 0, "object": "embedding", "embedding": "AACAPw=="}]
        return json_answer({"object": "list", "model": "m", "data": data, "usage": CHAT["usage"]})
    return json_answer({"id": "file-1", "object": "file", "bytes": 1, "created_at": 1,
                        "filename": "a", "purpose": "batch", "status": "processed"})  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Any:
    with RecordingServer(respond) as running:
        yield running


@pytest.fixture(scope="module")
def openai_sdk(server: RecordingServer) -> Any:
    openai = pytest.importorskip(
        "openai", reason="the official SDK is not installed: pip install openai"
    )
    with openai.OpenAI(api_key=KEY, base_url=server.url + "/v1", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def groq_sdk(server: RecordingServer) -> Any:
    groq = pytest.importorskip("groq", reason="the official SDK is not installed: pip install groq")
    with groq.Groq(api_key=KEY, base_url=server.url, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def openai_backend(server: RecordingServer) -> Any:
    with create_api_backend("openai", metadata={"api_key": KEY, "api_base": server.url}) as made:
        yield made


@pytest.fixture(scope="module")
def groq_backend(server: RecordingServer) -> Any:
    with create_api_backend("groq", metadata={"api_key": KEY, "api_base": server.url}) as made:
        yield made


def normalized(request: Recorded) -> tuple[str, str, str, Any]:
    body = request.json
    # We ask for the token counts of a stream; the SDKs leave that to their callers.
    if body.get("stream_options") == {"include_usage": True}:
        del body["stream_options"]
    if body.get("stream") is False:
        del body["stream"]
    return request.method, request.path, request.headers["authorization"], body


def compare(server: RecordingServer) -> None:
    theirs, ours = server.requests[-2:]
    assert normalized(ours) == normalized(theirs)


def check_chat(server: RecordingServer, sdk: Any, backend: Any, conversation: Any) -> None:
    messages, options = conversation
    before = json.dumps(messages)
    stream = options.get("stream", False)
    theirs = sdk.chat.completions.create(model="m", messages=messages, **options)
    if stream:
        list(theirs)
        rest = {name: value for name, value in options.items() if name != "stream"}
        assert backend.stream_chat(messages, "m", **rest).response().content == "ok"
    else:
        assert backend.chat(messages, "m", **options).content == "ok"
    compare(server)
    assert json.dumps(messages) == before


def test_there_are_forty_each() -> None:
    assert len(OPENAI) == 40
    assert len(GROQ) == 40


@pytest.mark.parametrize("conversation", OPENAI, ids=range(len(OPENAI)))
def test_openai(server: Any, openai_sdk: Any, openai_backend: Any, conversation: Any) -> None:
    check_chat(server, openai_sdk, openai_backend, conversation)


@pytest.mark.parametrize("conversation", GROQ, ids=range(len(GROQ)))
def test_groq(server: Any, groq_sdk: Any, groq_backend: Any, conversation: Any) -> None:
    check_chat(server, groq_sdk, groq_backend, conversation)


@pytest.mark.parametrize("conversation", RESPONSES, ids=range(len(RESPONSES)))
def test_responses(server: Any, openai_sdk: Any, openai_backend: Any, conversation: Any) -> None:
    asked, options = conversation
    theirs = openai_sdk.responses.create(model="m", input=asked, **options)
    if options.get("stream"):
        list(theirs)
        assert openai_backend.stream_respond(asked, "m").response().content == "ok"
    else:
        assert openai_backend.respond(asked, "m", **options).content == "ok"
    compare(server)


def form_of(request: Recorded) -> Any:
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    return request.method, request.path, sorted(request.form, key=str)


WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)


def test_forms(server: Any, openai_sdk: Any, groq_sdk: Any, openai_backend: Any,
               groq_backend: Any) -> None:  # fmt: skip
    sdk, ours = openai_sdk, openai_backend
    named = ("a.wav", WAV)
    words = {"response_format": "verbose_json", "timestamp_granularities": ["word"]}
    pairs = [
        (
            lambda: sdk.audio.transcriptions.create(file=named, model="whisper-1", **words),
            lambda: ours.transcribe(named, "whisper-1", **words),
        ),
        (
            lambda: sdk.audio.translations.create(file=named, model="whisper-1", temperature=0.5),
            lambda: ours.translate_audio(named, "whisper-1", temperature=0.5),
        ),
        (
            lambda: groq_sdk.audio.transcriptions.create(file=named, model="w", language="de"),
            lambda: groq_backend.transcribe(named, "w", language="de"),
        ),
        (
            lambda: sdk.images.edit(image=("a.png", PNG), prompt="p", model="m", n=2),
            lambda: ours.edit_image(("a.png", PNG), "p", "m", n=2),
        ),
        (
            lambda: sdk.images.edit(image=[("a.png", PNG), ("b.png", PNG)], prompt="p", model="m"),
            lambda: ours.edit_image([("a.png", PNG), ("b.png", PNG)], "p", "m"),
        ),
        (
            lambda: sdk.images.create_variation(image=("a.png", PNG), model="m", size="256x256"),
            lambda: ours.vary_image(("a.png", PNG), "m", size="256x256"),
        ),
        (
            lambda: sdk.files.create(file=("a.txt", io.BytesIO(b"hi")), purpose="user_data"),
            lambda: ours.upload_file(("a.txt", io.BytesIO(b"hi")), "user_data"),
        ),
    ]
    for theirs, mine in pairs:
        theirs()
        mine()
        assert form_of(server.requests[-1]) == form_of(server.requests[-2])


def test_other_routes(server: Any, openai_sdk: Any, openai_backend: Any) -> None:
    sdk, ours = openai_sdk, openai_backend
    pairs = [
        (
            lambda: sdk.audio.speech.create(input="hi", model="tts-1", voice="nova", speed=1.5),
            lambda: ours.text_to_speech("hi", "nova", "tts-1", speed=1.5),
        ),
        (
            lambda: sdk.images.generate(prompt="a cat", model="dall-e-3", size="1024x1024"),
            lambda: ours.generate_image("a cat", "dall-e-3", size="1024x1024"),
        ),
        (
            lambda: sdk.moderations.create(input=["a", "b"], model="omni-moderation-latest"),
            lambda: ours.moderate(["a", "b"]),
        ),
        (
            lambda: sdk.embeddings.create(input=["a"], model="e", dimensions=1),
            lambda: ours.embed("a", "e", dimensions=1),
        ),
        (
            lambda: sdk.batches.create(
                input_file_id="file-1", endpoint="/v1/responses", completion_window="24h"
            ),
            lambda: ours.create_batch("file-1", "/v1/responses"),
        ),
    ]
    for theirs, mine in pairs:
        theirs()
        mine()
        compare(server)
    for theirs, mine in [
        (lambda: sdk.files.retrieve("file-1"), lambda: ours.retrieve_file("file-1")),
        (lambda: sdk.files.delete("file-1"), lambda: ours.delete_file("file-1")),
        (lambda: sdk.files.content("file-1"), lambda: ours.file_content("file-1")),
        (lambda: sdk.batches.retrieve("b"), lambda: ours.retrieve_batch("b")),
    ]:
        theirs()
        mine()
        sent = [(request.method, request.path) for request in server.requests[-2:]]
        assert sent[0] == sent[1]
