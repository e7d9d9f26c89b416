"""100,000 calls through one back end: memory flat, no warning, no thread left.

    python test/benchmarks/soak.py [--calls 100000] [--threads 16]

The server runs in a process of its own, so that this one's memory is the back end's alone. Exits 0
only if memory grew by less than 2 MB after the first tenth, nothing warned and no thread was left.
"""

from __future__ import annotations

import argparse
import gc
import json
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

MEGABYTE = 1 << 20
ALLOWED_GROWTH = 2 * MEGABYTE

ANSWER = json.dumps({
    "id": "soak", "object": "chat.completion", "model": "echo",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"},
                 "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}).encode()  # fmt: skip
MESSAGE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(ANSWER),
    ANSWER,
)


def serve() -> None:
    """Answer every request alike, a thread a connection; print the port first."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            received = connection.recv(65536)
            if not received:
                connection.close()
                return
            data += received
        head, data = data.split(b"\r\n\r\n", 1)
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        while len(data) < length:
            data += connection.recv(65536)
        data = data[length:]
        connection.sendall(MESSAGE)


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    import psutil

    gc.collect()
    return int(psutil.Process().memory_info().rss)


def soak(calls: int = 100_000, threads: int = 16) -> dict[str, Any]:
    """Make `calls` calls from `threads` threads.

    Returns:
        Calls, seconds, resident memory in bytes after the first tenth and at the end, the
        warnings, and the names of threads left.
    """
    from api_backends.sample_backend import SampleBackend

    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--serve"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    seen: list[str] = []
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            begun = time.monotonic()
            backend = SampleBackend(
                metadata={"api_base": url, "max_concurrent_requests": threads, "queue_size": calls}
            )
            with ThreadPoolExecutor(threads) as pool:
                first = _run(pool, backend, calls // 10, threads)
                early = resident()
                answered = first + _run(pool, backend, calls - first, threads)
                late = resident()
            backend.close()
            del backend
            gc.collect()
            seen = [str(warning.message) for warning in caught]
            seconds = time.monotonic() - begun
    finally:
        server.kill()
        server.wait(10)
        server.stdout.close()
    left = [t.name for t in threading.enumerate() if t.name.startswith("ipfs-accelerate")]
    return {
        "calls": answered, "seconds": seconds, "rss_early": early, "rss_late": late,
        "warnings": seen, "threads_left": left,
    }  # fmt: skip


def _run(pool: ThreadPoolExecutor, backend: Any, calls: int, threads: int) -> int:
    shares = [calls // threads + (number < calls % threads) for number in range(threads)]

    def work(count: int) -> int:
        return sum(backend.chat("hi").content == "hello" for _ in range(count))

    return sum(pool.map(work, shares))


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    found = soak(options.calls, options.threads)
    growth = found["rss_late"] - found["rss_early"]
    print(
        f"{found['calls']} calls in {found['seconds']:.1f} s "
        f"({found['calls'] / found['seconds']:.0f} a second)\n"
        f"resident memory: {found['rss_early'] / MEGABYTE:.1f} MB after a tenth, "
        f"{found['rss_late'] / MEGABYTE:.1f} MB at the end ({growth / MEGABYTE:+.2f} MB)\n"
        f"warnings: {found['warnings'] or 'none'}\nthreads left: {found['threads_left'] or 'none'}"
    )
    good = (
        found["calls"] == options.calls
        and growth < ALLOWED_GROWTH
        and not found["warnings"]
        and not found["threads_left"]
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
