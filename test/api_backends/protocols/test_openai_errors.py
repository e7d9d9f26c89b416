from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_backends import errors as e
from api_backends.protocols.openai_errors import error_from, error_in, mask_keys


def error(message: Any, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "cls"),
    [
        (400, error("temperature must be below 2"), e.InvalidRequestError),
        (401, error("Invalid API Key", code="invalid_api_key"), e.AuthenticationError),
        (402, error("Insufficient Balance"), e.RateLimitError),
        (403, error("not allowed to sample from this model"), e.PermissionDeniedError),
        (404, {"detail": "Not Found"}, e.NotFoundError),
        (404, error("The model `x` does not exist."), e.ModelNotFoundError),
        (404, error('model "x" not found, try pulling it first'), e.ModelNotFoundError),
        (400, error("no", code="model_decommissioned"), e.ModelNotFoundError),
        (400, error("x", param="model"), e.ModelNotFoundError),
        (404, error("x", code="DeploymentNotFound"), e.ModelNotFoundError),
        (408, None, e.ApiTimeoutError),
        (409, error("locked"), e.InvalidRequestError),
        (413, "Payload Too Large", e.InvalidRequestError),
        (422, {"detail": [{"loc": ["body", "x"], "msg": "Field required"}]}, e.InvalidRequestError),
        (429, error("Rate limit reached"), e.RateLimitError),
        (500, "", e.ServerError),
        (502, "<html><title>Bad Gateway</title></html>", e.ServerError),
        (503, {"error": "Loading model"}, e.OverloadedError),
        (529, None, e.OverloadedError),
        (400, error("maximum context length is 8 tokens"), e.ContextLengthError),
        (400, error("x", code="context_length_exceeded"), e.ContextLengthError),
        (413, error("the prompt is too long for this model"), e.ContextLengthError),
        (500, error("context size exceeded: context window is 512"), e.ContextLengthError),
        (400, error("prompt is too long: 9 tokens > 8 maximum"), e.ContextLengthError),
        (400, error("Input length 9 exceeds the maximum"), e.ContextLengthError),
        (400, error("x", code="content_filter"), e.ContentFilterError),
        (403, error("Content violates usage guidelines"), e.ContentFilterError),
        (400, error("rejected as a result of our safety system. Your request was rejected"), None),
        (302, "", e.InvalidResponseError),
    ],
)
def test_class_by_status_and_words(status: int, body: Any, cls: type[e.ApiError] | None) -> None:
    found = error_from(status, {}, body, backend="b", model="m")
    if cls is not None and status != 302:
        assert type(found) is cls
    assert (found.backend, found.model) == ("b", "m")
    assert found.status_code == (status if status >= 400 else 500)
    assert len(str(found)) < 520


@pytest.mark.parametrize(
    ("body", "cls"),
    [
        (error("a", code=400), e.InvalidRequestError),
        (error("a", code="401"), e.AuthenticationError),
        (error("a", status_code=429), e.RateLimitError),
        (error("a", type="rate_limit_error"), e.RateLimitError),
        (error("a", type="overloaded_error"), e.OverloadedError),
        (error("a", type="BadRequestError"), e.InvalidRequestError),
        ({"error": "Error code: 429 - slow down"}, e.RateLimitError),
        ({"error": "CUDA out of memory"}, e.ServerError),
        ({"error": {}, "message": "hi", "code": 404}, e.NotFoundError),
        (error(None, code=None), e.ServerError),
    ],
)
def test_errors_under_a_success_status(body: Any, cls: type[e.ApiError]) -> None:
    found = error_in(body, backend="b")
    assert type(found) is cls


@pytest.mark.parametrize(
    "body", [None, [], "error", {"choices": []}, {"choices": [{}]}, {"error": None}, {"usage": {}}]
)
def test_no_error(body: Any) -> None:
    assert error_in(body) is None


def test_what_passes_by_itself() -> None:
    def transient(status: int, body: Any = None) -> bool:
        return error_from(status, {}, body, backend="b").is_transient

    assert [s for s in (400, 401, 403, 404, 422) if transient(s)] == []
    assert [s for s in (408, 409, 429, 500, 502, 503, 504, 529) if not transient(s)] == []
    assert not transient(402)
    assert not transient(429, error("quota", code="insufficient_quota"))
    assert transient(429, error("exceeded your current quota", status="RESOURCE_EXHAUSTED"))
    assert not transient(500, error("image input is not supported"))


