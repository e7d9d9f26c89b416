"""The options that are the engine's, and answers of any shape: a result or a typed error."""

from __future__ import annotations

import json

import chat_wire
import pytest
import responses
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_backends.errors import ApiError, InvalidRequestError, StreamInterruptedError
from api_backends.exchange import ENGINE_OPTIONS, Control, split_options
from api_backends.sample_backend import SampleBackend
from api_backends.types import ChatCompletionResponse, EmbeddingResponse

URL = "http://api.invalid/v1"


def test_engine_options_are_taken_out_and_checked():
    options = {
        "temperature": 1, "priority": "LOW", "timeout": 3, "max_retries": 2, "endpoint_id": "e",
        "request_id": "r", "api_key": "k", "queue_full": "block", "extra_headers": {"X-A": 1},
        "extra_body": {"b": 2},
    }  # fmt: skip
    control = split_options(options)
    assert options == {"temperature": 1}
    assert control == Control("k", "e", {"b": 2}, {"x-a": "1"}, 2, 2, "block", "r", 3.0)
    assert set(Control._fields) == set(ENGINE_OPTIONS)


def test_none_is_as_good_as_absent():
    assert split_options(dict.fromkeys(ENGINE_OPTIONS)) == Control()
    assert split_options({}) is split_options({"temperature": 1})


def test_credentials_among_extra_headers_are_secrets():
    given_headers = {"Authorization": "Bearer key", "X-Api-Key": "key", "X-Trace": "seen"}
    headers = split_options({"extra_headers": given_headers}).extra_headers
    assert repr(headers) == "{'authorization': ***, 'x-api-key': ***, 'x-trace': 'seen'}"


def test_nothing_of_ours_is_sent(make):
    with responses.RequestsMock() as mock:
        mock.post(f"{URL}/chat/completions", json=chat_wire.completion())
        make(URL).chat(
            "hi", "m", temperature=0.5, top_k=3, priority="HIGH", timeout=5, request_id="r",
            max_retries=1, endpoint_id="default", api_key="k", queue_full="block",
            extra_headers={"X-Trace": "t"}, extra_body={"own": 1},
        )  # fmt: skip
        sent = mock.calls[0].request
    assert json.loads(sent.body) == {
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5,
        "top_k": 3, "own": 1,
    }  # fmt: skip
    assert sent.headers["X-Trace"] == "t"
    assert sent.headers["Authorization"] == "Bearer k"


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4),
        st.sampled_from(["stop", "tool_calls", "assistant"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([
                "id", "choices", "message", "delta", "content", "role", "tool_calls", "function",
                "name", "arguments", "index", "finish_reason", "usage", "prompt_tokens", "error",
                "code", "data", "embedding", "model", "type", "text", "detail", "reasoning",
            ]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip
SHAPED = st.one_of(
    JSON,
    st.builds(lambda m, f: {"choices": [{"message": m, "finish_reason": f}]}, JSON, JSON),
    st.builds(lambda d, u: {"choices": [{"delta": d}], "usage": u}, JSON, JSON),
    st.builds(lambda d: {"data": [{"embedding": d, "index": 0}]}, JSON),
    st.builds(lambda e: {"error": e}, JSON),
)
ANY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def outcome(function):
    """Return what a function returns, or the error of ours that it raises."""
    try:
        return function()
    except ApiError as error:
        return error


@pytest.fixture(scope="module")
def backend():
    made = SampleBackend(metadata={"api_base": URL})
    yield made
    made.close()


@ANY
@given(raw=SHAPED)
def test_any_json_is_an_answer_or_a_typed_error(backend, raw):
    for read, kind in (
        (backend.read_chat, ChatCompletionResponse),
        (lambda data: backend.read_embeddings(data, 1), EmbeddingResponse),
        (backend.read_models, list),
    ):
        found = outcome(lambda read=read: read(raw))
        assert isinstance(found, (kind, ApiError))
        assert not isinstance(found, ApiError) or len(str(found)) > 10


@ANY
@given(raw=SHAPED, status=st.sampled_from([400, 401, 404, 429, 500, 503]))
def test_any_error_body_is_a_typed_error(backend, raw, status):
    error = backend.read_error(status, {}, raw, "m")
    assert isinstance(error, ApiError)
    assert len(str(error)) > 10


@ANY
@given(events=st.lists(SHAPED, max_size=4), saw_done=st.booleans())
def test_any_events_are_chunks_or_a_typed_error(backend, events, saw_done):
    reader = backend.stream_reader({"stream": True})
    try:
        for event in events:
            reader.read(event)
        reader.end(saw_done)
    except ApiError:
        pass
    assert isinstance(reader.response(), ChatCompletionResponse)


@ANY
@given(body=st.binary(max_size=80), stream=st.booleans())
def test_any_body_is_an_answer_or_a_typed_error(body, stream):
    backend = SampleBackend(metadata={"api_base": URL, "max_retries": 0})
    with responses.RequestsMock() as mock:
        mock.post(f"{URL}/chat/completions", body=body)
        use = (lambda: list(backend.stream_chat("hi"))) if stream else (lambda: backend.chat("hi"))
        error = outcome(use)
    if isinstance(error, ApiError):
        assert error.backend == "sample_backend"
        assert error.attempts == 1
    if isinstance(error, StreamInterruptedError):
        assert error.partial is not None
    assert backend.active_requests == 0
    backend.close()


def test_lone_surrogates_are_refused(make):
    with pytest.raises(InvalidRequestError, match="JSON"):
        make(URL).chat("\ud800")
