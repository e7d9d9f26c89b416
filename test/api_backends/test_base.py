"""A back end over HTTP: faults, limits, endpoints, figures, legacy names, and no key anywhere."""

from __future__ import annotations

import concurrent.futures
import gc
import inspect
import io
import logging
import pickle
import queue
import subprocess
import sys
import threading
import time
import traceback
import weakref
from pathlib import Path

import chat_wire
import pytest
import requests
import responses
from engine_parts import our_threads
from servers import faults

from api_backends import BaseApiBackend
from api_backends.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    AuthenticationError,
    BackendClosedError,
    CircuitOpenError,
    ConfigurationError,
    InvalidRequestError,
    InvalidResponseError,
    MissingCredentialsError,
    QueueFullError,
    RateLimitError,
    ServerError,
)
from api_backends.openai_api import OpenAI
from api_backends.sample_backend import SampleBackend

KEY = "sk-test-0123456789abcdef"
MODELS = {"object": "list", "data": [{"id": "echo"}, {"id": "other"}]}


def held(gate, text="late"):
    return faults.held(chat_wire.completion(text), gate=gate)


# --- answers and faults --------------------------------------------------------------------------


def test_an_answer_says_who_gave_it(make):
    with faults.FaultServer([chat_wire.chat(headers={"x-request-id": "r1"})]) as server:
        answer = make(server.url).chat("hi", request_id=None)
    assert (answer.content, answer.finish_reason, answer.usage.total_tokens) == ("hello", "stop", 5)
    assert (answer.backend, answer.endpoint_id, answer.request_id) == (
        "sample_backend", "default", "r1",
    )  # fmt: skip
    assert (answer.attempts, answer.implementation_type) == (1, "(REAL)")
    assert 0 < answer.latency < 10
    assert answer.raw == chat_wire.completion()
    assert server.requests[0].path == "/v1/chat/completions"


PASSING = {
    "reset": faults.reset(),
    "hang up": faults.hang_up(),
    "reset mid headers": faults.reset_mid_headers(),
    "closed mid headers": faults.reset_mid_headers(end="close"),
    "garbage": faults.garbage(),
    **{str(status): faults.error(status) for status in (408, 409, 429, 500, 502, 503, 504, 529)},
}
LASTING = {
    "reset mid body": (faults.reset_mid_body(chat_wire.completion()), ApiConnectionError),
    "truncated": (faults.truncated(chat_wire.completion()), ApiConnectionError),
    "html": (faults.html(), InvalidResponseError),
    "html 404": (faults.html(404), ApiError),
    "no json": (faults.answer("hello"), InvalidResponseError),
    "empty": (faults.answer(""), InvalidResponseError),
    "a list": (faults.answer([]), InvalidResponseError),
    "null": (faults.answer(b"null"), InvalidResponseError),
    "nested": (faults.answer(b"[" * 100_000), InvalidResponseError),
    "301": (faults.redirect(301, "/elsewhere"), InvalidResponseError),
    **{
        str(status): (faults.error(status, kind="invalid_request_error"), ApiError)
        for status in (400, 401, 403, 404, 413, 422, 501)
    },
}


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("way", ["chat", "submit"])
def test_what_passes_is_tried_again(make, clock, fault, way):
    clock.chance = 0.0
    with faults.FaultServer([PASSING[fault]], then=chat_wire.chat()) as server:
        backend = make(server.url, resources={"clock": clock})
        answer = backend.chat("hi") if way == "chat" else backend.submit("hi").result(10)
    assert (answer.content, answer.attempts, len(server.requests)) == ("hello", 2, 2)


@pytest.mark.parametrize("fault", LASTING)
def test_what_stays_is_a_typed_error_after_one_request(make, fault):
    behaviour, kind = LASTING[fault]
    with faults.FaultServer([behaviour], then=chat_wire.chat()) as server:
        backend = make(server.url)
        with pytest.raises(kind) as caught:
            backend.chat("hi", request_id="mine")
        assert len(server.requests) == 1
        assert backend.chat("again").content == "hello"
    error = caught.value
    assert (error.backend, error.endpoint_id, error.attempts) == ("sample_backend", "default", 1)
    assert error.request_id == "mine"
    assert len(str(error)) > 20


