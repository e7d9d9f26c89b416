"""Streams of a back end: every chunk once, the place held until the end, every cut told."""

from __future__ import annotations

import gc
import json
import threading

import chat_wire
import pytest
from servers import faults

from api_backends.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    InvalidResponseError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)

TEXTS = ("Hel", "lo, ", "wörld 😀")
WHOLE = "".join(TEXTS)
KEY = "sk-test-0123456789abcdef"


def test_chunks_once_each_and_the_answer_a_call_would_give(make):
    with faults.FaultServer([chat_wire.stream(*TEXTS), chat_wire.chat(WHOLE)]) as server:
        backend = make(server.url)
        with backend.stream_chat("hi") as stream:
            chunks = list(stream)
            assert list(stream) == []
        whole = backend.chat("hi")
    assert "".join(c.delta for c in chunks) == WHOLE
    assert [c.text for c in chunks][:3] == ["Hel", "Hello, ", WHOLE]
    assert [c.done for c in chunks] == [False] * (len(chunks) - 1) + [True]
    response = stream.response()
    for name in ("content", "finish_reason", "usage", "model", "role", "backend", "endpoint_id"):
        assert getattr(response, name) == getattr(whole, name), name
    assert chunks[-1].usage.total_tokens == 5
    assert json.loads(server.requests[0].body)["stream"] is True
    assert server.connections == 1  # used again after a complete stream


def test_the_place_is_held_until_the_end_or_close_or_garbage(make):
    pieces = faults.sse_events(*chat_wire.events(*TEXTS))
    gates = {ending: faults.Gate() for ending in ("end", "close", "garbage")}
    schedule = []
    for gate in gates.values():
        schedule += [faults.sse([pieces[0], gate, *pieces[1:]]), chat_wire.chat()]
    with faults.FaultServer(schedule) as server:
        backend = make(server.url, max_concurrent_requests=1)
        for ending, gate in gates.items():
            stream = backend.stream_chat("hi")
            assert next(stream).delta == "Hel"
            assert backend.active_requests == 1
            next_one = backend.submit("next")
            assert not next_one.done()
            if ending == "end":
                gate.set()
                assert len(list(stream)) == 4
            elif ending == "close":
                stream.close()
            else:
                del stream
                gc.collect()
            assert next_one.result(10).content == "hello"
            assert backend.active_requests == 0


def test_dropped_streams_free_their_places_with_nobody_waiting(make):
    with faults.FaultServer(then=faults.sse([*faults.sse_events(chat_wire.delta("a"), done=False),
                                             faults.Gate()])) as server:  # fmt: skip
        backend = make(server.url, max_concurrent_requests=2)
        for _ in range(6):
            assert next(iter(backend.stream_chat("hi"))).delta == "a"
        assert backend.active_requests == 0
        assert backend.queue_processor is None
        server.wait_for_hang_ups(6)


def test_what_was_read_before_close_can_be_had(make):
    with faults.FaultServer([chat_wire.stream(*TEXTS)]) as server:
        stream = make(server.url).stream_chat("hi")
        next(stream)
        stream.close()
        assert stream.response().content.startswith("Hel")
        assert list(stream) == []


def cut_points():
    body = b"".join(faults.sse_events(*chat_wire.events("Hel", "lö 😀")))
    return body, range(1, len(body) + 1)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("chunked", [True, False])
def test_cut_at_every_byte(make, end, chunked):
    """The whole answer, or an interruption with exactly the text so far."""
    pieces = faults.sse_events(*chat_wire.events("Hel", "lö 😀"))
    body, cuts = cut_points()
    cuts = [cut for cut in cuts if cut % 7 == 0 or cut > len(body) - 150]
    interrupted = 0
    with faults.FaultServer(
        faults.sse(pieces, cut_at=cut, end=end, chunked=chunked) for cut in cuts
    ) as server:
        backend = make(
            server.url, max_retries=0, circuit_breaker={"failure_threshold": 10**6}, timeout=20
        )
        for cut in cuts:
            text = ""
            try:
                stream = backend.stream_chat("hi")
                for chunk in stream:
                    text += chunk.delta
            except StreamInterruptedError as error:
                interrupted += 1
                assert error.partial is not None
                assert error.partial.content == text
                assert "Hellö 😀".startswith(text)
                sent = body[:cut].decode("utf-8", "ignore")
                if end == "close":
                    # By FIN, everything that was sent arrives.
                    assert text == "".join(
                        t for t in ("Hel", "lö 😀") if f'"{t}"' in _unescaped(sent)
                    )
            except ApiConnectionError:
                assert not text  # broken before anything was to be had
            else:
                assert text == "Hellö 😀"
                response = stream.response()
                assert response.finish_reason == "stop"
                assert response.usage.total_tokens == 5
        assert backend.active_requests == 0
    assert interrupted > len(cuts) // 3


def _unescaped(text):
    return "".join(
        json.loads(line[6:])["choices"][0]["delta"]["content"].join('""')
        for line in text.split("\n")
        if line.startswith("data: {") and _is_json(line[6:]) and json.loads(line[6:])["choices"]
    )


def _is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_an_error_before_the_first_chunk_is_raised_at_once_and_retried(make, clock):
    clock.chance = 0.0
    schedule = [faults.error(503), faults.reset(), chat_wire.stream("x")]
    with faults.FaultServer(schedule) as server:
        backend = make(server.url, resources={"clock": clock})
        stream = backend.stream_chat("hi")
        assert stream.response().attempts == 3
        server.schedule(faults.error(401, "no"), faults.html())
        for kind in (ApiError, InvalidResponseError):
            with pytest.raises(kind):
                backend.stream_chat("hi")
    assert backend.active_requests == 0


