"""What may be set, how it may be spelled, and what is said of what may not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_backends import create_api_backend
from api_backends.errors import ConfigurationError
from api_backends.opea import OPEA
from api_backends.openai_api import OpenAI
from api_backends.sample_backend import SampleBackend
from api_backends.settings import base_url, check_number, snake_case
from api_backends.suggestions import suggestion


def url_of(backend):
    (endpoint,) = backend.list_endpoints()
    return backend.get_endpoint(endpoint)["endpoint_url"]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"openai_api_ky": "k"}, "did you mean 'openai_api_key'"),
        ({"max_concurent_requests": 3}, "did you mean 'max_concurrent_requests'"),
        ({"timeuot": 3}, "did you mean 'timeout'"),
        ({"circuit_breaker": {"failure_treshold": 3}}, "did you mean 'failure_threshold'"),
        ({"endpoints": [{"endpoint_ulr": "http://x"}]}, "did you mean 'endpoint_url'"),
        ({"endpoint_selection_strategy": "round-robbin"}, "did you mean 'round-robin'"),
        ({"prices": {"m": {"inptu": 1}}}, "did you mean 'input'"),
        ({5: "x"}, "no setting 5"),
        ({"endpoints": [{5: "x"}]}, "no setting 5"),
    ],
)
def test_what_is_misspelt_is_told_and_the_right_word_too(metadata, said):
    with pytest.raises(ConfigurationError) as caught:
        OpenAI(metadata=metadata)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ("text", "metadata"),
        ([1], "metadata"),
        ({"timeout": "30"}, "timeout"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": 10**400}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"max_concurrent_requests": 0}, "max_concurrent_requests"),
        ({"max_concurrent_requests": 2.5}, "max_concurrent_requests"),
        ({"queue_size": -1}, "queue_size"),
        ({"max_retries": "many"}, "max_retries"),
        ({"initial_retry_delay": -1}, "initial_retry_delay"),
        ({"backoff_factor": 0.5}, "backoff_factor"),
        ({"max_retry_delay": []}, "max_retry_delay"),
        ({"circuit_breaker": 5}, "circuit_breaker"),
        ({"circuit_breaker": {"failure_threshold": 0}}, "failure_threshold"),
        ({"circuit_breaker": {"reset_timeout": "x"}}, "reset_timeout"),
        ({"endpoints": "http://x"}, "endpoints"),
        ({"endpoints": {"endpoint_url": "http://x"}}, "endpoints"),
        ({"endpoints": [5]}, "endpoints[0]"),
        ({"endpoints": ["http://x", {"weight": 0}]}, "endpoints[1].weight"),
        ({"endpoints": [{"api_key": 5}]}, "endpoints[0].api_key"),
        ({"endpoints": ["nonsense"]}, "api_base"),
        ({"api_keys": "k"}, "api_keys"),
        ({"api_keys": [""]}, "api_keys"),
        ({"api_keys": ["a b"]}, "api_keys[0]"),
        ({"openai_api_key": 5}, "openai_api_key"),
        ({"openai_api_key": "a\nb"}, "openai_api_key"),
        ({"openai_model": 5}, "openai_model"),
        ({"api_base": 5}, "api_base"),
        ({"prices": 5}, "prices"),
        ({"prices": {"m": 5}}, "prices['m']"),
        ({"prices": {"m": {"input": "x"}}}, "prices['m'].input"),
    ],
)
def test_what_is_of_the_wrong_kind_is_named(metadata, named):
    with pytest.raises(ConfigurationError) as caught:
        OpenAI(metadata=metadata)
    assert named in str(caught.value)


def test_keys_of_other_back_ends_may_stand_beside():
    OpenAI(metadata={"groq_api_key": "a", "anthropic_api_key": "b", "hf_api_token": "c"}).close()


def test_camel_case():
    backend = OPEA(metadata={"opeaApiUrl": "http://h:1", "maxConcurrentRequests": 2})
    assert url_of(backend) == "http://h:1/v1"
    assert backend.max_concurrent_requests == 2
    assert snake_case("opeaApiUrl") == "opea_api_url"
    backend.close()


@pytest.mark.parametrize(
    ("given_url", "used"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000/v1"),
        (" http://h:8000/v1 ", "http://h:8000/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("http://h/openai/v1", "http://h/openai/v1"),
        ("http://h/v1beta", "http://h/v1beta"),
        ("http://h/proxy", "http://h/proxy/v1"),
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("http://[::1]:80", "http://[::1]:80/v1"),
    ],
)
def test_base_urls_in_every_spelling(given_url, used):
    backend = SampleBackend(metadata={"api_base": given_url})
    assert url_of(backend) == used
    backend.close()


@pytest.mark.parametrize(
    "url",
    ["", "h:8000", "ftp://h", "http://", "http://h:0x", "http://h:99999", "http://[::1", "http:h",
     "http://user:sk-secret@h", "http://h?key=sk-secret", "h?key=sk-secret", "http://h#x"],
)  # fmt: skip
def test_bad_urls_are_refused_and_show_no_key(url):
    with pytest.raises(ConfigurationError, match="api_base") as caught:
        base_url(url, SampleBackend.identity())
    assert "sk-secret" not in str(caught.value)


@given(st.text(max_size=20))
def test_any_text_is_a_url_or_a_typed_error(text):
    try:
        found = base_url(text, SampleBackend.identity())
    except ConfigurationError:
        return
    assert found.startswith(("http://", "https://"))
    assert base_url(found, SampleBackend.identity()) == found


def test_urls_and_models_come_from_the_environment_too(monkeypatch):
    monkeypatch.setenv("SAMPLE_API_URL", "http://env:1")
    monkeypatch.setenv("SAMPLE_MODEL", "env-model")
    backend = SampleBackend()
    assert (url_of(backend), backend.get_default_model()) == ("http://env:1/v1", "env-model")
    backend.close()
    backend = SampleBackend(metadata={"sample_base_url": "http://meta:1", "sample_model": "mine"})
    assert (url_of(backend), backend.get_default_model()) == ("http://meta:1/v1", "mine")
    backend.close()


def test_keys_by_argument_metadata_environment_and_file(monkeypatch, no_settings_from_outside):
    path = no_settings_from_outside / ".ipfs_api_credentials"
    path.write_text(json.dumps({"openai_api_key": "key-of-file"}))
    path.chmod(0o600)
    backend = OpenAI()
    assert backend.get_api_key() == "key-of-file"
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-env")
    assert OpenAI().get_api_key() == "key-of-env"
    assert OpenAI(metadata={"openai_api_key": "key-m"}).get_api_key() == "key-m"
    assert backend.get_api_key({"openai_api_key": "key-a"}) == "key-a"
    path.chmod(0o644)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigurationError, match="chmod 600"):
        create_api_backend("openai")


@pytest.mark.parametrize("value", [0, 1, 2.5, 10**9])
def test_numbers(value):
    assert check_number("x", value) == value
    with pytest.raises(ConfigurationError, match="x"):
        check_number("x", -1)


def test_suggestions():
    assert suggestion("grok", ["groq", "openai"]) == "; did you mean 'groq'?"
    assert suggestion("zzz", ["groq", "openai"]) == "; there are: groq, openai"