def test_a_web_page_is_named_as_what_it_is(make):
    with (
        faults.FaultServer(then=faults.html(title="Hotel WiFi")) as server,
        pytest.raises(InvalidResponseError, match="Hotel WiFi") as caught,
    ):
        make(server.url).chat("hi")
    assert "base URL" in str(caught.value)
    assert caught.value.status_code == 200


def test_stalled_and_unreachable_servers(make):
    with faults.FaultServer(then=faults.stall()) as server:
        backend = make(server.url)
        begun = time.monotonic()
        with pytest.raises(ApiTimeoutError):
            backend.chat("hi", timeout=0.1)
        assert time.monotonic() - begun < 5
        assert backend.test_endpoint(timeout=0.1) is False
        url = server.url
    backend = make(url, max_retries=1, initial_retry_delay=0.001)
    with pytest.raises(ApiConnectionError, match="is the address right"):
        backend.chat("hi")
    assert backend.test_endpoint() is False


def test_every_call_against_a_mad_server_ends_typed(make):
    """100 % of calls end in a result or a typed error; nothing is sent twice beyond retries."""
    behaviours = [*PASSING.values(), *(b for b, _ in LASTING.values()), chat_wire.chat()]
    schedule = [behaviours[n * 7 % len(behaviours)] for n in range(400)]
    with faults.FaultServer(schedule, then=chat_wire.chat()) as server:
        backend = make(
            server.url,
            initial_retry_delay=0.001,
            max_retries=2,
            max_concurrent_requests=8,
            circuit_breaker={"failure_threshold": 10**6},
        )

        def call(number):
            try:
                return backend.chat(f"call {number}", timeout=20)
            except ApiError as error:
                return error

        with concurrent.futures.ThreadPoolExecutor(12) as threads:
            results = list(threads.map(call, range(120)))
        stats = backend.get_stats()
        sent = len(server.requests)
    assert len(results) == 120
    assert stats["total_requests"] == 120
    assert stats["retried_requests"] == sent - 120
    assert all(result.attempts <= 3 for result in results)
    assert stats["active_requests"] == stats["queued_requests"] == 0


def test_connections_are_used_again_after_errors(make, clock):
    clock.chance = 0.0
    schedule = [faults.error(400), faults.error(503), chat_wire.chat(), chat_wire.stream("a")]
    with faults.FaultServer(schedule, then=chat_wire.chat()) as server:
        backend = make(server.url, resources={"clock": clock})
        with pytest.raises(InvalidRequestError):
            backend.chat("hi")
        backend.chat("hi")
        list(backend.stream_chat("hi"))
        backend.chat("hi")
        assert server.connections == 1


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threads", "limit"), [(1, 5), (8, 3), (32, 4)])
def test_really_as_many_at_once(make, threads, limit):
    gate = faults.Gate()
    with faults.FaultServer(then=held(gate)) as server:
        backend = make(server.url, max_concurrent_requests=limit)
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(backend.chat, "hi") for _ in range(threads)]
            server.wait_for_requests(min(threads, limit))
            assert backend.active_requests == min(threads, limit)
            gate.set()
            assert {f.result(10).content for f in futures} == {"late"}
        assert server.max_running == min(threads, limit)
        assert backend.active_requests == 0


def test_a_full_queue_and_a_patient_caller(make):
    gate = faults.Gate()
    with faults.FaultServer(then=held(gate)) as server:
        backend = make(server.url, max_concurrent_requests=1, queue_size=1)
        first = backend.submit("a")
        server.wait_for_requests(1)
        second = backend.submit("b")
        with pytest.raises(QueueFullError, match="queue_full='block'"):
            backend.chat("c")
        with pytest.raises(QueueFullError):
            backend.submit("c")
        with pytest.raises(ApiTimeoutError):
            backend.chat("c", queue_full="block", timeout=0.1)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            patient = pool.submit(backend.chat, "c", queue_full="block")
            gate.set()
            answers = {f.result(10).content for f in (first, second, patient)}
        assert answers == {"late"}


