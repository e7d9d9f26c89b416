"""Threads for calls that nobody's own thread runs: `submit` and the async twins."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

__all__ = ["WorkerPool"]

Task = Callable[[], None]

IDLE_SECONDS = 5.0


class WorkerPool:
    """A lazily grown pool of daemon threads that end when there was nothing to do for a while.

    It needs no limit of its own: the engine hands it a task only with a place, and there are
    `max_concurrent_requests` of those.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        # Reentrant: a destructor may close this on a thread that is just inside.
        self._lock = threading.RLock()
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        # Idle threads that no task in the queue is meant for yet.
        self._idle = 0
        self._closed = False
        self._threads: set[threading.Thread] = set()

    def start(self, task: Task) -> None:
        """Run `task` on a thread, at once. It must see to its own errors.

        Raises:
            RuntimeError: The system gives no more threads; the task is not run.
        """
        thread = None
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                thread = threading.Thread(
                    target=self._work, name=f"ipfs-accelerate-{self._name}-worker", daemon=True
                )
                self._threads.add(thread)
        if thread is not None:
            try:
                thread.start()
            except RuntimeError:
                self._threads.discard(thread)
                raise
        self._tasks.put(task)

    def close(self, timeout: float) -> None:
        """Let every thread end: an idle one now, a busy one after its task.

        Args:
            timeout: Longest wait for a thread to end, in seconds; 0 waits for none.
        """
        with self._lock:
            self._closed = True
            threads = list(self._threads) if timeout else []
            for _ in range(self._idle):
                self._tasks.put(None)
            self._idle = 0
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(timeout)

    def _work(self) -> None:
        try:
            task: Task | None = self._tasks.get()
            while task is not None:
                task()
                task = None  # an idle thread keeps nothing alive
                task = self._next()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _next(self) -> Task | None:
        with self._lock:
            if self._closed:
                return None
            self._idle += 1
        try:
            return self._tasks.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            with self._lock:
                try:
                    # A task may have come between the end of the wait and this lock.
                    return self._tasks.get_nowait()
                except queue.Empty:
                    self._idle -= 1
                    return None
