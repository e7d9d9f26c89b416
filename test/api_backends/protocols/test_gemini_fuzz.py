"""Whatever JSON comes: the right answer or a typed error, never another exception."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api_backends.errors import ApiError, InvalidRequestError
from api_backends.protocols.gemini_answer import read_chat, signatures_in
from api_backends.protocols.gemini_embeddings import read_embeddings
from api_backends.protocols.gemini_errors import error_from, error_in
from api_backends.protocols.gemini_events import GeminiStreamParser
from api_backends.protocols.gemini_schema import gemini_schema
from api_backends.protocols.gemini_stream import GeminiStreamReader

NAMES = [
    "candidates", "content", "parts", "text", "thought", "functionCall", "name", "args", "id",
    "partialArgs", "jsonPath", "stringValue", "willContinue", "finishReason", "index", "error",
    "usageMetadata", "promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "details",
    "promptFeedback", "blockReason", "safetyRatings", "responseId", "modelVersion", "message",
    "thoughtSignature", "citationMetadata", "embedding", "embeddings", "values", "status", "code",
    "executableCode", "retryDelay", "violations", "quotaId", "reason",
]  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "STOP", "SAFETY", "48s", "$.a[0].b", "$.a[3]", "{}", "{", "files/a"])
    | st.text(max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=20,
)
ANSWER: dict[str, Any] = {
    "candidates": [
        {
            "content": {
                "parts": [
                    {"text": "thinking", "thought": True},
                    {"text": "Hello", "thoughtSignature": "c2ln"},
                    {"functionCall": {"name": "f", "args": {"x": [1]}, "id": "a"}},
                    {"functionCall": {"name": "g", "willContinue": True}},
                    {
                        "functionCall": {
                            "partialArgs": [{"jsonPath": "$.a[0].b", "stringValue": "v"}]
                        }
                    },
                ],
                "role": "model",
            },
            "finishReason": "STOP",
            "index": 0,
            "safetyRatings": [{"category": "C", "probability": "HIGH"}],
            "citationMetadata": {"citationSources": [{"uri": "u"}]},
        }
    ],
    "promptFeedback": {"safetyRatings": []},
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
    "responseId": "r",
    "modelVersion": "m",
}
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"allOf": [{"type": "integer"}, {"exclusiveMinimum": 2}]}},
    "definitions": {"d": {"const": 3}},
    "$ref": "#/definitions/d",
}


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values inside of a value."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return [way, *(found for key, item in inner for found in places(item, (*way, key)))]


def mutated(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    if not way:
        return new
    changed = copy.deepcopy(value)
    holder = changed
    for step in way[:-1]:
        holder = holder[step]
    holder[way[-1]] = new
    return changed


def almost(value: Any) -> st.SearchStrategy[Any]:
    """A value with up to three of its places filled with something else."""
    change = st.tuples(st.integers(0, 10_000), JSON)

    def apply(changes: list[tuple[int, Any]]) -> Any:
        result = value
        for number, new in changes:
            ways = places(result)
            result = mutated(result, ways[number % len(ways)], new)
        return result

    return st.lists(change, min_size=1, max_size=3).map(apply)


def check_answer(read: Any, *arguments: Any) -> None:
    try:
        answer = read(*arguments)
    except ApiError:
        return
    assert isinstance(answer.content, str)
    assert answer.finish_reason is None or isinstance(answer.finish_reason, str)
    assert answer.usage.total_tokens >= 0
    ids = [call.id for call in answer.tool_calls]
    assert all(isinstance(identity, str) and identity for identity in ids)
    for call in answer.tool_calls:
        assert isinstance(call.name, str)
        assert isinstance(call.arguments, str)
    json.dumps(answer.to_dict())


@settings(max_examples=400)
@given(JSON | almost(ANSWER))
def test_an_answer_of_any_shape(raw: Any) -> None:
    before = copy.deepcopy(raw)
    check_answer(read_chat, raw)
    if isinstance(raw, dict):
        signatures_in(raw)
    assert raw == before


def read_events(events: list[Any]) -> Any:
    reader = GeminiStreamReader(keep_signature=lambda identity, signature: None)
    text, so_far = "", reader.response()
    assert so_far.finish_reason is None
    for event in events:
        chunk = reader.read(event)
        if chunk is not None:
            text += chunk.delta
            assert chunk.text == text
    last = reader.end(saw_done=False)
    answer = reader.response()
    assert last.done
    assert (last.text, answer.content) == (text, text)
    assert last.finish_reason == answer.finish_reason
    return answer


@settings(max_examples=400)
@given(st.lists(JSON | almost(ANSWER), max_size=4))
def test_a_stream_of_any_events(events: list[Any]) -> None:
    before = copy.deepcopy(events)
    check_answer(read_events, events)
    assert events == before


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b",", b"data: ", b"\n", b"\r", b"x"]),
        max_size=30,
    ),
    st.booleans(),
)
def test_bytes_of_any_kind(pieces: list[bytes], is_one: bool) -> None:
    parser = GeminiStreamParser()
    with suppress(ApiError):
        for piece in [b"".join(pieces)] if is_one else pieces:
            parser.feed(piece)
        parser.end()


@given(st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=5), st.data())
def test_an_array_is_cut_into_its_objects(objects: list[Any], data: st.DataObject) -> None:
    raw = json.dumps(objects, indent=data.draw(st.sampled_from([None, 1]))).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    parser = GeminiStreamParser()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        found.extend(parser.feed(raw[start:end]))
    assert [json.loads(event) for _, event in [*found, *parser.end()]] == objects


ERROR = {
    "error": {
        "code": 429,
        "message": "You exceeded your current quota. Please retry in 3.5s.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "t", "violations": [{"quotaId": "PerMinute"}], "reason": "r"},
            {"@type": "t", "retryDelay": "48s"},
        ],
    }
}


@settings(max_examples=300)
@given(
    st.sampled_from([200, 400, 401, 403, 404, 429, 500, 503]),
    JSON | almost(ERROR) | almost(ERROR).map(json.dumps) | almost([ERROR]),
)
def test_an_error_of_any_shape(status: int, body: Any) -> None:
    error = error_from(status, {}, body, backend="fuzz", model="m")
    assert isinstance(error, ApiError)
    assert str(error)
    assert error.retry_after is None or error.retry_after >= 0
    assert isinstance(error_in(body), ApiError | None)


@given(JSON | almost({"embeddings": [{"values": [0.5, 1]}, {"values": [2, 3]}]}), st.integers(1, 3))
def test_embeddings_of_any_shape(raw: Any, count: int) -> None:
    try:
        answer = read_embeddings(raw, count)
    except ApiError:
        return
    assert answer.embeddings.shape[0] == count


@settings(max_examples=200)
@given(JSON | almost(PARAMETERS))
def test_a_schema_of_any_shape(schema: Any) -> None:
    before = copy.deepcopy(schema)
    with suppress(InvalidRequestError):
        json.dumps(gemini_schema(schema, "tools[0]"))
    assert schema == before