def test_limits_may_be_set_while_running(make):
    gate = faults.Gate()
    with faults.FaultServer(then=held(gate)) as server:
        backend = make(server.url, max_concurrent_requests=1, queue_size=1)
        futures = [backend.submit("a"), backend.submit("b")]
        backend.queue_size = 5
        futures += [backend.submit("c") for _ in range(4)]
        server.wait_for_requests(1)
        backend.max_concurrent_requests = 3
        server.wait_for_requests(3)
        assert backend.active_requests == 3
        gate.set()
        for future in futures:
            future.result(10)
    for name, value in (
        ("max_retries", 0), ("initial_retry_delay", 0.5), ("backoff_factor", 3),
        ("max_retry_delay", 9),
    ):  # fmt: skip
        setattr(backend, name, value)
        assert getattr(backend, name) == value
        with pytest.raises(ConfigurationError, match=name):
            setattr(backend, name, "many")
    for name in ("max_concurrent_requests", "queue_size"):
        with pytest.raises(ConfigurationError, match=name):
            setattr(backend, name, 0)


def test_the_names_that_legacy_code_reads(make):
    gate = faults.Gate()
    with faults.FaultServer(then=held(gate)) as server:
        backend = make(server.url, max_concurrent_requests=1)
        assert backend.queue_processor is None
        first, second = backend.submit("a"), backend.submit("b")
        assert isinstance(backend.request_queue, queue.PriorityQueue)
        assert backend.request_queue.qsize() == 1
        with backend.queue_lock, backend.queue_lock:  # an RLock
            assert backend.active_requests == 1
        assert backend.queue_processor.daemon
        assert backend.queue_processor.name == "ipfs-accelerate-sample_backend"
        assert (backend.max_concurrent_requests, backend.queue_size) == (1, 100)
        assert (backend.max_retries, backend.initial_retry_delay) == (5, 1.0)
        assert (backend.backoff_factor, backend.max_retry_delay) == (2.0, 16.0)
        assert backend.circuit_state == "CLOSED"
        gate.set()
        assert first.result(10).content == second.result(10).content == "late"


def test_close_ends_waiting_calls_and_threads(make):
    gate = faults.Gate()
    with faults.FaultServer(then=held(gate)) as server:
        backend = make(server.url, max_concurrent_requests=1, queue_size=2)
        running = backend.submit("a")
        server.wait_for_requests(1)
        waiting = [backend.submit("b"), backend.submit("c")]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            blocked = pool.submit(backend.chat, "d", queue_full="block")
            while not backend._engine.admission.line.blocked_count:
                threading.Event().wait(0.002)
            backend.close()
            for future in (*waiting, blocked):
                with pytest.raises(BackendClosedError):
                    future.result(10)
        gate.set()
        assert running.result(10).content == "late"
        backend.close()
        for use in (backend.chat, backend.submit, backend.stream_chat):
            with pytest.raises(BackendClosedError):
                use("e")
        assert backend.test_endpoint() is False


def test_after_close_no_thread_is_left(make):
    with faults.FaultServer(then=chat_wire.chat()) as server:
        backend = make(server.url, max_concurrent_requests=2)
        for future in [backend.submit("a") for _ in range(20)]:
            future.result(10)
        assert our_threads()
        backend.close()
        assert not our_threads()


def test_a_back_end_that_nobody_holds_leaves_nothing(make):
    with faults.FaultServer(then=chat_wire.chat()) as server:
        backend = SampleBackend(metadata={"api_base": server.url, "max_concurrent_requests": 1})
        for future in [backend.submit("a") for _ in range(5)]:
            future.result(10)
        list(backend.stream_chat("b"))
        gone = weakref.ref(backend)
        del backend, future
        gc.collect()
        assert gone() is None  # no_thread_left sees to the threads


# --- several keys and URLs -----------------------------------------------------------------------


def test_several_keys_take_turns_and_a_limited_one_rests(make):
    def by_key(exchange):
        limited = exchange.request.headers["authorization"].endswith("key-b")
        (faults.rate_limited(60) if limited else chat_wire.chat())(exchange)

    with faults.FaultServer(then=by_key) as server:
        backend = make(server.url, api_keys=["key-a", "key-b", "key-c"])
        assert [backend.chat("hi").attempts for _ in range(6)] == [1, 2, 1, 1, 1, 1]
        used = [r.headers["authorization"][-5:] for r in server.requests]
        assert used.count("key-b") == 1
        assert {used.count("key-a"), used.count("key-c")} == {3}
        assert backend.get_stats()["errors"] == {}


