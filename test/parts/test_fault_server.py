"""The fault server does what each behaviour says, seen by a bare socket and by urllib3."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest
import urllib3
from servers import faults
from urllib3.exceptions import ProtocolError

EVENT = b'data: {"n": 1}\n\n'


def pool(**options):
    return urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(5), **options)


def post(url, body=None, **options):
    with pool() as http:
        return http.request("POST", url, json=body or {}, redirect=False, **options)


def talk(server, expect_reset=False):
    """Send one request by hand; return all bytes until the connection ends."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
        received = b""
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            assert expect_reset
            return received
        assert not expect_reset
        return received


def test_answers_in_the_order_of_the_schedule_and_records_requests():
    schedule = [faults.answer({"n": 1}), faults.error(503, "busy", code="overloaded")]
    with faults.FaultServer(schedule, then=faults.answer({"n": 3})) as server:
        answers = [post(f"{server.url}/v1/x?y=1", {"i": i}) for i in range(4)]
    assert [a.status for a in answers] == [200, 503, 200, 200]
    assert answers[1].json()["error"]["code"] == "overloaded"
    assert [r.json() for r in server.requests] == [{"i": i} for i in range(4)]
    assert {r.path for r in server.requests} == {"/v1/x?y=1"}
    assert server.requests[0].method == "POST"
    assert server.requests[0].headers["content-type"] == "application/json"
    assert server.connections == 4
    assert server.max_running == 1


def test_a_used_up_schedule_says_so():
    with faults.FaultServer() as server:
        answer = post(server.url)
    assert answer.status == 500
    assert b"used up" in answer.data


def test_keeps_a_connection_open():
    with faults.FaultServer(then=faults.answer({})) as server, pool() as http:
        for _ in range(3):
            http.request("GET", server.url)
        assert server.connections == 1


def test_reads_chunked_bodies():
    with faults.FaultServer(then=faults.answer({})) as server, pool() as http:
        http.request("POST", server.url, body=iter([b"one ", b"two"]), chunked=True)
    assert server.requests[0].body == b"one two"


def test_reset_and_hang_up_without_an_answer():
    with faults.FaultServer([faults.reset(), faults.hang_up()]) as server:
        assert talk(server, expect_reset=True) == b""
        assert talk(server) == b""


@pytest.mark.parametrize("end", ["close", "reset"])
def test_breaks_within_head_and_body(end):
    schedule = [faults.reset_mid_headers(end=end), faults.reset_mid_body(sent=5, end=end)]
    with faults.FaultServer(schedule) as server:
        head = talk(server, expect_reset=end == "reset")
        whole = talk(server, expect_reset=end == "reset")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"\r\n\r\n" not in head
    assert len(whole.split(b"\r\n\r\n")[1]) == 5


def test_a_content_length_that_lies():
    lie = faults.truncated({"a": 1}, missing=3)
    with faults.FaultServer([lie]) as server, pytest.raises(ProtocolError, match="3 more"):
        post(server.url)


def test_garbage_and_html():
    with faults.FaultServer([faults.garbage(), faults.html(502, "Bad gateway")]) as server:
        with pytest.raises(ProtocolError):
            post(server.url)
        page = post(server.url)
    assert page.status == 502
    assert page.headers["content-type"].startswith("text/html")


def test_rate_limits_say_when_to_return():
    date = datetime(2031, 5, 4, 3, 2, 1, tzinfo=timezone.utc)
    schedule = [
        faults.rate_limited(2),
        faults.rate_limited(date),
        faults.rate_limited(1, retry_after_ms=40),
    ]
    with faults.FaultServer(schedule) as server:
        answers = [post(server.url) for _ in schedule]
    assert [a.status for a in answers] == [429] * 3
    assert answers[0].headers["retry-after"] == "2"
    assert answers[1].headers["retry-after"] == "Sun, 04 May 2031 03:02:01 GMT"
    assert answers[2].headers["retry-after-ms"] == "40"


@pytest.mark.parametrize("status", [301, 307, 308])
def test_redirects(status):
    with faults.FaultServer([faults.redirect(status, "http://127.0.0.1:1/else")]) as server:
        answer = post(server.url)
    assert (answer.status, answer.headers["location"]) == (status, "http://127.0.0.1:1/else")


