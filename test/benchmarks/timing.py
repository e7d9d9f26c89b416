"""Time on the clock and on the processor, of clients that take turns.

Every client is measured a little in every round, and every round begins with another one: what
slows the machine for a while slows all of them, and the ratios stay.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from servers.bench_server import STREAM_CHUNKS

from .http_peers import Client
from .report import Figure, Row


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: rounds, and the seconds that each client gets in a round."""

    rounds: int = 11
    seconds: float = 0.15
    thread_rounds: int = 7
    thread_seconds: float = 0.5


QUICK = Effort(rounds=5, seconds=0.05, thread_rounds=3, thread_seconds=0.15)


@contextlib.contextmanager
def _settled_heap() -> Iterator[None]:
    """Leave what the peers' imports left behind out of everybody's garbage collections.

    A million objects of one library would otherwise be walked while another is on the clock.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _in_turn(clients: list[Client], rounds: int) -> Iterator[Client]:
    """Yield every client once a round, each round beginning with another."""
    for number in range(rounds):
        first = number % len(clients)
        yield from clients[first:] + clients[:first]


def _repeats(call: Callable[[], Any], seconds: float) -> int:
    """Return how many calls take about `seconds`, after a few to warm up."""
    call()
    began = time.perf_counter()
    count = 0
    while count < 3 or time.perf_counter() - began < seconds / 3:
        call()
        count += 1
    return max(1, round(seconds * count / (time.perf_counter() - began)))


def measure_calls(clients: list[Client], effort: Effort) -> tuple[Figure, Figure]:
    """Return CPU a call and calls a second, from one thread.

    CPU is that of the whole process: whatever a library does on threads of its own counts.
    """
    cpu = _figure("chat_cpu", "CPU a call", "µs", clients, caption="CPU of one chat call")
    rate = _figure("chat_rate_1", "1 thread", "calls/s", clients, is_cost=False)
    with _settled_heap():
        repeats = {c.name: _repeats(c.chat, effort.seconds) for c in clients}
        for client in _in_turn(clients, effort.rounds):
            chat, count = client.chat, repeats[client.name]
            began, cpu_began = time.perf_counter(), time.process_time()
            for _ in range(count):
                chat()
            cpu_took = time.process_time() - cpu_began
            took = time.perf_counter() - began
            _add(cpu, client, cpu_took / count * 1e6)
            _add(rate, client, count / took)
    return cpu, rate


def measure_streams(clients: list[Client], effort: Effort) -> Figure:
    """Return the CPU of reading a stream, in milliseconds per 1000 chunks."""
    able = [c for c in clients if c.stream is not None]
    figure = _figure(
        "stream_cpu", "CPU per 1000 chunks", "ms", able, caption="CPU of 1000 streamed chunks"
    )
    with _settled_heap():
        repeats = {c.name: _repeats(c.stream, effort.seconds) for c in able if c.stream}
        for client in _in_turn(able, effort.rounds):
            stream, count = client.stream, repeats[client.name]
            assert stream is not None
            began = time.process_time()
            for _ in range(count):
                stream()
            took = time.process_time() - began
            _add(figure, client, took / count * 1e3 * 1000 / STREAM_CHUNKS)
    return figure


def measure_threads(clients: list[Client], effort: Effort, threads: int = 16) -> Figure:
    """Return calls a second when `threads` threads call one client at once."""
    figure = _figure(
        f"chat_rate_{threads}",
        f"{threads} threads",
        "calls/s",
        clients,
        is_cost=False,
        caption=f"Chat calls from {threads} threads",
    )
    with _settled_heap():
        each = {}
        for client in clients:
            once = calls_per_second(client.chat, threads, 3)
            each[client.name] = max(3, round(once * effort.thread_seconds / threads))
        for client in _in_turn(clients, effort.thread_rounds):
            _add(figure, client, calls_per_second(client.chat, threads, each[client.name]))
    return figure


def calls_per_second(call: Callable[[], Any], threads: int, each: int) -> float:
    """Return the rate at which `threads` threads make `each` calls apiece.

    Raises:
        Exception: What a call raised; a rate of failures would be none.
    """
    gate = threading.Barrier(threads + 1)
    errors: list[BaseException] = []

    def work() -> None:
        gate.wait(60)
        try:
            for _ in range(each):
                call()
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    gate.wait(60)
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - began
    if errors:
        raise errors[0]
    return threads * each / took


def _figure(key: str, title: str, unit: str, clients: list[Client], **more: Any) -> Figure:
    return Figure(key, title, unit, [Row(client.name, []) for client in clients], **more)


def _add(figure: Figure, client: Client, sample: float) -> None:
    row = figure.row(client.name)
    assert row is not None
    row.samples.append(sample)