def test_several_urls_and_fail_over(make):
    with (
        faults.FaultServer(then=faults.reset()) as bad,
        faults.FaultServer(then=chat_wire.chat()) as good,
    ):
        backend = make(
            endpoints=[
                {"endpoint_url": bad.url, "id": "bad", "priority": 0},
                {"endpoint_url": good.url, "id": "good", "priority": 1},
            ],
            endpoint_selection_strategy="priority",
            circuit_breaker={"failure_threshold": 2},
        )
        assert [backend.chat("hi").endpoint_id for _ in range(5)] == ["good"] * 5
        assert len(bad.requests) == 2
        assert backend.get_endpoint("bad")["circuit_state"] == "OPEN"
        assert backend.circuit_state == "CLOSED"
        with pytest.raises(CircuitOpenError):
            backend.make_request_with_endpoint("bad", {"messages": []})
        backend.update_endpoint("bad", endpoint_url=good.url)  # mended: asked again at once
        assert backend.chat("hi").endpoint_id == "bad"


def test_endpoints_can_be_added_changed_and_removed(make):
    with faults.FaultServer(then=chat_wire.chat()) as server:
        backend = make("http://127.0.0.1:9", max_retries=0)
        added = backend.create_endpoint("mine", api_key="key-m", endpoint_url=server.url, weight=2)
        assert backend.list_endpoints() == ["default", "mine"]
        assert backend.chat("hi", endpoint_id=added).endpoint_id == "mine"
        assert server.requests[0].headers["authorization"] == "Bearer key-m"
        assert "key-m" not in repr(backend.get_endpoint("mine"))
        backend.update_endpoint("mine", api_key="key-n")
        backend.chat("hi", endpoint_id="mine")
        assert server.requests[1].headers["authorization"] == "Bearer key-n"
        backend.remove_endpoint("default")
        assert backend.chat("hi").endpoint_id == "mine"
        assert backend.get_stats("mine")["total_requests"] == 3
        with pytest.raises(ConfigurationError, match="mine"):
            backend.create_endpoint("mine")
        for name in (
            "get_endpoint",
            "remove_endpoint",
            "update_endpoint",
            "reset_stats",
            "get_stats",
        ):
            with pytest.raises(ConfigurationError, match="no endpoint 'nobody'"):
                getattr(backend, name)("nobody")
        backend.remove_endpoint("mine")
        with pytest.raises(InvalidRequestError, match="create_endpoint"):
            backend.chat("hi")


def test_a_call_s_own_key_is_sent_and_rests_nobody(make):
    def by_key(exchange):
        own = exchange.request.headers["authorization"].endswith("own-key")
        (faults.rate_limited(60) if own else chat_wire.chat())(exchange)

    with faults.FaultServer(then=by_key) as server:
        backend = make(server.url, sample_api_key="house-key", max_retries=0)
        with pytest.raises(RateLimitError):
            backend.chat("hi", api_key="own-key")
        assert backend.chat("hi").content == "hello"


def test_handlers(make):
    def echo(exchange):
        faults.answer({"you": exchange.request.json()})(exchange)

    with faults.FaultServer(then=echo) as server:
        backend = make("http://127.0.0.1:9")
        handler = backend.create_endpoint_handler(server.url, model="m", temperature=0, timeout=5)
        assert handler({"messages": [1]}) == {
            "you": {"model": "m", "temperature": 0, "messages": [1]}
        }
        assert handler("hi")["you"]["messages"] == [{"role": "user", "content": "hi"}]
        assert backend.create_endpoint_handler(server.url).endpoint_id == handler.endpoint_id
        with pytest.raises(ApiConnectionError):  # the handler's endpoint is for the handler alone
            backend.chat("hi", max_retries=0)


def test_a_missing_key_is_named_and_can_be_given_later():
    backend = OpenAI()
    with pytest.raises(MissingCredentialsError, match="OPENAI_API_KEY") as caught:
        backend.chat("hi")
    assert "openai_api_key" in str(caught.value)
    assert backend.test_endpoint() is False
    with faults.FaultServer(then=chat_wire.chat()) as server:
        backend.update_endpoint("default", api_key=KEY, endpoint_url=server.url)
        assert backend.chat("hi").content == "hello"
    backend.close()


# --- keys ----------------------------------------------------------------------------------------


