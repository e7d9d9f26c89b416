"""The async faces: nothing blocks the loop, and cancelling gives everything back."""

from __future__ import annotations

import asyncio
import socket
import threading

import chat_wire
import pytest
from servers import faults

from api_backends.errors import (
    ApiTimeoutError,
    BackendClosedError,
    InvalidRequestError,
    QueueFullError,
    StreamInterruptedError,
)


def run(coroutine):
    """Run a coroutine with a deadline."""

    async def main():
        return await asyncio.wait_for(coroutine, 20)

    return asyncio.run(main())


async def in_executor(function, *args):
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


def test_answers_of_every_kind(make):
    models = {"data": [{"id": "echo"}]}
    vectors = {"data": [{"index": 0, "embedding": [1.0]}], "model": "e"}
    schedule = [
        chat_wire.chat(), chat_wire.stream("a", "b"), faults.answer(vectors),
        faults.answer({"own": 1}), chat_wire.stream("c"), faults.answer(models),
        faults.answer(models), faults.answer({"own": 2}), faults.answer({"own": 3}),
    ]  # fmt: skip

    async def main(backend):
        assert (await backend.achat("hi")).content == "hello"
        assert "".join([c.delta async for c in backend.astream_chat("hi")]) == "ab"
        assert (await backend.aembed("hi")).embeddings.tolist() == [[1.0]]
        assert await backend.amake_post_request({"messages": []}) == {"own": 1}
        raw = [event async for event in backend.amake_stream_request({"messages": []})]
        assert raw == chat_wire.events("c")
        assert await backend.alist_models() == [{"id": "echo"}]
        assert await backend.atest_endpoint() is True
        assert await backend.amake_request_with_endpoint("default", {}) == {"own": 2}
        assert await backend.create_endpoint_handler().acall({"messages": []}) == {"own": 3}
        assert await backend.atest_endpoint("http://127.0.0.1:9") is False

    with faults.FaultServer(schedule) as server:
        run(main(make(server.url)))


def test_many_at_once_on_one_loop(make):
    async def main(backend):
        return await asyncio.gather(*(backend.achat("hi") for _ in range(50)))

    with faults.FaultServer(then=chat_wire.chat()) as server:
        answers = run(main(make(server.url, max_concurrent_requests=4)))
        assert len(answers) == 50
        assert server.max_running <= 4


def test_sync_calls_work_inside_a_running_loop(make):
    async def main(backend):
        assert backend.chat("hi").content == "hello"
        assert "".join(c.delta for c in backend.stream_chat("hi")) == "a"
        return backend.submit("hi").result(10).content

    with faults.FaultServer([chat_wire.chat(), chat_wire.stream("a"), chat_wire.chat()]) as server:
        assert run(main(make(server.url))) == "hello"


def test_a_full_queue_does_not_block_the_loop(make):
    gate = faults.Gate()

    async def main(backend, server):
        first = asyncio.ensure_future(backend.achat("a"))
        await in_executor(server.wait_for_requests, 1)
        second = asyncio.ensure_future(backend.achat("b"))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await backend.achat("c")
        patient = asyncio.ensure_future(backend.achat("c", queue_full="block"))
        stream = backend.astream_chat("d", queue_full="block", timeout=0.05)
        with pytest.raises(ApiTimeoutError):  # the loop goes on, so that this can come
            await stream.__anext__()
        assert not patient.done()
        gate.set()
        return [(await task).content for task in (first, second, patient)]

    with faults.FaultServer(then=faults.held(chat_wire.completion(), gate=gate)) as server:
        backend = make(server.url, max_concurrent_requests=1, queue_size=1)
        assert run(main(backend, server)) == ["hello"] * 3


def test_cancelling_a_task_cancels_its_call(make):
    gate = faults.Gate()

    async def main(backend, server):
        running = asyncio.ensure_future(backend.achat("a"))
        await in_executor(server.wait_for_requests, 1)
        waiting = asyncio.ensure_future(backend.achat("b"))
        await asyncio.sleep(0)
        assert backend.request_queue.qsize() == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert backend.request_queue.qsize() == 0
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        gate.set()
        return (await backend.achat("c")).content

    with faults.FaultServer([faults.held(gate=gate)], then=chat_wire.chat()) as server:
        backend = make(server.url, max_concurrent_requests=1)
        assert run(main(backend, server)) == "hello"
        assert len(server.requests) == 2
        assert backend.active_requests == 0


@pytest.mark.parametrize("when", ["opening", "reading", "between"])
def test_leaving_a_stream_frees_place_and_connection(make, when):
    first = faults.sse_events(chat_wire.delta("a"), done=False)
    pieces = [faults.Gate()] if when == "opening" else [*first, faults.Gate()]

    async def read(backend, begun):
        async for chunk in backend.astream_chat("hi"):
            assert chunk.delta == "a"
            begun.set()
            if when == "between":
                break

    async def main(backend, server):
        begun = asyncio.Event()
        task = asyncio.ensure_future(read(backend, begun))
        if when == "opening":
            await in_executor(server.wait_for_requests, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return
        await begun.wait()
        if when == "reading":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task

    with faults.FaultServer([faults.sse(pieces)], then=chat_wire.chat()) as server:
        backend = make(server.url, max_concurrent_requests=1)
        run(main(backend, server))
        if when == "opening":
            # Its request is on the wire: the place is free when the server has answered.
            for connection in list(server._sockets):
                connection.shutdown(socket.SHUT_RDWR)
        assert backend.chat("next", timeout=10).content == "hello"
        assert backend.active_requests == 0


def test_a_stream_that_breaks_raises_in_the_loop(make):
    pieces = faults.sse_events(chat_wire.delta("a"), done=False)

    async def main(backend):
        text = ""
        try:
            async for chunk in backend.astream_chat("hi"):
                text += chunk.delta
        except StreamInterruptedError as error:
            return text, error.partial.content
        return "no error"

    with faults.FaultServer([faults.sse(pieces, end="reset")]) as server:
        assert run(main(make(server.url))) == ("a", "a")


def test_close_ends_what_is_awaited(make):
    gate = faults.Gate()

    async def main(backend, server):
        running = asyncio.ensure_future(backend.achat("a"))
        await in_executor(server.wait_for_requests, 1)
        waiting = [asyncio.ensure_future(backend.achat("b")) for _ in range(3)]
        await asyncio.sleep(0)
        await in_executor(backend.close)
        for task in waiting:
            with pytest.raises(BackendClosedError):
                await task
        gate.set()
        return (await running).content

    with faults.FaultServer([faults.held(chat_wire.completion(), gate=gate)]) as server:
        assert run(main(make(server.url, max_concurrent_requests=1), server)) == "hello"


def test_a_back_end_outlives_its_loops(make):
    with faults.FaultServer(then=chat_wire.chat()) as server:
        backend = make(server.url)
        for _ in range(3):
            assert run(backend.achat("hi")).content == "hello"


def test_bad_input_is_raised_where_it_is_awaited(make):
    backend = make("http://127.0.0.1:9")
    with pytest.raises(InvalidRequestError):
        run(backend.achat(""))
    with pytest.raises(InvalidRequestError):
        run(backend.astream_chat("").__anext__())


def test_no_loop_and_no_thread_for_those_who_do_not_use_them(make):
    before = threading.active_count()
    with faults.FaultServer(then=chat_wire.chat()) as server:
        make(server.url).chat("hi")
        ours = [t for t in threading.enumerate() if t.name.startswith("ipfs")]
    assert not ours
    assert threading.active_count() == before
