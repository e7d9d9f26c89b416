"""Recorded answers beside chat: images, moderation, sound, completions; and Groq's own requests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from openai_oracle import expected_error, expected_usage
from recordings import exchanges, restored, stream_events

from api_backends import create_api_backend
from api_backends.errors import InvalidRequestError
from api_backends.messages import normalize_messages
from api_backends.protocols.openai_audio import read_transcription
from api_backends.protocols.openai_completions import CompletionStreamReader, read_completion
from api_backends.protocols.openai_errors import error_from
from api_backends.protocols.openai_images import read_images
from api_backends.protocols.openai_moderation import read_moderation

pytestmark = pytest.mark.real("recorded traffic")


def answers(folder: Path, api: str, *providers: str) -> Any:
    for provider in providers:
        for exchange in exchanges(folder, provider, api):
            if (exchange["status"] or 200) < 400 and "/organization/" not in exchange["url"]:
                yield exchange["response_body_kind"], exchange["response_body"]


def test_images(recorded_traffic: Path) -> None:
    read = 0
    for kind, body in answers(recorded_traffic, "images", "openai", "xai", "openai_compatible"):
        if kind != "json" or not isinstance(body, dict) or "data" not in body:
            continue
        found = read_images(body, "x")
        assert [(i.b64_json, i.url) for i in found.images] == [
            (item.get("b64_json"), item.get("url")) for item in body["data"]
        ]
        read += 1
    assert read > 20


def test_moderation(recorded_traffic: Path) -> None:
    read = 0
    for _, body in answers(recorded_traffic, "moderations", "openai"):
        found = read_moderation(body, "x")
        assert [r.flagged for r in found.results] == [r["flagged"] for r in body["results"]]
        assert found.results[0].scores == body["results"][0]["category_scores"]
        read += 1
    assert read > 10


def test_transcriptions(recorded_traffic: Path) -> None:
    import json

    read = 0
    for kind, body in answers(recorded_traffic, "audio.transcriptions", "openai", "groq"):
        if kind == "json":
            found = read_transcription(json.dumps(body).encode(), "json", "x")
            assert found.text == body["text"]
            assert found.segments == (body.get("segments") or [])
            read += 1
        elif kind == "text":
            assert read_transcription(body.encode(), "text", "x").text == body.rstrip("\n")
            read += 1
    assert read > 10


def test_completions(recorded_traffic: Path) -> None:
    read = 0
    for kind, body in answers(recorded_traffic, "completions", "openai", "openai_compatible"):
        if kind == "json" and "text" in (body.get("choices") or [{}])[0]:
            found = read_completion(body, backend="x")
            text, reason, usage = body["choices"][0]["text"], None, body.get("usage") or {}
            reason = body["choices"][0].get("finish_reason", "stop")
        elif kind == "sse":
            events, done = stream_events(body)
            reader = CompletionStreamReader(backend="x")
            for event in events:
                reader.read(event)
            reader.end(done)
            found = reader.response()
            first = [c for e in events for c in e["choices"] if c.get("index", 0) == 0]
            text = "".join(choice["text"] for choice in first)
            reason = next((c["finish_reason"] for c in reversed(first) if c["finish_reason"]), None)
            usage = next((e["usage"] for e in reversed(events) if e.get("usage")), {})
        else:
            continue
        assert (found.content, found.finish_reason) == (text, reason)
        assert found.usage.total_tokens == expected_usage(usage)[2]
        read += 1
    assert read > 40


def test_what_groq_took_we_send(recorded_traffic: Path) -> None:
    told: Counter[str] = Counter()
    with create_api_backend("groq", metadata={"api_key": "gsk_wire_0123456789"}) as backend:
        for exchange in exchanges(recorded_traffic, "groq", "chat.completions"):
            body = exchange["request_body"]
            if not isinstance(body, dict) or "messages" not in body:
                continue
            body = restored(body)
            options = {k: v for k, v in body.items() if k not in ("messages", "model", "stream")}
            stream = bool(body.get("stream"))
            if stream:
                options.setdefault("stream_options", None)
            try:
                messages = normalize_messages(body["messages"])
                sent = backend.chat_body(messages, body["model"], options, stream=stream)
            except InvalidRequestError:
                told["refused"] += 1
                assert (exchange["status"] or 200) >= 400, exchange["id"]
                continue
            if body.get("stream") is False:
                sent["stream"] = False
            assert sent == body, exchange["id"]
            told["sent"] += 1
    assert told["sent"] > 200


def test_errors_of_groq_keep_what_the_model_had_written(recorded_traffic: Path) -> None:
    seen = 0
    with create_api_backend("groq", metadata={"api_key": "gsk_wire_0123456789"}) as backend:
        for exchange in exchanges(recorded_traffic, "groq", "chat.completions"):
            status, body = exchange["status"] or 200, exchange["response_body"]
            if status < 400:
                continue
            error = backend.read_error(status, exchange["response_headers"] or {}, body, None)
            assert type(error) is expected_error(status, body)
            assert type(error) is type(error_from(status, {}, body, backend="groq"))
            seen += "failed_generation" in body["error"]
            written = body["error"].get("failed_generation")
            assert not written or "The model had written" in str(error)
    assert seen > 1