def echoing(status):
    def behave(exchange):
        key = exchange.request.headers["authorization"].removeprefix("Bearer ")
        body = {
            "error": {"message": f"Incorrect API key provided: {key}", "type": key, "code": key},
            key: [key],
        }
        headers = {"x-request-id": key}
        if status is None:
            faults.raw(b"HTTP/9 " + key.encode() + b" nonsense\r\n\r\n", end="close")(exchange)
        elif status == 200:
            faults.answer(f"not json {key}", headers=headers)(exchange)
        else:
            faults.answer(body, status=status, headers=headers)(exchange)

    return behave


@pytest.mark.parametrize("status", [401, 400, 500, 429, 200, None])
@pytest.mark.parametrize("source", ["metadata", "api_keys", "endpoints", "call", "header"])
def test_no_key_shows_anywhere_though_the_server_echoes_it(make, status, source, caplog):
    key = "quite-unusual/key+0123456789"  # nothing that a pattern would know
    caplog.set_level(logging.DEBUG)
    with faults.FaultServer(then=echoing(status)) as server:
        given = {
            "metadata": {"sample_api_key": key},
            "api_keys": {"api_keys": [key, key + "2"]},
            "endpoints": {"endpoints": [{"endpoint_url": server.url, "api_key": key}]},
        }.get(source, {})
        options = {
            "call": {"api_key": key},
            "header": {"extra_headers": {"Authorization": f"Bearer {key}"}},
        }.get(source, {})
        given["initial_retry_delay"] = 0.001  # a key rests for that long
        backend = make(None if source == "endpoints" else server.url, max_retries=0, **given)
        for use in (
            lambda: backend.chat("hi", **options),
            lambda: backend.submit("hi", **options).result(10),
            lambda: backend.stream_chat("hi", **options),
            lambda: backend.list_models(**options),
        ):
            with pytest.raises(ApiError) as caught:
                use()
            error = caught.value
            shown = io.StringIO()
            traceback.print_exception(error, file=shown)
            copy = pickle.loads(pickle.dumps(error))
            for text in (
                str(error), repr(error), repr(vars(error)), shown.getvalue(), str(copy),
                repr(vars(copy)),
            ):  # fmt: skip
                assert key not in text
        for text in (
            repr(backend), repr(backend.get_stats()), repr(backend._settings), repr(vars(backend)),
            repr(backend.all_endpoints()), caplog.text,
        ):  # fmt: skip
            assert key not in text


def test_errors_survive_pickling(make):
    with (
        faults.FaultServer(then=faults.error(429, headers={"retry-after": "7"})) as server,
        pytest.raises(RateLimitError) as caught,
    ):
        make(server.url, max_retries=0).chat("hi", model="m")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is RateLimitError
    assert vars(copy) == vars(caught.value)
    assert (copy.retry_after, copy.status_code, copy.model) == (7.0, 429, "m")


# --- figures -------------------------------------------------------------------------------------


def test_stats(make, clock):
    clock.chance = 0.0
    schedule = [chat_wire.chat(), faults.error(503), chat_wire.chat(), faults.error(400)]
    with faults.FaultServer([*schedule, chat_wire.stream("a")]) as server:
        backend = make(server.url, resources={"clock": clock})
        backend.chat("a")
        backend.chat("b")
        with pytest.raises(InvalidRequestError):
            backend.chat("c")
        list(backend.stream_chat("d"))
    stats = backend.get_stats()
    assert (stats["total_requests"], stats["successful_requests"]) == (4, 3)
    assert (stats["failed_requests"], stats["retried_requests"]) == (1, 1)
    assert (stats["prompt_tokens"], stats["completion_tokens"], stats["total_tokens"]) == (9, 6, 15)
    assert stats["errors"] == {"InvalidRequestError": 1}
    assert stats["circuit_state"] == "CLOSED"
    assert stats["latency"]["p50"] is not None
    backend.reset_stats()
    assert backend.get_stats()["total_requests"] == 0


def test_costs_are_summed_where_prices_are_given(make):
    with faults.FaultServer(then=chat_wire.chat()) as server:
        backend = make(server.url, prices={"echo": {"input": 1.0, "output": 10.0}})
        answer = backend.chat("hi")
        assert answer.usage.cost == pytest.approx((3 * 1.0 + 2 * 10.0) / 1e6)
        assert backend.get_stats()["cost"] == answer.usage.cost
        unpriced = make(server.url)
        assert unpriced.chat("hi").usage.cost is None
        assert unpriced.get_stats()["cost"] is None


