"""The library against real servers with a model that recites: what it says is known exactly."""

from __future__ import annotations

import asyncio

import pytest

from api_backends import create_api_backend
from api_backends.errors import (
    ApiConnectionError,
    ApiError,
    AuthenticationError,
    InvalidRequestError,
    MissingCredentialsError,
    StreamInterruptedError,
)

NAMES = ("hello", "system", "count", "unicode", "json", "long", "tool_call", "tool_result")
WITHOUT_TOOLS = ("hello", "system", "count", "unicode", "json", "long")


class Served:
    """A back end pointed at a real server, and what the server's model recites."""

    def __init__(self, backend, server):
        self.backend = backend
        self.model = server.model
        self.known = server.conversations

    def options(self, name):
        tools = self.known[name]["tools"]
        return {"max_tokens": 400, "temperature": 0, **({"tools": tools} if tools else {})}


@pytest.fixture
def llama(llama_server):
    metadata = {"openai_api_key": llama_server.key, "openai_api_url": llama_server.url}
    with create_api_backend("openai", metadata=metadata) as backend:
        yield Served(backend, llama_server)


@pytest.fixture
def transformers(transformers_serve):
    metadata = {"opea_api_url": transformers_serve.url, "max_concurrent_requests": 1}
    with create_api_backend("opea", metadata=metadata) as backend:
        yield Served(backend, transformers_serve)


@pytest.fixture(params=["llama", "transformers"])
def served(request):
    return request.getfixturevalue(request.param)


def check(response, item):
    assert response.content == item["content"]
    assert response.implementation_type == "(REAL)"
    assert response.attempts >= 1  # a server that is still warming up may need two
    assert response.latency > 0
    if "tool_call" in item:
        assert response.finish_reason == "tool_calls"
        (call,) = response.tool_calls
        called = {"name": call.name, "arguments": call.parsed_arguments()}
        assert called == item["tool_call"]
    else:
        assert response.finish_reason == "stop"
        assert response.tool_calls == []


@pytest.mark.parametrize("name", NAMES)
def test_chat(served, name):
    item = served.known[name]
    response = served.backend.chat(item["messages"], served.model, **served.options(name))
    check(response, item)
    assert response.usage.prompt_tokens == item["tokens"]["prompt"]
    assert response.usage.completion_tokens > 0


@pytest.mark.parametrize("name", NAMES)
def test_stream(served, name):
    item = served.known[name]
    stream = served.backend.stream_chat(item["messages"], served.model, **served.options(name))
    chunks = list(stream)
    check(stream.response(), item)
    assert "".join(chunk.delta for chunk in chunks) == item["content"]
    assert chunks[-1].text == item["content"]
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage.prompt_tokens == item["tokens"]["prompt"]
    assert served.backend.active_requests == 0


def test_async_and_submit_say_the_same(served):
    item = served.known["unicode"]

    async def both():
        answer = await served.backend.achat(item["messages"], served.model, max_tokens=400)
        pieces = [
            chunk.delta
            async for chunk in served.backend.astream_chat(
                item["messages"], served.model, max_tokens=400
            )
        ]
        return answer.content, "".join(pieces)

    assert asyncio.run(both()) == (item["content"], item["content"])
    future = served.backend.submit(item["messages"], served.model, max_tokens=400)
    assert future.result(60).content == item["content"]


def test_many_callers_get_their_own_answers(llama):
    names = [WITHOUT_TOOLS[i % len(WITHOUT_TOOLS)] for i in range(30)]
    futures = [
        llama.backend.submit(llama.known[name]["messages"], llama.model, **llama.options(name))
        for name in names
    ]
    for name, future in zip(names, futures, strict=True):
        assert future.result(120).content == llama.known[name]["content"]
    stats = llama.backend.get_stats()
    assert stats["successful_requests"] == 30
    assert stats["failed_requests"] == 0


def test_leaving_a_stream_early_frees_its_place(llama):
    item = llama.known["long"]
    with llama.backend.stream_chat(item["messages"], llama.model, max_tokens=400) as stream:
        first = next(stream)
        assert llama.backend.active_requests == 1
        assert item["content"].startswith(first.text)
    assert llama.backend.active_requests == 0
    assert item["content"].startswith(stream.response().content)


def test_tells_that_it_is_there(served):
    # transformers serve lists what is in the hub's cache, which may be nothing.
    assert isinstance(served.backend.list_models(), list)
    assert served.backend.test_endpoint() is True


def test_lists_models(llama):
    assert llama.model in [model["id"] for model in llama.backend.list_models()]


def test_raw_json_in_and_out(llama):
    body = {"messages": llama.known["hello"]["messages"], "max_tokens": 400}
    raw = llama.backend.make_post_request({"model": llama.model, **body})
    assert raw["choices"][0]["message"]["content"] == llama.known["hello"]["content"]
    handler = llama.backend.create_endpoint_handler(model=llama.model)
    assert handler(body)["choices"] == raw["choices"]
    events = list(llama.backend.make_stream_request({"model": llama.model, **body}))
    said = [e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"]]
    assert "".join(said) == llama.known["hello"]["content"]


def test_structured_output(llama):
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    response = llama.backend.chat(
        llama.known["json"]["messages"],
        llama.model,
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert response.content.lstrip().startswith("{")


def test_wrong_key(llama_server):
    metadata = {"openai_api_key": "wrong-key-123456", "openai_api_url": llama_server.url}
    with create_api_backend("openai", metadata=metadata) as backend:
        with pytest.raises(AuthenticationError) as caught:
            backend.chat("Hello", llama_server.model)
        assert caught.value.status_code == 401
        assert "wrong-key-123456" not in repr(caught.value) + str(caught.value.body)


def test_refused_requests(served):
    with pytest.raises(ApiError) as caught:
        served.backend.chat("Hello", served.model, tools=[{"type": "nonsense"}], max_retries=0)
    assert isinstance(caught.value, InvalidRequestError) or caught.value.status_code >= 400


def test_server_that_went_away():
    with create_api_backend(
        "openai",
        metadata={
            "openai_api_key": "k",
            "openai_api_url": "http://127.0.0.1:9",
            "max_retries": 1,
            "initial_retry_delay": 0.01,
        },
    ) as backend:
        assert backend.test_endpoint() is False
        with pytest.raises(ApiConnectionError, match=r"127\.0\.0\.1:9.*reached"):
            backend.chat("Hello")


def test_errors_are_told_apart(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with create_api_backend("openai") as backend, pytest.raises(MissingCredentialsError):
        backend.chat("Hello")
    assert issubclass(StreamInterruptedError, ApiError)
