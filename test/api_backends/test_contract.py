"""What every back end that is built has in common, whatever it speaks."""

from __future__ import annotations

import inspect
import queue
import threading

import pytest

from api_backends import get_backend
from api_backends.registry import ROWS, is_built

METHODS = (
    "chat", "stream_chat", "achat", "astream_chat", "submit", "make_post_request",
    "make_stream_request", "create_endpoint_handler", "test_endpoint", "is_compatible_model",
    "get_default_model", "get_api_key", "list_models", "create_endpoint", "get_endpoint",
    "update_endpoint", "remove_endpoint", "list_endpoints", "make_request_with_endpoint",
    "get_stats", "reset_stats", "close", "__enter__", "__exit__",
)  # fmt: skip
CHATTING = [
    row.name for row in ROWS if is_built(row.name) and get_backend(row.name).capabilities.chat
]
STATS = (
    "backend", "total_requests", "successful_requests", "failed_requests", "retried_requests",
    "prompt_tokens", "completion_tokens", "total_tokens", "cost", "active_requests",
    "queued_requests", "circuit_state", "latency", "queue_wait", "errors", "endpoints",
)  # fmt: skip


@pytest.fixture(params=CHATTING)
def backend(request):
    with get_backend(request.param)() as made:
        yield made


def test_methods_with_types_and_documentation(backend):
    for name in METHODS:
        function = getattr(type(backend), name)
        assert callable(function)
        if not name.startswith("__"):
            assert inspect.getdoc(function), name
            assert inspect.signature(function).return_annotation is not inspect.Signature.empty


def test_limits_are_those_of_the_contract(backend):
    assert (backend.max_concurrent_requests, backend.queue_size) == (5, 100)
    assert (backend.max_retries, backend.initial_retry_delay) == (5, 1.0)
    assert (backend.backoff_factor, backend.max_retry_delay) == (2.0, 16.0)
    (endpoint,) = backend.all_endpoints()
    policy = endpoint.breaker.policy
    assert (policy.failure_threshold, policy.reset_timeout) == (5, 30.0)
    assert isinstance(backend.request_queue, queue.Queue)
    assert isinstance(backend.queue_lock, type(threading.RLock()))
    assert backend.active_requests == 0
    assert backend.queue_processor is None
    assert backend.circuit_state == "CLOSED"


def test_stats_are_plain_data(backend):
    stats = backend.get_stats()
    assert set(STATS) <= set(stats)
    assert set(stats["latency"]) == {"p50", "p90", "p99"}
    per_endpoint = backend.get_stats(backend.list_endpoints()[0])
    assert per_endpoint["total_requests"] == 0


def test_its_own_default_model_suits_it(backend):
    model = backend.get_default_model()
    assert model is None or backend.is_compatible_model(model)


def test_base_url_without_trailing_slash(backend):
    (endpoint,) = backend.all_endpoints()
    assert endpoint.url.startswith(type(backend).default_url.rstrip("/"))
    assert not endpoint.url.endswith("/")
