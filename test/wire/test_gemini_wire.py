"""Every recorded exchange with Gemini, on Google's own API and on Vertex, through the library."""

from __future__ import annotations

import copy
import json
import random
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gemini_oracle import expected_answer, expected_error
from gemini_streams import body_bytes, chat_stream, events_of
from recordings import exchanges

from api_backends.errors import ApiError, InvalidResponseError, StreamInterruptedError
from api_backends.protocols.gemini_answer import read_chat
from api_backends.protocols.gemini_embeddings import read_embeddings
from api_backends.protocols.gemini_errors import error_from
from api_backends.protocols.openai_stream import chunks_of

if TYPE_CHECKING:
    from api_backends.types import ChatCompletionResponse, StreamChunk

PROVIDERS = ["gemini", "vertex"]
APIS = ["generateContent", "streamGenerateContent"]
DIFFERENCES = Path(__file__).resolve().parents[2] / "docs" / "wire_differences_gemini.md"

pytestmark = pytest.mark.real("recorded traffic")


def facts_of(answer: ChatCompletionResponse) -> dict[str, Any]:
    usage = answer.usage
    return {
        "id": answer.id,
        "model": answer.model,
        "content": answer.content,
        "reasoning": answer.reasoning or "",
        "calls": [(call.name, call.parsed_arguments()) for call in answer.tool_calls],
        "reason": answer.finish_reason,
        "usage": (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
        ),
        "has_reason": bool(answer.refusal),
    }


