"""HTTP that goes wrong in every way: a typed error, no hang, and the connection used again."""

from __future__ import annotations

import gzip
import socket
import threading
import time

import pytest
import requests
from servers import faults

from api_backends.engine.clock import SYSTEM_CLOCK
from api_backends.engine.transport import HttpTransport
from api_backends.errors import ApiConnectionError, ApiError, ApiTimeoutError, InvalidResponseError

HEADERS = {"authorization": "Bearer sk-secret", "content-type": "application/json"}
JSON = {"answer": [1, 2, 3]}


@pytest.fixture
def http():
    transport = HttpTransport(SYSTEM_CLOCK)
    yield transport
    transport.close()


def send(transport, url, seconds=10.0, path="/v1/x", method="POST", body=b"{}"):
    return transport.send(method, url + path, HEADERS, body, SYSTEM_CLOCK.now() + seconds)


def test_an_answer_whatever_its_status(http):
    schedule = [faults.answer(JSON, headers={"X-Thing": "1"}), faults.error(429, "slow down")]
    with faults.FaultServer(schedule) as server:
        first, second = send(http, server.url), send(http, server.url, path="/v1/y?z=1")
    assert (first.status, second.status) == (200, 429)
    assert first.body == b'{"answer": [1, 2, 3]}'
    assert first.headers["x-THING"] == "1"
    assert [r.path for r in server.requests] == ["/v1/x", "/v1/y?z=1"]
    assert server.requests[0].headers["authorization"] == "Bearer sk-secret"
    assert server.requests[0].body == b"{}"
    assert server.connections == 1


def test_get_has_no_body(http):
    with faults.FaultServer(then=faults.answer(JSON)) as server:
        send(http, server.url, method="GET", body=None)
    assert server.requests[0].body == b""
    assert "content-length" not in server.requests[0].headers


def test_compressed_and_chunked(http):
    zipped = gzip.compress(b'{"a": 1}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in zipped) + b"0\r\n\r\n"
    schedule = [
        faults.raw(head + b"Content-Length: %d\r\n\r\n" % len(zipped) + zipped),
        faults.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces),
        faults.raw(head + b"Connection: close\r\n\r\n" + zipped, end="close"),
    ]
    with faults.FaultServer(schedule) as server:
        assert [send(http, server.url).body for _ in range(3)] == [b'{"a": 1}'] * 3
    assert server.connections == 1


BROKEN = {
    "reset": faults.reset(),
    "hang up": faults.hang_up(),
    "reset mid headers": faults.reset_mid_headers(),
    "closed mid headers": faults.reset_mid_headers(end="close"),
    "reset mid body": faults.reset_mid_body(),
    "closed mid body": faults.reset_mid_body(end="close"),
    "truncated": faults.truncated(JSON),
    "garbage": faults.garbage(),
    "bad chunk": faults.raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno", end="close"
    ),
    "chunks cut": faults.raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", end="close"
    ),
    "bad gzip": faults.raw(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
    ),
    "endless header": faults.raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000, end="close"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_connection_is_a_typed_error_and_the_next_request_goes_through(http, fault):
    with faults.FaultServer([BROKEN[fault], faults.answer(JSON)]) as server:
        with pytest.raises(ApiConnectionError) as caught:
            send(http, server.url, seconds=5.0)
        assert server.url in str(caught.value)
        assert "sk-secret" not in str(caught.value)
        assert "0x" not in str(caught.value)
        assert send(http, server.url).status == 200
    assert len(server.requests) == 2


def test_received_requests_are_not_sent_again(http):
    for fault, retried in (("reset", None), ("reset mid body", False), ("truncated", False)):
        with faults.FaultServer([BROKEN[fault]]) as server, pytest.raises(ApiError) as caught:
            send(http, server.url)
        assert caught.value.should_retry is retried
        assert caught.value.is_transient


def dripping(head):
    def behave(exchange):
        exchange.send(head)
        while not exchange.wait(exchange.server.release, 0.01):
            exchange.send(b"a")

    return behave


