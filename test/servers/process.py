"""Servers that are programs of their own: started, waited for, and always stopped."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


class ServerProcess:
    """A server program, ready when it says so on its output; a context manager.

    Args:
        command: Program and arguments.
        ready: Regular expression of the line that it prints when it can be talked to.
        timeout: Seconds that it may take until then.
        env: Environment variables beside the ones of this process.

    `ready_match` is the match of that line, `output` the last 200 lines printed so far.

    Raises:
        RuntimeError: It ended, or was not ready in time; the message has its last lines.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        ready: str,
        timeout: float,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.output: deque[str] = deque(maxlen=200)
        self.ready_match: re.Match[str] | None = None
        self._pattern = re.compile(ready)
        self._news = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            [*command],
            stdin=subprocess.PIPE,  # ends with us, which programs of our own take as the end
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name="server-output", daemon=True)
        self._reader.start()
        try:
            self._wait_until_ready(timeout)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, timeout: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self.ready_match or self._ended, timeout)
        if self.ready_match is None:
            what = "ended" if self._ended else f"was not ready after {timeout} s"
            printed = "\n".join(self.output)
            raise RuntimeError(f"{self._process.args!r} {what}; it printed:\n{printed}")

    def stop(self, timeout: float = 10.0) -> None:
        """Ask the program to end; kill it if it has not after `timeout` seconds."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(timeout)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.output.append(line.rstrip())
                self.ready_match = self.ready_match or self._pattern.search(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()