def check_calls(answer: ChatCompletionResponse, given: list[str | None]) -> None:
    """Every call has an id: Gemini's, or one of ours that no other call has."""
    ids = [call.id for call in answer.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert [i for i, g in zip(ids, given, strict=True) if g] == [g for g in given if g]


def check_chunks(chunks: list[StreamChunk], answer: ChatCompletionResponse) -> None:
    """What the chunks of a stream say piece by piece is what the whole answer says."""
    text = ""
    for chunk in chunks:
        text += chunk.delta
        assert chunk.text == text
    assert text == answer.content
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage == answer.usage
    assert chunks[-1].finish_reason == answer.finish_reason
    # Gemini says STOP also where it goes on, so that only the last chunk can say it.
    assert not any(chunk.finish_reason for chunk in chunks[:-1])
    assert "".join(chunk.reasoning or "" for chunk in chunks) == (answer.reasoning or "")
    pieces = [piece for chunk in chunks for piece in chunk.tool_calls or []]
    assert [piece.index for piece in pieces] == list(range(len(answer.tool_calls)))
    assert [(p.id, p.name, p.arguments) for p in pieces] == [
        (call.id, call.name, call.arguments) for call in answer.tool_calls
    ]


def read_whole(exchange: dict[str, Any]) -> ChatCompletionResponse:
    body = exchange["response_body"]
    answer = read_chat(body, backend="wire")
    assert answer.raw is body
    check_chunks(chunks_of(answer), answer)
    return answer


def read_stream(exchange: dict[str, Any]) -> ChatCompletionResponse:
    stream = chat_stream([body_bytes(exchange)]).prime()
    chunks = list(stream)
    answer = stream.response()
    check_chunks(chunks, answer)
    # The answer put together is one that reads the same.
    again = read_chat(answer.raw, backend="wire")
    assert facts_of(again) == facts_of(answer)
    assert [call.id for call in again.tool_calls] == [call.id for call in answer.tool_calls]
    return answer


def difference(exchange: dict[str, Any]) -> str | None:
    """How the library's reading of an exchange differs from the oracle's, None where it doesn't."""
    status, body = exchange["status"] or 200, exchange["response_body"]
    untouched = copy.deepcopy(body)
    found: Any
    if status >= 400:
        expected: Any = expected_error(status, body)
        found = error_from(status, exchange["response_headers"] or {}, body, backend="wire")
        assert len(str(found)) <= 700
        assert status == found.status_code
    else:
        is_stream = exchange["api"] == "streamGenerateContent"
        expected = expected_answer(*(events_of(exchange) if is_stream else [body]))
        try:
            found = read_stream(exchange) if is_stream else read_whole(exchange)
        except ApiError as error:
            found = error
    assert body == untouched
    if isinstance(found, ApiError):
        if isinstance(expected, type):
            return None if type(found) is expected else f"{found!r} instead of {expected}"
        # A stream that never says that it ended is one that broke off.
        cut = expected["reason"] is None and isinstance(found, StreamInterruptedError)
        return None if cut else f"{found!r} instead of an answer"
    if isinstance(expected, type):
        return f"an answer instead of {expected}"
    check_calls(found, expected.pop("call_ids"))
    facts = facts_of(found)
    wrong = [f"{k}: {facts[k]!r} instead of {v!r}" for k, v in expected.items() if facts[k] != v]
    return "; ".join(wrong) or None


def listed_differences(provider: str) -> set[str]:
    """The ids that the document names."""
    text = DIFFERENCES.read_text(encoding="utf-8")
    return set(re.findall(rf"^\| ({provider}-[0-9a-f]{{10}}) \|", text, re.MULTILINE))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_recorded_answer_is_read_right(
    provider: str, recorded_traffic: Path, record_property: Any
) -> None:
    read, wrong = 0, {}
    for api in APIS:
        for exchange in exchanges(recorded_traffic, provider, api):
            read += 1
            problem = difference(exchange)
            if problem is not None:
                wrong[exchange["id"]] = problem[:500]
    record_property("answers", f"{read - len(wrong)} of {read}")
    print(f"{provider}: {read - len(wrong)} of {read} answers read right")
    assert read > 200
    listed = listed_differences(provider)
    assert {i: p for i, p in wrong.items() if i not in listed} == {}
    assert listed <= set(wrong), f"these are right now: take them off {DIFFERENCES.name}"
    assert len(wrong) <= read * 0.005


def test_recorded_embeddings_are_read_right(recorded_traffic: Path) -> None:
    read = 0
    for exchange in exchanges(recorded_traffic, "gemini", "embeddings"):
        body = exchange["response_body"]
        if exchange["status"] != 200:
            error = error_from(exchange["status"], {}, body, backend="wire")
            assert type(error) is expected_error(exchange["status"], body)
            continue
        vectors = [e["values"] for e in body.get("embeddings") or [body["embedding"]]]
        if any(not isinstance(value, float | int) for vector in vectors for value in vector):
            continue  # elided by its recorder
        answer = read_embeddings(body, len(vectors), backend="wire")
        assert answer.embeddings.shape == (len(vectors), len(vectors[0]))
        assert np.abs(answer.embeddings - np.array(vectors)).max() < 1e-6
        with pytest.raises(InvalidResponseError):
            read_embeddings(body, len(vectors) + 1, backend="wire")
        read += 1
    assert read > 15


def test_the_429s_say_when_to_return(recorded_traffic: Path) -> None:
    waits = [
        error_from(429, {}, exchange["response_body"], backend="wire").retry_after
        for exchange in exchanges(recorded_traffic, "gemini", "generateContent")
        if exchange["status"] == 429
    ]
    assert sorted(w for w in waits if w is not None) == [34.4, 48.0]


def streams_to_cut(folder: Path, count: int) -> list[dict[str, Any]]:
    """Streams of each kind, the shorter ones: SSE with LF and CRLF, arrays, calls, thoughts."""
    found: dict[str, list[dict[str, Any]]] = {}
    for provider in PROVIDERS:
        for exchange in exchanges(folder, provider, "streamGenerateContent"):
            size = len(body_bytes(exchange))
            if (exchange["status"] or 200) != 200 or not 400 < size < 9000:
                continue
            whole = expected_answer(*events_of(exchange))
            if isinstance(whole, type) or whole["reason"] is None:
                continue
            body = exchange["response_body"]
            kind = type(body).__name__ + str("\r\n" in body) + str("functionCall" in str(body))
            kind += str("executableCode" in str(body)) + str('"thought": true' in str(body))
            if str(body).count("finishReason") > 1 and "executableCode" not in str(body):
                continue  # Vertex of old, where every event said STOP: a cut looks like an end
            found.setdefault(kind, []).append(exchange)
    chosen: list[dict[str, Any]] = []
    while len(chosen) < count and any(found.values()):
        chosen.extend(kind.pop() for kind in found.values() if kind)
    return chosen[:count]


def outcome(pieces: list[bytes], *, is_framed: bool = False) -> tuple[str, str, Any]:
    """How a stream ended, with which text, and its facts where it is whole."""
    text: str | None = None
    try:
        stream = chat_stream(pieces, is_framed=is_framed).prime()
        text = ""
        for chunk in stream:
            text += chunk.delta
        answer = stream.response()
    except StreamInterruptedError as error:
        partial, answer = error.partial, None
    if answer is None:
        assert partial is not None
        assert text is None or partial.content == text
        return "interrupted", partial.content, facts_of(partial)
    assert answer.content == text
    return "whole", answer.content, {**facts_of(answer), "raw": answer.raw}


def test_a_stream_cut_anywhere_is_whole_or_gives_its_text_so_far(recorded_traffic: Path) -> None:
    chosen = streams_to_cut(recorded_traffic, 20)
    assert len(chosen) == 20
    for exchange in chosen:
        data = body_bytes(exchange)
        whole = outcome([data])
        assert whole[0] == "whole"
        texts = [""]
        for count in range(1, len(events_of(exchange)) + 1):
            so_far = expected_answer(*events_of(exchange)[:count])
            assert isinstance(so_far, dict)
            texts.append(so_far["content"])
        before = 0
        for end in range(len(data)):
            found = outcome([data[:end]])
            if found[0] == "whole":
                assert found == whole, (exchange["id"], end)
            else:
                # Exactly the text of the events that came; never less than at the cut before.
                assert found[1] in texts, (exchange["id"], end)
                assert len(found[1]) >= before
                before = len(found[1])
                assert found[2]["reason"] in (None, whole[2]["reason"])


def test_chunks_of_any_size_read_the_same(recorded_traffic: Path, seed: int) -> None:
    draw = random.Random(seed)
    for exchange in streams_to_cut(recorded_traffic, 60):
        data = body_bytes(exchange)
        whole = outcome([data])
        assert outcome([data[i : i + 1] for i in range(len(data))]) == whole
        for _ in range(5):
            cuts = sorted(draw.randrange(len(data)) for _ in range(draw.randrange(1, 40)))
            edges = [0, *cuts, len(data)]
            pieces = [data[a:b] for a, b in pairwise(edges)]
            assert outcome(pieces, is_framed=draw.random() < 0.5) == whole


def test_streams_are_cut_inside_of_characters_too() -> None:
    event = {
        "candidates": [
            {"content": {"parts": [{"text": "größer ✅ 日本 🎉"}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
    }
    for data in (
        f"data: {json.dumps(event, ensure_ascii=False)}\r\n\r\n".encode(),
        json.dumps([event], ensure_ascii=False).encode(),
    ):
        for end in range(len(data)):
            assert outcome([data[:end], data[end:]])[1] == "größer ✅ 日本 🎉"
            assert outcome([data[:end]])[0] in ("interrupted", "whole")