SLOW = {
    "nothing comes": faults.stall(),
    "half a head": faults.stall(after=b"HTTP/1.1 200 OK\r\nContent-"),
    "half a body": faults.stall(after=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"),
    "nonsense length": faults.stall(after=b"HTTP/1.1 200 OK\r\nContent-Length: x, 5\r\n\r\nhello"),
    "a body by the byte": faults.drip("x" * 5000),
    "a body without end": dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
    "a head by the byte": dripping(b"HTTP/1.1 200 OK\r\nX: "),
    "a status by the byte": dripping(b""),
    "a chunk by the byte": dripping(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n"
    ),
    "a chunk's size by the byte": dripping(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
}


@pytest.mark.parametrize("fault", SLOW)
@pytest.mark.parametrize("own", [True, False])
def test_the_deadline_holds_whatever_the_server_does(fault, own):
    if not own and ("head" in fault or "status" in fault or "chunk" in fault):
        pytest.skip("a session's pools are as their owner made them")
    session = None if own else requests.Session()
    transport = HttpTransport(SYSTEM_CLOCK, session)
    with faults.FaultServer([SLOW[fault]]) as server:
        begun = time.monotonic()
        with pytest.raises(ApiTimeoutError, match=r"127\.0\.0\.1"):
            send(transport, server.url, seconds=0.15)
        assert time.monotonic() - begun < 2.0
        server.wait_for_hang_ups(1)
    transport.close()
    if session is not None:
        session.close()


def test_unreachable(http):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ApiConnectionError, match="is the address right") as caught:
        send(http, f"http://127.0.0.1:{port}")
    assert caught.value.is_transient
    with pytest.raises(ApiConnectionError):
        send(http, "http://no-such-host.invalid")
    with pytest.raises(ApiTimeoutError, match="before the request"):
        send(http, f"http://127.0.0.1:{port}", seconds=0.0)


def test_tls_to_a_server_that_speaks_none(http):
    def answer():
        connection, _ = listener.accept()
        connection.sendall(b"220 hello, this is mail\r\n")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ApiConnectionError, match="TLS") as caught:
            send(http, f"https://127.0.0.1:{listener.getsockname()[1]}", seconds=5.0)
        thread.join(10)
    assert not caught.value.is_transient


def test_a_connection_closed_while_idle_is_not_used_again(http):
    with faults.FaultServer(then=faults.stale(JSON)) as server:
        for _ in range(4):
            assert send(http, server.url).status == 200
            server.wait_until_idle()
    assert server.connections == 4


def test_redirects_on_the_same_host_keep_method_and_body(http):
    schedule = [faults.redirect(307, "/v2/x"), faults.redirect(308, "y"), faults.answer(JSON)]
    with faults.FaultServer(schedule) as server:
        assert send(http, server.url).body == b'{"answer": [1, 2, 3]}'
    assert [(r.method, r.path, r.body) for r in server.requests] == [
        ("POST", "/v1/x", b"{}"), ("POST", "/v2/x", b"{}"), ("POST", "/v2/y", b"{}"),
    ]  # fmt: skip


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_key_goes_to_another_host(http, status):
    with faults.FaultServer(then=faults.answer(JSON)) as other:
        there = f"{other.url}/v1/x?token=sk-secret"
        with faults.FaultServer([faults.redirect(status, there)]) as server:
            with pytest.raises(InvalidResponseError, match="redirect") as caught:
                send(http, server.url)
        assert not other.requests
    assert f"{other.url}/v1/x" in str(caught.value)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_redirects_that_would_change_the_request_are_refused(http, status):
    with faults.FaultServer([faults.redirect(status, "/v2")]) as server:
        with pytest.raises(InvalidResponseError, match="api_base"):
            send(http, server.url)
    assert len(server.requests) == 1


def test_redirects_end(http):
    with faults.FaultServer(then=faults.redirect(307, "/again")) as server:
        with pytest.raises(InvalidResponseError, match="redirects"):
            send(http, server.url)
    assert len(server.requests) == 4


def test_an_endless_answer_is_cut(http, monkeypatch):
    monkeypatch.setattr("api_backends.engine.transport.BODY_LIMIT", 1 << 20)
    with faults.FaultServer(then=faults.answer(b"x" * (3 << 20))) as server:
        with pytest.raises(InvalidResponseError, match="1 MiB"):
            send(http, server.url)


# --- streams -------------------------------------------------------------------------------------