def test_a_stream_that_has_yielded_is_not_retried(make):
    pieces = faults.sse_events(chat_wire.delta("a"), done=False)
    with faults.FaultServer([faults.sse(pieces, end="reset")]) as server:
        backend = make(server.url)
        stream = backend.stream_chat("hi", request_id="mine")
        assert next(stream).delta == "a"
        with pytest.raises(StreamInterruptedError) as caught:
            next(stream)
    error = caught.value
    assert len(server.requests) == 1
    assert error.partial.content == "a"
    assert (error.backend, error.endpoint_id, error.request_id) == (
        "sample_backend",
        "default",
        "mine",
    )
    assert error.attempts == 1
    assert backend.get_stats()["errors"] == {"StreamInterruptedError": 1}


def test_an_error_in_mid_stream_shows_no_key(make):
    report = {"error": {"message": f"bad key {KEY}", "type": "server_error", "code": KEY}}
    garbage = f"not json {KEY}"
    for event in (report, garbage):
        pieces = faults.sse_events(chat_wire.delta("a"), event, done=False)
        gate = faults.Gate()
        with faults.FaultServer([faults.sse([pieces[0], gate, pieces[1]])]) as server:
            stream = make(server.url, sample_api_key=KEY).stream_chat("hi")
            assert next(stream).delta == "a"
            gate.set()
            with pytest.raises(StreamInterruptedError) as caught:
                list(stream)
        shown, cause = "", caught.value
        while cause is not None:
            shown += f"{cause} {cause!r} {vars(cause) if isinstance(cause, ApiError) else ''}"
            cause = cause.__cause__ or cause.__context__
        assert KEY not in shown
        assert caught.value.partial.content == "a"


def test_an_empty_stream_is_an_interruption_with_an_empty_answer(make):
    with faults.FaultServer(then=faults.sse([])) as server:
        with pytest.raises(StreamInterruptedError) as caught:
            make(server.url, max_retries=0).stream_chat("hi")
    assert caught.value.partial.content == ""


def test_an_answer_that_is_no_stream_is_chunks_all_the_same(make):
    with faults.FaultServer(then=chat_wire.chat(WHOLE)) as server:
        backend = make(server.url)
        stream = backend.stream_chat("hi")
        assert "".join(c.delta for c in stream) == WHOLE
        assert stream.response().usage.total_tokens == 5
        raw = list(backend.make_stream_request({"messages": [], "model": "m"}))
        assert raw == [chat_wire.completion(WHOLE)]
        assert backend.active_requests == 0
        assert server.connections == 1


def test_raw_events_are_the_provider_s_own(make):
    with faults.FaultServer(then=chat_wire.stream("a", "b")) as server:
        backend = make(server.url)
        events = list(backend.make_stream_request({"messages": [], "model": "m"}))
        assert events == chat_wire.events("a", "b")
        unread = backend.make_stream_request({"messages": []})
        unread.close()  # before the first event
        assert backend.active_requests == 0
        with backend.make_stream_request({"messages": []}) as stream:
            assert next(stream) == chat_wire.delta("a")
        assert backend.active_requests == 0


def test_a_slow_stream_ends_at_the_deadline(make):
    pieces = [*faults.sse_events(chat_wire.delta("a"), done=False), faults.Gate()]
    with faults.FaultServer([faults.sse(pieces)]) as server:
        stream = make(server.url).stream_chat("hi", timeout=0.2)
        assert next(stream).delta == "a"
        with pytest.raises(StreamInterruptedError) as caught:
            next(stream)
        assert isinstance(caught.value.__cause__, ApiTimeoutError)
        server.wait_for_hang_ups(1)


def test_another_thread_may_close_a_stream_that_waits(make):
    pieces = [*faults.sse_events(chat_wire.delta("a"), done=False), faults.Gate()]
    with faults.FaultServer([faults.sse(pieces)]) as server:
        backend = make(server.url)
        stream = backend.stream_chat("hi", timeout=60)
        next(stream)
        ended = threading.Event()

        def read():
            try:
                list(stream)
            except ApiError:
                pass
            finally:
                ended.set()

        thread = threading.Thread(target=read)
        thread.start()
        stream.close()
        assert ended.wait(10)
        thread.join(10)
        assert backend.active_requests == 0


def test_rate_limits_before_and_in_a_stream(make):
    limit = {"error": {"message": "slow down", "type": "rate_limit_error", "code": None}}
    schedule = [faults.rate_limited(60), faults.sse(faults.sse_events(limit))]
    with faults.FaultServer(schedule) as server:
        backend = make(server.url, max_retries=0)
        with pytest.raises(RateLimitError) as caught:
            backend.stream_chat("hi")
        assert caught.value.retry_after == 60
        backend.update_endpoint("default", api_key="other-key")
        with pytest.raises(RateLimitError):
            backend.stream_chat("hi")
        assert backend.active_requests == 0


def test_events_that_are_no_answer(make):
    for body in ([b"data: 5\n\n"], [b"data: [DONE]\n\n"], [b"hello\n\n"]):
        with faults.FaultServer(then=faults.sse(body)) as server:
            with pytest.raises((InvalidResponseError, StreamInterruptedError, ServerError)):
                make(server.url, max_retries=0).stream_chat("hi")