def test_a_stale_connection_is_closed_after_its_answer():
    with faults.FaultServer([faults.stale({"a": 1})]) as server:
        received = talk(server)
    assert b"close" not in received.lower()
    assert received.endswith(b'{"a": 1}')


def test_a_stall_ends_with_the_gate():
    gate = faults.Gate()
    with faults.FaultServer([faults.stall(gate, after=b"HTTP/1.1 2")]) as server:
        with ThreadPoolExecutor(1) as threads:
            talking = threads.submit(talk, server)
            server.wait_for_requests(1)
            assert server.running == 1
            assert not talking.done()
            gate.set()
            assert talking.result(5) == b"HTTP/1.1 2"
        server.wait_until_idle()


def test_a_stream_pauses_at_a_gate_and_keeps_its_chunks():
    gate = faults.Gate()
    pieces = [EVENT, gate, b"data: a\xc3", b"\xa9\n\n", *faults.sse_events({"last": 1})]
    with faults.FaultServer([faults.sse(pieces)]) as server, pool() as http:
        answer = http.request("POST", server.url, preload_content=False)
        chunks = answer.read_chunked()
        assert next(chunks) == EVENT
        assert server.running == 1
        gate.set()
        assert list(chunks) == [*pieces[2:4], b'data: {"last": 1}\n\n', b"data: [DONE]\n\n"]


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("cut_at", [None, 20])
def test_a_stream_that_is_cut(end, chunked, cut_at):
    stream = faults.sse([EVENT, EVENT], cut_at=cut_at, end=end, chunked=chunked)
    with faults.FaultServer([stream]) as server:
        body = talk(server, expect_reset=end == "reset").split(b"\r\n\r\n", 1)[1]
    if chunked:
        body = b"".join(body.split(b"\r\n")[1::2])
    assert body == (EVENT + EVENT)[:cut_at]


def test_a_drip_is_slow_until_released():
    slow = faults.drip("abcdefgh" * 50, every=0.001)
    with faults.FaultServer([slow]) as server, pool() as http:
        answer = http.request("POST", server.url, preload_content=False)
        assert answer.read(2) == b"ab"
        server.release.set()
        assert len(answer.read()) == 398


def test_counts_requests_that_run_at_once():
    with faults.FaultServer(then=faults.held({})) as server, ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(post, server.url) for _ in range(4)]
        server.wait_for_requests(4)
        assert server.running == 4
        server.release.set()
        assert [c.result(5).status for c in calls] == [200] * 4
        server.wait_until_idle()
    assert server.max_running == 4


def test_sees_a_client_that_hangs_up():
    with faults.FaultServer([faults.sse([EVENT, faults.Gate()])]) as server:
        with pool() as http:
            answer = http.request("POST", server.url, preload_content=False)
            assert next(answer.read_chunked()) == EVENT
            answer.close()
            server.wait_for_hang_ups(1)
        assert server.running == 0


def test_waits_give_up_at_their_deadline():
    with faults.FaultServer() as server:
        started = time.monotonic()
        with pytest.raises(TimeoutError, match="2 requests"):
            server.wait_for_requests(2, timeout=0.05)
        assert time.monotonic() - started < 5


def test_stops_with_everything_still_stalled():
    before = threading.active_count()
    with ThreadPoolExecutor(3) as threads:
        with faults.FaultServer(then=faults.stall(faults.Gate())) as server:
            calls = [threads.submit(talk, server) for _ in range(3)]
            server.wait_for_requests(3)
        for call in calls:
            assert call.result(5) == b""
    assert threading.active_count() == before


def test_an_error_in_a_behaviour_reaches_the_test():
    def broken(exchange):
        raise KeyError("broken behaviour")

    server = faults.FaultServer([broken])
    assert talk(server) == b""
    with pytest.raises(KeyError, match="broken behaviour"):
        server.stop()


def test_a_behaviour_of_ones_own():
    def picky(exchange):
        wanted = exchange.request.headers.get("authorization") == "Bearer k"
        (faults.answer({"in": True}) if wanted else faults.error(401))(exchange)

    with faults.FaultServer(then=picky) as server:
        assert post(server.url).status == 401
        welcome = post(server.url, headers={"Authorization": "Bearer k"})
    assert json.loads(welcome.data) == {"in": True}