def test_fields_and_message() -> None:
    body = error("Too fast", type="requests", code="rate_limit_exceeded")
    found = error_from(429, {"x-request-id": "req_1"}, body, backend="groq")
    assert (found.error_type, found.code) == ("requests", "rate_limit_exceeded")
    assert (found.request_id, found.body) == ("req_1", body)
    assert str(found).startswith("groq answered 429 requests: Too fast. Wait and try again")
    quota = error_from(429, {}, error("x", code="insufficient_quota"), backend="openai")
    assert "Add credit" in str(quota)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "flat"}, "flat"),
        ({"code": "Some entity", "error": "the text"}, "the text"),
        ({"message": "flat message", "type": "invalid"}, "flat message"),
        ({"detail": "why"}, "why"),
        ({"detail": [{"loc": ["body", 0], "msg": "needed"}, "odd"]}, "body.0: needed; odd"),
        ({"detail": {"message": "inner"}}, "inner"),
        ([error("in a list")], "in a list"),
        ({"error": ["one", "two"]}, "one; two"),
        ("plain text", "plain text"),
        (b"bytes \xff", "bytes"),
        ('{"error": {"message": "json in text"}}', "json in text"),
        (None, "no explanation"),
        ("", "no explanation"),
        ({"error": {"code": 5}}, '"code": 5'),
    ],
)
def test_the_providers_words_are_found(body: Any, said: str) -> None:
    assert said in str(error_from(400, {}, body, backend="b"))


def test_what_stands_behind_a_router_is_said() -> None:
    raw = json.dumps({"error": {"message": "Developer instruction is not enabled"}})
    body = error("Provider returned error", code=400, metadata={"raw": raw, "provider_name": "G"})
    found = error_from(400, {}, body, backend="openrouter")
    assert "(G): Developer instruction is not enabled" in str(found)
    plain = error("Provider returned error", metadata={"raw": "slow down"})
    assert "slow down" in str(error_from(429, {}, plain, backend="openrouter"))


def test_a_web_page_is_named_not_shown() -> None:
    page = "<!DOCTYPE html><html><head><title>404 Not Found</title></head>" + "<p>x</p>" * 5000
    found = error_from(404, {}, page, backend="b")
    assert "'404 Not Found'" in str(found)
    assert "base URL" in str(found)
    assert "<p>" not in str(found)
    assert len(found.body) <= 2000


KEYS = [
    "sk-proj-abcDEF123456",
    "gsk_abc123DEF456",
    "xai-abcdef123456",
    "hf_abcDEF123",
    "AIzaSyA1234567",
]


@pytest.mark.parametrize("key", KEYS)
def test_no_key_is_repeated(key: str) -> None:
    said = f"Incorrect API key provided: {key}. You can find your key at example.com"
    found = error_from(401, {}, error(said, nested=[{"header": f"Bearer {key}"}]), backend="b")
    assert key not in str(found)
    assert key not in json.dumps(found.body)
    assert "You can find your key" in str(found)
    assert key not in mask_keys(f"loose {key} in a text")


def test_keys_without_a_known_shape() -> None:
    for said in (
        "Incorrect API key provided: test-key.",
        "Your api key: ****-key is invalid",
        "Authorization: Bearer 0123abc",
        '{"x-api-key": "0123abc"}',
    ):
        masked = mask_keys(said)
        assert "***" in masked
        assert not any(key in masked for key in ("test-key", "****-key", "0123abc"))
    assert (
        mask_keys("Invalid API key provided for model x") == "Invalid API key provided for model x"
    )
    for said in ("model hf-internal-testing/tiny", "xai-org/grok-1", "the sk-learn package"):
        assert mask_keys(said) == said
    assert mask_keys("max_tokens: 5 is too large") == "max_tokens: 5 is too large"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "msg",
                    "code",
                    "type",
                    "status",
                    "param",
                    "metadata",
                    "raw",
                    "detail",
                    "loc",
                    "object",
                    "choices",
                    "x_groq",
                    "provider_name",
                    "error_type",
                    "status_code",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(st.integers(100, 599), st.one_of(json_values, st.text(), st.binary()))
def test_any_body_becomes_a_short_typed_error(status: int, body: Any) -> None:
    before = copy.deepcopy(body)
    found = error_from(status, {}, body, backend="b")
    assert isinstance(found, e.ApiError)
    assert len(str(found)) < 520
    assert isinstance(found.error_type, (str, type(None)))
    assert isinstance(found.code, (str, type(None)))
    error_in(body)
    assert body == before


def test_a_body_nested_beyond_reason() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    for body in ({"error": {"message": "m", "x": deep}}, {"error": {"x": deep}}, {"detail": deep}):
        assert isinstance(error_from(500, {}, body, backend="b").body, dict)
    assert isinstance(error_from(500, {}, "[" * 100_000, backend="b"), e.ServerError)
