"""`ipfs-accelerate bench`: a few figures of this machine, in about half a minute."""

from __future__ import annotations

import json
import socketserver
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from api_backends.errors import ApiError

from .usage import UsageError, add_json

if TYPE_CHECKING:
    import argparse

    from .terminal import Terminal

__all__ = ["add_arguments", "run"]

ROUNDS, CALLS = 7, 100
"""Calls are timed in rounds of so many, ours and the others' in turn; the median round counts."""

SENTENCES = 256
MODEL = "bench-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "--only", choices=("embeddings", "calls"), help="measure one of the two (both)"
    )
    parser.add_argument(
        "--sentences", type=int, default=SENTENCES, metavar="N", help=f"to embed ({SENTENCES})"
    )
    add_json(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Measure and print."""
    if arguments.sentences < 1:
        raise UsageError(f"--sentences: {arguments.sentences} given; it is 1 or more")
    figures: dict[str, Any] = {}
    if arguments.only != "calls":
        figures["embeddings"] = _embeddings(arguments.sentences, terminal)
    if arguments.only != "embeddings":
        with terminal.working("measuring the cost of a call"):
            figures["calls"] = _calls()
    if arguments.json:
        terminal.json(figures)
    else:
        _print(figures, terminal)
    return 1 if any(row["problem"] for row in figures.get("embeddings", ())) else 0


# -- embeddings ---------------------------------------------------------------------------------


def _embeddings(count: int, terminal: Terminal) -> list[dict[str, Any]]:
    """Embed the same sentences of mixed length on every device."""
    from hardware import detect_devices
    from hardware.models import default_model

    texts = _sentences(count)
    model = default_model("feature-extraction")
    rows = []
    for device in detect_devices():
        if device.available:
            row: dict[str, Any] = {"device": device.id, "model": model, "problem": None}
            try:
                row |= _embed_on(device, model, texts, terminal)
            except ApiError as error:  # another device may still do
                row["problem"] = str(error)
            rows.append(row)
    return rows


def _embed_on(device: Any, model: str, texts: list[str], terminal: Terminal) -> dict[str, Any]:
    import hardware

    began = time.perf_counter()
    with terminal.working(f"loading the model on {device.id}"):
        loaded = hardware.load(model, device).warmup()
    load_seconds = time.perf_counter() - began
    with loaded:
        alone = [loaded(texts[i % len(texts)]).latency for i in range(20)]
        with terminal.progress(f"embedding on {device.id}", "sentences") as progress:
            answer = loaded(texts, progress=progress)
    return {
        "precision": loaded.precision,
        "load_seconds": round(load_seconds, 3),
        "sentences": len(texts),
        "sentences_per_second": round(len(texts) / answer.latency, 1),
        "tokens_per_second": round(answer.usage.prompt_tokens / answer.latency),
        "single_milliseconds": round(statistics.median(alone) * 1000, 2),
    }


def _sentences(count: int) -> list[str]:
    """Return sentences of 3 to 60 words, the same on every machine: Python's own reference."""
    from ..search import passages_of
    from .demo_texts import python_reference

    units = [
        unit.text
        for passage in passages_of(python_reference().documents)
        for unit in passage.units
        if not unit.code and 3 <= len(unit.text.split()) <= 60
    ]
    return [units[index % len(units)] for index in range(count)]


# -- calls --------------------------------------------------------------------------------------


def _calls() -> dict[str, Any]:
    """Time `chat()` and the same exchange by requests and urllib3, on the CPU of their thread."""
    import requests
    import urllib3

    from ..own_server import OwnServer

    body = {"model": MODEL, "messages": [{"role": "user", "content": "How are you?"}]}
    with (
        _loopback_server() as url,
        OwnServer(url) as backend,
        requests.Session() as session,
        urllib3.PoolManager() as pool,
    ):
        path = f"{url}/v1/chat/completions"
        ways: dict[str, Callable[[], Any]] = {
            "chat": lambda: backend.chat("How are you?", MODEL),
            "requests": lambda: session.post(path, json=body, timeout=10).json(),
            "urllib3": lambda: pool.request("POST", path, json=body, timeout=10.0).json(),
        }
        cost = _interleaved(ways)
    return {
        "calls": ROUNDS * CALLS,
        "cpu_microseconds": {name: round(value * 1e6, 1) for name, value in cost.items()},
        "ratio_to_requests": round(cost["chat"] / cost["requests"], 2),
        "ratio_to_urllib3": round(cost["chat"] / cost["urllib3"], 2),
    }


def _interleaved(ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the CPU seconds of a call for each way: the median of rounds that take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        call()
    for _ in range(ROUNDS):
        for name, call in ways.items():
            began = time.thread_time()
            for _ in range(CALLS):
                call()
            seconds[name].append((time.thread_time() - began) / CALLS)
    return {name: statistics.median(values) for name, values in seconds.items()}


class _Exchange(socketserver.StreamRequestHandler):
    """Answers every request of a connection with the same chat completion."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        message = {"role": "assistant", "content": "A sentence of the usual length, no more."}
        body = json.dumps(
            {
                "id": "bench",
                "object": "chat.completion",
                "created": 0,
                "model": MODEL,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 13},
            }
        ).encode()
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
        answer = f"{head}{len(body)}\r\n\r\n".encode() + body
        while line := self.rfile.readline():
            length = 0
            while line not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                line = self.rfile.readline()
            self.rfile.read(length)
            self.wfile.write(answer)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def _loopback_server() -> Iterator[str]:
    """Serve on a free port of 127.0.0.1 and yield the address."""
    with _Server(("127.0.0.1", 0), _Exchange) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _print(figures: dict[str, Any], terminal: Terminal) -> None:
    rows = figures.get("embeddings")
    if rows is not None:
        terminal.heading("Embeddings", "sentences of Python's reference, 3 to 60 words")
        table = [
            [row["device"], "-", "-", "-", "-", row["problem"]]
            if row["problem"]
            else [
                row["device"],
                row["precision"],
                f"{row['sentences_per_second']:.0f}",
                f"{row['tokens_per_second']}",
                f"{row['single_milliseconds']:.1f} ms",
                f"{row['load_seconds']:.1f} s",
            ]
            for row in rows
        ]
        terminal.table(
            ["device", "computes in", "sentences/s", "tokens/s", "one alone", "loaded in"],
            table,
            right=(2, 3, 4),
        )
    calls = figures.get("calls")
    if calls is not None:
        terminal.heading("A call", "CPU of the calling thread, to a server on 127.0.0.1")
        names = {"chat": "chat()", "requests": "requests post + json", "urllib3": "urllib3 + json"}
        table = [
            [names[name], f"{value:.0f} µs", f"{calls['cpu_microseconds']['chat'] / value:.2f}"]
            for name, value in calls["cpu_microseconds"].items()
        ]
        terminal.table(["way", "CPU a call", "chat() / this"], table, right=(1, 2))