def test_pieces_come_as_they_are_sent(http):
    gate = faults.Gate()
    for chunked in (True, False):
        behaviour = faults.sse([b"one", gate, b"two"], chunked=chunked)
        with faults.FaultServer([behaviour]) as server:
            stream = http.open("POST", server.url, HEADERS, b"{}", SYSTEM_CLOCK.now() + 10)
            pieces = stream.pieces()
            assert next(pieces) == b"one"  # before the gate opens
            gate.set()
            assert b"".join(pieces) == b"two"
            stream.close()
        gate = faults.Gate()


def test_a_session_s_pieces_come_as_they_are_sent_too(monkeypatch):
    session = requests.Session()
    session.mount("http://", type("Mounted", (requests.adapters.HTTPAdapter,), {})())
    transport = HttpTransport(SYSTEM_CLOCK, session)
    for chunked in (True, False):
        gate = faults.Gate()
        behaviour = faults.sse([b"one", gate, b"two"], chunked=chunked)
        with faults.FaultServer([behaviour]) as server:
            stream = transport.open("POST", server.url, HEADERS, b"{}", SYSTEM_CLOCK.now() + 10)
            pieces = stream.pieces()
            assert next(pieces) == b"one"
            gate.set()
            assert b"".join(pieces) == b"two"
            stream.close()
    transport.close()
    session.close()


def test_a_finished_stream_gives_its_connection_back(http):
    with faults.FaultServer(then=faults.sse([b"one"])) as server:
        for _ in range(3):
            stream = http.open("POST", server.url, HEADERS, b"{}", SYSTEM_CLOCK.now() + 10)
            pieces = stream.pieces()
            assert next(pieces) == b"one"
            stream.finish(pieces)
    assert server.connections == 1


def test_a_stream_that_goes_on_after_its_end_is_closed(http):
    with faults.FaultServer([faults.sse([b"one", b"two", faults.Gate()])]) as server:
        stream = http.open("POST", server.url, HEADERS, b"{}", SYSTEM_CLOCK.now() + 10)
        pieces = stream.pieces()
        assert next(pieces) == b"one"
        stream.finish(pieces)
        server.wait_for_hang_ups(1)


def test_closing_early_closes_the_connection(http):
    with faults.FaultServer([faults.sse([b"one", faults.Gate()])]) as server:
        stream = http.open("POST", server.url, HEADERS, b"{}", SYSTEM_CLOCK.now() + 10)
        assert next(stream.pieces()) == b"one"
        stream.close()
        server.wait_for_hang_ups(1)


@pytest.mark.parametrize("direct", [True, False])
def test_a_waiting_read_can_be_aborted(direct):
    session = None if direct else requests.Session()
    if session is not None:
        session.mount("http://", type("Mounted", (requests.adapters.HTTPAdapter,), {})())
    transport = HttpTransport(SYSTEM_CLOCK, session)
    with faults.FaultServer([faults.sse([b"one", faults.Gate()])]) as server:
        stream = transport.open("POST", server.url, HEADERS, b"{}", SYSTEM_CLOCK.now() + 60)
        pieces = stream.pieces()
        next(pieces)
        ended = threading.Event()

        def read():
            with pytest.raises(ApiConnectionError):
                next(pieces)
            ended.set()

        thread = threading.Thread(target=read)
        thread.start()
        while not ended.wait(0.01):  # the reader may not be in its read yet
            stream.abort()
        thread.join(10)
        stream.close()
    transport.close()
    if session is not None:
        session.close()


# --- requests' ways ------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    with faults.FaultServer(then=faults.answer(JSON)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "skipped.invalid")
        transport = HttpTransport(SYSTEM_CLOCK)
        assert send(transport, "http://example.invalid").status == 200
        assert proxy.requests[0].path == "http://example.invalid/v1/x"
        with pytest.raises(ApiConnectionError):
            send(transport, "http://skipped.invalid")
        assert len(proxy.requests) == 1
        transport.close()


def test_a_session_s_adapters_are_used():
    class Recorder(requests.adapters.HTTPAdapter):
        urls: list[str] = []

        def send(self, request, **options):
            self.urls.append(request.url)
            assert request.headers["authorization"] == "Bearer sk-secret"
            return super().send(request, **options)

    session = requests.Session()
    session.mount("http://127.0.0.1", Recorder())
    transport = HttpTransport(SYSTEM_CLOCK, session)
    with faults.FaultServer(then=faults.answer(JSON)) as server:
        assert send(transport, server.url).body == b'{"answer": [1, 2, 3]}'
    assert Recorder.urls == [server.url + "/v1/x"]
    transport.close()
    session.close()