# --- requests' world -----------------------------------------------------------------------------


@pytest.mark.parametrize("made", ["before", "inside"])
def test_responses_intercepts_everything(make, made):
    url = "http://api.invalid"
    early = make(url, sample_api_key=KEY) if made == "before" else None
    with responses.RequestsMock() as mock:
        mock.post(f"{url}/v1/chat/completions", json=chat_wire.completion("mocked"))
        sse = b"".join(faults.sse_events(*chat_wire.events("a", "b")))
        mock.post(f"{url}/v1/chat/completions", body=sse, content_type="text/event-stream")
        mock.post(
            f"{url}/v1/embeddings",
            json={"data": [{"index": 0, "embedding": [1.0, 2.0]}], "model": "e"},
        )
        mock.get(f"{url}/v1/models", json=MODELS)
        mock.post(f"{url}/v1/chat/completions", json={"error": {"message": "no"}}, status=400)
        backend = early or make(url, sample_api_key=KEY)
        assert backend.chat("hi").content == "mocked"
        assert "".join(c.delta for c in backend.stream_chat("hi")) == "ab"
        assert backend.embed("text").embeddings.tolist() == [[1.0, 2.0]]
        assert [m["id"] for m in backend.list_models()] == ["echo", "other"]
        with pytest.raises(InvalidRequestError):
            backend.chat("hi")
        for call in mock.calls:
            assert call.request.headers["Authorization"] == f"Bearer {KEY}"
    with faults.FaultServer(then=chat_wire.chat("real")) as server:
        backend.update_endpoint("default", endpoint_url=server.url)
        assert backend.chat("hi").content == "real"


def test_a_session_of_the_caller_s_own(make):
    sent = []

    class Adapter(requests.adapters.HTTPAdapter):
        def send(self, request, **options):
            sent.append((request.url, options["verify"], options["timeout"]))
            return super().send(request, **options)

    session = requests.Session()
    session.mount("http://", Adapter())
    session.verify = False
    with faults.FaultServer([chat_wire.chat(), chat_wire.stream("a")]) as server:
        backend = make(server.url, resources={"session": session})
        assert backend.chat("hi", timeout=7).content == "hello"
        assert backend.stream_chat("hi").response().content == "a"
    assert len(sent) == 2
    assert sent[0][1] is False
    assert 6 < sent[0][2][1] <= 7
    session.close()
    with pytest.raises(ConfigurationError, match="session"):
        make("http://x", resources={"session": "not one"})


# --- bad input -----------------------------------------------------------------------------------

BAD = {
    "messages": [((), {}), (("",), {}), (([],), {}), ((5,), {}), (([{"role": "x"}],), {})],
    "model": [(("hi", ""), {}), (("hi", 5), {})],
    "temperature": [(("hi",), {"temperature": float("nan")}), (("hi",), {"temperature": "hot"})],
    "image_url": [(([{"role": "user", "content": [{"type": "image_url", "image_url": {
        "url": "data:image/png;base64,aGVsbG8="}}]}],), {})],
    "priority": [(("hi",), {"priority": "URGENT"}), (("hi",), {"priority": 7})],
    "timeout": [(("hi",), {"timeout": 0}), (("hi",), {"timeout": "5"}),
                (("hi",), {"timeout": float("nan")}), (("hi",), {"timeout": 10**400})],
    "max_retries": [(("hi",), {"max_retries": -1}), (("hi",), {"max_retries": 1.5})],
    "endpoint_id": [(("hi",), {"endpoint_id": "nobody"}), (("hi",), {"endpoint_id": 5})],
    "request_id": [(("hi",), {"request_id": 5})],
    "queue_full": [(("hi",), {"queue_full": "wait"})],
    "api_key": [(("hi",), {"api_key": "two words"}), (("hi",), {"api_key": 5}),
                (("hi",), {"api_key": "sk-\u2026"})],
    "extra_headers": [(("hi",), {"extra_headers": h}) for h in (
        "x", {"a b": "c"}, {"": "x"}, {"a": "b\r\nc: d"}, {"a": "\u2014"}, {5: "x"},
        {"Content-Length": "0"}, {"transfer-encoding": "chunked"})],
    "extra_body": [(("hi",), {"extra_body": [1]})],
    "JSON": [(("hi",), {"extra_body": {"a": {1, 2}}}), (("hi",), {"other": float("inf")}),
             (("hi",), {"other": object()})],
}  # fmt: skip


