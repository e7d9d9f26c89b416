"""The core: which endpoint answers, what happens when one is down, and who is said to have."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from api_backends import create_api_backend
from api_backends.errors import (
    ApiConnectionError,
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    MissingCredentialsError,
    ModelNotFoundError,
)
from ipfs_accelerate_py import Accelerator, ipfs_accelerate_py

MODEL = "sample-model"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch, tmp_path):
    for name in ("OPENAI_API_KEY", "OPENAI_API_URL", "OPEA_API_URL", "SAMPLE_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def accelerator(openai_standin):
    with ipfs_accelerate_py(metadata={"sample_api_url": openai_standin.url}) as made:
        yield made


def test_legacy_name_is_the_class():
    assert ipfs_accelerate_py is Accelerator


def test_a_back_end_by_name(accelerator):
    response = accelerator.process(MODEL, "say this", "sample_backend")
    assert "say this" in response.content
    assert response.backend == "sample_backend"
    assert response.implementation_type == "(REAL)"


def test_backend_slash_model(accelerator):
    response = accelerator.infer(f"sample_backend/{MODEL}", "say this")
    assert (response.backend, response.model) == ("sample_backend", MODEL)


def test_call_and_subscription_give_the_same_handler(accelerator):
    called = accelerator.endpoint_handler(MODEL, "sample_backend")
    assert accelerator.endpoint_handler[MODEL]["sample_backend"] is called
    assert accelerator.endpoint_handler(MODEL, "sample_backend") is called


def test_openvino_and_openvino_0_are_the_same_device(accelerator):
    name = "sentence-transformers/all-MiniLM-L6-v2"
    try:
        handler = accelerator.endpoint_handler(name, "openvino")
    except ConfigurationError as error:
        pytest.skip(str(error))
    assert accelerator.endpoint_handler[name]["openvino:0"] is handler


def test_async(accelerator):
    handler = accelerator.endpoint_handler(MODEL, "sample_backend")

    async def ask():
        first = await handler.acall("say this")
        second = await accelerator.process_async(MODEL, "say that", "sample_backend")
        pieces = [c.delta async for c in await handler.acall("and this", stream=True)]
        return first.content, second.content, "".join(pieces)

    first, second, third = asyncio.run(ask())
    assert "say this" in first
    assert "say that" in second
    assert "and this" in third


def test_texts_are_embedded_and_dictionaries_sent_as_they_are(accelerator):
    response = accelerator.process("sample-embedding", ["a", "b"], "sample_backend")
    assert response.embeddings.shape[0] == 2
    assert response.embeddings.dtype == np.float32
    one = accelerator.process("sample-embedding", "a", "sample_backend")
    np.testing.assert_array_equal(one.embeddings[0], response.embeddings[0])
    body = {"messages": [{"role": "user", "content": "say this"}]}
    raw = accelerator.process(MODEL, body, "sample_backend")
    assert "say this" in raw["choices"][0]["message"]["content"]


def test_stream(accelerator):
    with accelerator.process(MODEL, "say this", "sample_backend", stream=True) as stream:
        assert "say this" in "".join(chunk.delta for chunk in stream)


def test_a_url_is_an_endpoint(openai_standin):
    with ipfs_accelerate_py() as accelerator:
        response = accelerator.process(MODEL, "say this", openai_standin.url)
        assert response.backend == openai_standin.url


def test_fails_over_in_order_and_says_who_answered(openai_standin):
    with ipfs_accelerate_py() as accelerator:

        def broken(data, **options):
            raise ApiConnectionError("unplugged")

        accelerator.add_endpoint(MODEL, "mine", broken)
        accelerator.add_endpoint(MODEL, "server", openai_standin.url)
        handler = accelerator.endpoint_handler(MODEL)
        assert handler.endpoints == ["mine", "server"]
        response = handler("say this")
        assert response.backend == openai_standin.url
        assert asyncio.run(handler.acall("say this")).backend == openai_standin.url


def test_all_down_tells_of_all():
    with ipfs_accelerate_py() as accelerator:

        def unplugged(data, **options):
            raise ApiConnectionError("unplugged")

        def refusing(data, **options):
            raise AuthenticationError("not you")

        accelerator.add_endpoint(MODEL, "one", unplugged)
        accelerator.add_endpoint(MODEL, "two", refusing)
        with pytest.raises(AuthenticationError, match=r"one: unplugged; two: not you"):
            accelerator.process(MODEL, "say this")


def test_a_wrong_request_does_not_fail_over(accelerator):
    asked = []
    accelerator.add_endpoint(MODEL, "spare", lambda data, **options: asked.append(data))
    accelerator.rm_endpoint(MODEL, "spare")
    accelerator.add_endpoint(MODEL, "server", create_api_backend("sample_backend"))
    accelerator.add_endpoint(MODEL, "zzz", lambda data, **options: asked.append(data))
    with pytest.raises(InvalidRequestError, match="temperature"):
        accelerator.process(MODEL, "say this", "server", temperature=float("nan"))
    assert asked == []


def test_an_added_function_is_asked_as_it_is(accelerator):
    accelerator.add_endpoint("mine", "here", lambda data, **options: {"data": data, **options})
    assert accelerator.process("mine", "x", volume=11) == {"data": "x", "volume": 11}
    assert asyncio.run(accelerator.process_async("mine", "x")) == {"data": "x"}


def test_unknown_model_names_what_there_is(accelerator):
    with pytest.raises(ModelNotFoundError, match=r"MiniLM"):
        accelerator.process("sentence-transformers/all-MiniLM-L6", "x")
    with pytest.raises(ModelNotFoundError):
        accelerator.endpoint_handler("no-such-model", "cpu")


def test_unknown_endpoint_type_names_what_there_is(accelerator):
    with pytest.raises(ConfigurationError, match=r"cpu.*sample_backend"):
        accelerator.process(MODEL, "x", "abacus")
    with pytest.raises(ConfigurationError):
        accelerator.process(MODEL, "x", "cuda:97")


@pytest.mark.parametrize("model", ["", None, 7])
def test_a_model_is_a_name(accelerator, model):
    with pytest.raises(InvalidRequestError, match="model"):
        accelerator.process(model, "x")


def test_missing_key_is_said_not_invented():
    with ipfs_accelerate_py() as accelerator:
        described = accelerator.init_endpoints("openai/gpt-4o-mini")
        assert "OPENAI_API_KEY" in described["openai/gpt-4o-mini"][0]["needs"]
        with pytest.raises(MissingCredentialsError, match="OPENAI_API_KEY"):
            accelerator.process("openai/gpt-4o-mini", "x")


def test_init_endpoints_takes_lists_and_dictionaries(openai_standin):
    with ipfs_accelerate_py() as accelerator:
        both = accelerator.init_endpoints(
            [],
            {MODEL: [openai_standin.url]},
        )
        assert [e["type"] for e in both[MODEL]] == [openai_standin.url]
        accelerator.init_endpoints([], [("mine", "here", lambda data: "answer")])
        assert accelerator.process("mine", "x") == "answer"
        with pytest.raises(ConfigurationError, match="endpoint_list"):
            accelerator.init_endpoints([], ["mine"])


def test_query_endpoints_asks(openai_standin):
    with ipfs_accelerate_py() as accelerator:
        accelerator.add_endpoint(MODEL, "up", openai_standin.url)
        accelerator.add_endpoint(MODEL, "down", "http://127.0.0.1:9")
        (up, down) = accelerator.query_endpoints(MODEL)[MODEL]
        assert (up["reachable"], down["reachable"]) == (True, False)


def test_rm_endpoint_names_what_there_is(accelerator):
    accelerator.add_endpoint(MODEL, "mine", lambda data: data)
    with pytest.raises(ConfigurationError, match="mine"):
        accelerator.rm_endpoint(MODEL, "sample_backend")
    accelerator.rm_endpoint(MODEL, "mine")
    with pytest.raises(ModelNotFoundError):
        accelerator.process("mine", "x")


def test_status_lists_devices_backends_and_no_key(openai_standin):
    key = "sk-secret-0123456789"
    with ipfs_accelerate_py(metadata={"openai_api_key": key}) as accelerator:
        status = accelerator.status()
        ready = {backend["name"]: backend for backend in status["backends"]}
        assert len(ready) == 19
        assert ready["openai"]["ready"] is True
        assert "cpu" in [device["id"] for device in status["devices"]]
        assert key not in repr(status)
