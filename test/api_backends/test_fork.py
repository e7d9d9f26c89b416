"""After os.fork(), and at the end of the interpreter: nobody hangs."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

import chat_wire
import pytest
from servers import faults

ROOT = Path(__file__).resolve().parents[2]


def in_child(function):
    """Run `function` in a forked child; return what it says, with a deadline."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads run: that is the point
        pid = os.fork()
    if pid == 0:
        said = b"nothing"
        try:
            said = repr(function()).encode()
        except BaseException:
            said = traceback.format_exc().encode()
        finally:
            os.write(write, said)
            os._exit(0)
    os.close(write)
    ready, _, _ = select.select([read], [], [], 20)
    if not ready:
        os.kill(pid, 9)
    os.waitpid(pid, 0)
    said = os.read(read, 65536).decode() if ready else "the child hangs"
    os.close(read)
    return said


def test_a_child_chats_streams_and_submits_while_the_parent_waits(make):
    gate = faults.Gate()

    def behave(exchange):
        body = exchange.request.json()
        said = body["messages"][0]["content"]
        if said == "parent":
            faults.held(chat_wire.completion("parent"), gate=gate)(exchange)
        elif body.get("stream"):
            chat_wire.stream("stre", "am")(exchange)
        else:
            chat_wire.chat(said)(exchange)

    with faults.FaultServer(then=behave) as server:
        backend = make(server.url, max_concurrent_requests=1)
        assert backend.chat("warm").content == "warm"  # an open connection to share by mistake
        running = backend.submit("parent")
        server.wait_for_requests(2)
        waiting = [backend.submit("parent") for _ in range(3)]
        sync = threading.Thread(target=backend.chat, args=("parent",))
        sync.start()

        def child():
            assert backend.active_requests == 0
            assert backend.request_queue.qsize() == 0
            said = [backend.chat("child").content]
            said.append("".join(c.delta for c in backend.stream_chat("child")))
            said += [f.result(10).content for f in [backend.submit("many") for _ in range(4)]]
            backend.close()
            return said

        assert in_child(child) == repr(["child", "stream", *["many"] * 4])
        assert backend.active_requests == 1  # the parent's own
        gate.set()
        assert [f.result(10).content for f in (running, *waiting)] == ["parent"] * 4
        sync.join(10)
        assert not sync.is_alive()


def test_a_stream_of_the_parent_in_the_child(make):
    gate = faults.Gate()
    pieces = faults.sse_events(*chat_wire.events("a", "b"))
    behaviour = faults.sse([pieces[0], gate, *pieces[1:]])
    with faults.FaultServer([behaviour], then=chat_wire.chat()) as server:
        backend = make(server.url, max_concurrent_requests=1)
        stream = backend.stream_chat("hi")
        next(stream)

        def child():
            return backend.chat("child", timeout=10).content, backend.active_requests

        assert in_child(child) == repr(("hello", 0))
        gate.set()
        assert "".join(c.delta for c in stream) == "b"


def test_a_fork_while_threads_hammer(make):
    with faults.FaultServer(then=chat_wire.chat()) as server:
        backend = make(server.url, max_concurrent_requests=3)
        stop = threading.Event()

        def hammer():
            while not stop.is_set():
                backend.chat("hi")

        threads = [threading.Thread(target=hammer) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                said = in_child(lambda: [backend.chat("c", timeout=10).content for _ in range(3)])
                assert said == repr(["hello"] * 3)
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)


def test_a_probe_of_the_parent_does_not_block_the_child(make, clock):
    with faults.FaultServer([faults.error(503)], then=faults.stall()) as server:
        backend = make(
            server.url, max_retries=0, circuit_breaker={"failure_threshold": 1},
            resources={"clock": clock},
        )  # fmt: skip
        assert not backend.test_endpoint()
        clock.advance(30)
        probe = backend.submit("probe")
        server.wait_for_requests(2)
        assert backend.circuit_state == "HALF_OPEN"
        assert in_child(lambda: backend.circuit_state) == repr("OPEN")
        probe.cancel()


SCRIPT = """
import sys, threading
sys.path[:0] = [{root!r}, {test!r}, {here!r}]
import warnings
warnings.simplefilter("error")
import chat_wire
from servers import faults
from api_backends.sample_backend import SampleBackend

first = faults.sse_events(chat_wire.delta("a"), done=False)
def behave(exchange):
    if exchange.request.json().get("stream"):
        faults.sse([*first, faults.Gate()])(exchange)
    elif "idle" in str(exchange.request.json()):
        chat_wire.chat()(exchange)
    else:
        faults.stall()(exchange)

server = faults.FaultServer(then=behave)
backend = SampleBackend(metadata={{"api_base": server.url, "max_concurrent_requests": 4}})
{body}
print("end", flush=True)
"""

BODIES = {
    "pending submits": (
        "futures = [backend.submit('x') for _ in range(9)]; server.wait_for_requests(4)"
    ),
    "an open stream": "stream = backend.stream_chat('x'); next(stream)",
    "idle workers": "[f.result(10) for f in [backend.submit('idle') for _ in range(4)]]",
    "a waiting retry": (
        "dead = SampleBackend(metadata={'api_base': 'http://127.0.0.1:9', "
        "'initial_retry_delay': 60, 'max_retry_delay': 60}); f = dead.submit('x')"
    ),
    "a daemon that waits": (
        "threading.Thread(target=backend.chat, args=('x',), daemon=True).start(); "
        "server.wait_for_requests(1)"
    ),
}


@pytest.mark.parametrize("left", BODIES)
def test_the_interpreter_ends_promptly_whatever_is_left(left):
    script = SCRIPT.format(
        root=str(ROOT), test=str(ROOT / "test"), here=str(Path(__file__).parent), body=BODIES[left]
    )
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.strip() == "end", done.stderr
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "ResourceWarning" not in done.stderr
    assert time.monotonic() - begun < 10