@pytest.mark.parametrize(
    ("named", "args", "options"),
    [(name, *case) for name, cases in BAD.items() for case in cases if case[0]],
)
def test_bad_input_is_refused_at_once_and_by_name(make, named, args, options):
    with faults.FaultServer(then=chat_wire.chat()) as server:
        backend = make(server.url)
        for use in (backend.chat, backend.stream_chat, backend.submit):
            with pytest.raises((InvalidRequestError, ConfigurationError)) as caught:
                use(*args, **options)
            said = str(caught.value)
            assert named.lower() in said.lower() or "finite" in said
        assert not server.requests
        assert backend.get_stats()["circuit_state"] == "CLOSED"


@pytest.mark.parametrize("texts", ["", [], [""], ["a", 5], None, b"x", 7])
def test_bad_texts(make, texts):
    with pytest.raises(InvalidRequestError, match="texts"):
        make("http://127.0.0.1:9").embed(texts)


@pytest.mark.parametrize("data", [None, 5, "text", [1]])
def test_bad_data(make, data):
    backend = make("http://127.0.0.1:9")
    for use in (backend.make_post_request, backend.make_stream_request):
        with pytest.raises(InvalidRequestError, match="data"):
            use(data)
    with pytest.raises(InvalidRequestError, match="temperature"):
        backend.make_post_request({}, temperature=1)


def test_authentication_is_told_apart(make):
    with faults.FaultServer(then=faults.error(401, "no", kind="invalid_api_key")) as server:
        backend = make(server.url, kind=OpenAI)
        with pytest.raises(AuthenticationError, match="API key"):
            backend.chat("hi")
        assert backend.test_endpoint() is False


def test_test_endpoint(make):
    with faults.FaultServer(then=faults.answer(MODELS)) as server:
        backend = make("http://127.0.0.1:9")
        assert backend.test_endpoint() is False
        assert backend.test_endpoint(server.url) is True
        assert backend.test_endpoint("nonsense") is False
        assert [r.method for r in server.requests] == ["GET"]


# --- many threads --------------------------------------------------------------------------------


def test_sixteen_threads_leave_nothing_behind(make):
    import psutil

    with faults.FaultServer(then=chat_wire.chat()) as server:
        backend = make(server.url, max_concurrent_requests=16, queue_size=10_000)

        def work(count):
            return sum(backend.chat("hi").content == "hello" for _ in range(count))

        process = psutil.Process()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(work, [40] * 16)) == 640
            server.requests.clear()
            gc.collect()
            before = process.memory_info().rss
            assert sum(pool.map(work, [80] * 16)) == 1280
            server.requests.clear()
            gc.collect()
            grown = process.memory_info().rss - before
        assert grown < 8 << 20
        assert server.connections <= 16
        assert backend.get_stats()["total_requests"] == 1920
        assert backend.active_requests == 0


def test_signatures_of_sync_and_async_twins_agree():
    sync = [
        "chat", "stream_chat", "embed", "make_post_request", "make_stream_request", "list_models",
        "test_endpoint", "make_request_with_endpoint", "request",
    ]  # fmt: skip
    network = {
        name
        for name, function in inspect.getmembers(BaseApiBackend, inspect.isfunction)
        if not name.startswith("_") and f"a{name}" in dir(BaseApiBackend)
    }
    assert network == set(sync)
    for name in sync:
        one, two = (inspect.signature(getattr(BaseApiBackend, n)) for n in (name, f"a{name}"))
        assert one.parameters == two.parameters, name
        twin = getattr(BaseApiBackend, f"a{name}")
        assert inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin)


def test_servers_that_fail_for_ever_are_named(make, clock):
    clock.chance = 0.0
    with faults.FaultServer(then=faults.error(503)) as server:
        backend = make(server.url, resources={"clock": clock}, max_retries=2)
        with pytest.raises(ServerError) as caught:
            backend.chat("hi")
        assert caught.value.attempts == 3
        assert len(server.requests) == 3


def test_thousands_of_calls_from_sixteen_threads_leave_memory_flat():
    script = Path(__file__).resolve().parents[1] / "benchmarks" / "soak.py"
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(script), "--calls", "12000"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
