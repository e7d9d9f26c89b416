"""Whatever JSON comes, it is an answer or a typed error: never a KeyError, never a TypeError."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_backends.answers import ImageResponse, ModerationResponse, Transcription
from api_backends.errors import ApiError
from api_backends.protocols.openai_audio import read_transcription
from api_backends.protocols.openai_completions import CompletionStreamReader, read_completion
from api_backends.protocols.openai_images import read_images
from api_backends.protocols.openai_moderation import read_moderation
from api_backends.protocols.openai_responses import read_response, responses_body
from api_backends.protocols.openai_responses_stream import ResponsesStreamReader
from api_backends.rate_limits import read_rate_limits
from api_backends.types import ChatCompletionResponse

ITEM_TYPES = ("message", "reasoning", "function_call", "custom_tool_call", "web_search_call", None)
STATUSES = ("completed", "incomplete", "failed", "queued", "in_progress", "cancelled", None, 3)
EVENTS = (
    "response.created", "response.output_text.delta", "response.output_item.added",
    "response.output_item.done", "response.function_call_arguments.delta",
    "response.reasoning_summary_text.delta", "response.refusal.delta", "response.completed",
    "response.incomplete", "response.failed", "response.custom_tool_call_input.delta", "error",
    "response.unheard_of", None,
)  # fmt: skip

texts = st.text(max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def objects(**fields: Any) -> Any:
    """Objects with these fields, each of them right, wrong or absent."""
    return st.fixed_dictionaries({}, optional={k: v | anything for k, v in fields.items()})


parts = st.lists(
    objects(type=st.sampled_from(["output_text", "refusal"]), text=texts, refusal=texts)
)
items = objects(
    type=st.sampled_from(ITEM_TYPES),
    content=parts,
    summary=parts,
    call_id=texts,
    id=texts,
    name=texts,
    arguments=texts,
    input=texts,
)
errors = objects(message=texts, code=texts, type=texts)
usage = objects(
    input_tokens=st.integers(),
    output_tokens=st.integers(),
    input_tokens_details=objects(cached_tokens=st.integers()),
)
responses = objects(
    id=texts,
    object=st.sampled_from(["response", "x"]),
    model=texts,
    status=st.sampled_from(STATUSES),
    output=st.lists(items, max_size=3),
    error=errors,
    incomplete_details=objects(reason=texts),
    usage=usage,
)
events = objects(
    type=st.sampled_from(EVENTS),
    response=responses,
    item=items,
    delta=texts,
    output_index=st.integers(0, 3),
    content_index=st.integers(0, 3),
    summary_index=st.integers(-1, 3),
    error=errors,
    message=texts,
)


@given(responses | anything)
def test_responses(raw: Any) -> None:
    before = json.dumps(raw)
    try:
        answer = read_response(raw, backend="x")
    except ApiError:
        return
    else:
        assert isinstance(answer, ChatCompletionResponse)
        assert answer.raw is raw
        answer.to_dict()
    assert json.dumps(raw) == before


@pytest.mark.parametrize("make", [ResponsesStreamReader, CompletionStreamReader])
@given(data=st.data())
def test_streams(make: Callable[..., Any], data: Any) -> None:
    reader = make(backend="x")
    completions = objects(id=texts, choices=st.lists(objects(text=texts, index=st.integers())))
    kinds = events if make is ResponsesStreamReader else completions
    said = ""
    try:
        for event in data.draw(st.lists(kinds | anything, max_size=8)):
            chunk = reader.read(event)
            if chunk is not None:
                said += chunk.delta
                assert chunk.text == said
        last = reader.end(True)
    except ApiError:
        assert isinstance(reader.response(), ChatCompletionResponse)
    else:
        assert last.done


READERS = [
    (lambda raw: read_images(raw, "x"), ImageResponse),
    (lambda raw: read_moderation(raw, "x"), ModerationResponse),
    (lambda raw: read_transcription(json.dumps(raw).encode(), None, "x"), Transcription),
    (lambda raw: read_completion(raw, backend="x"), ChatCompletionResponse),
]


@pytest.mark.parametrize(("read", "kind"), READERS)
@given(
    raw=objects(
        data=st.lists(objects(b64_json=texts, url=texts)),
        results=st.lists(objects(flagged=st.booleans(), categories=anything)),
        text=texts,
        duration=st.floats(),
        segments=anything,
        choices=st.lists(objects(text=texts, finish_reason=texts)),
        usage=usage,
        error=errors,
    )
    | anything
)
def test_other_answers(read: Callable[[Any], Any], kind: type, raw: Any) -> None:
    try:
        assert isinstance(read(raw), kind)
    except ApiError:
        return


@given(anything, st.dictionaries(texts, anything, max_size=3))
def test_any_input_is_a_body_or_refused(asked: Any, options: dict[str, Any]) -> None:
    try:
        body = responses_body(asked, "m", options)
    except ApiError:
        return
    else:
        assert body["model"] == "m" or "model" in options


NAMES = ["x-ratelimit-limit-tokens", "x-ratelimit-reset-tokens", "ratelimit-remaining", "date"]


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=12), max_size=4))
def test_any_headers(headers: dict[str, str]) -> None:
    for limit in read_rate_limits(headers, 0.0).values():
        assert limit.reset is None or limit.reset >= 0
