"""Who runs next: places, the bounded priority queue, timed retries and the thread that drains.

A call that finds a free place takes it on its own thread and never sees the rest of this module.
Otherwise it stands in the queue until a place is handed to it: by the call that leaves (it knows
at once), or by the back end's daemon thread (for whatever depends on time: a retry that is due,
a key that has rested, a deadline that passed).
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ApiError, ApiTimeoutError, BackendClosedError, QueueFullError
from .call import BLOCKED, GRANTED, IDLE, PARKED, QUEUED, Call
from .clock import Clock
from .endpoints import Choice, Endpoint, EndpointPool

__all__ = ["Admission", "RequestQueue"]

Entry = tuple[float, int, Call]


class RequestQueue(queue.PriorityQueue[Entry]):
    """The waiting calls of one back end, the next one first."""

    def put_back(self, entry: Entry) -> None:
        """Put in a call that was admitted before: the bound is for new ones."""
        with self.mutex:
            heapq.heappush(self.queue, entry)
            self.not_empty.notify()

    def remove(self, call: Call) -> None:
        """Take a call out, wherever it stands."""
        with self.mutex:
            self.queue[:] = [entry for entry in self.queue if entry[2] is not call]
            heapq.heapify(self.queue)
            self.not_full.notify()


class Admission:
    """Hands out places: never more than the limit, by priority, to endpoints that can take one.

    Args:
        name: Name of the back end, for its thread.
        pool: Endpoints to choose from.
        limit: Requests that may run at once.
        queue_size: Calls that may wait.
        clock: Time.
    """

    def __init__(
        self, name: str, pool: EndpointPool, limit: int, queue_size: int, clock: Clock
    ) -> None:
        self.name = name
        self.pool = pool
        self.limit = limit
        self.clock = clock
        self.closed = False
        self.generation = 0
        self._reset(queue_size)

    def _reset(self, queue_size: int) -> None:
        self.lock = threading.RLock()
        self.active = 0
        self.waiting = RequestQueue(queue_size)
        self.thread: threading.Thread | None = None
        self._parked: list[Entry] = []
        self._blocked: deque[Call] = deque()
        self._numbers = itertools.count()
        # Written to from destructors: SimpleQueue and deque are safe there, a lock is not.
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._abandoned: deque[Callable[[], None]] = deque()
        self._wakes_at = float("inf")

    def reset_after_fork(self) -> None:
        """Start afresh in a child process: the threads that waited here live in the parent."""
        self.generation += 1
        self._reset(self.waiting.maxsize)
        for endpoint in self.pool.endpoints.values():
            endpoint.active = 0
            endpoint.breaker.abandoned(self.clock.now())

    @property
    def parked_count(self) -> int:
        """How many calls wait for a time, not for a place."""
        return len(self._parked)

    # -- entering -------------------------------------------------------------------------------

    def enter(self, call: Call) -> Endpoint:
        """Wait on this thread until `call` has a place; return the endpoint chosen for it.

        Raises:
            QueueFullError, CircuitOpenError, RateLimitError, BackendClosedError: At once.
            ApiTimeoutError: No place before the call's deadline.
        """
        with self.lock:
            if self._try_at_once_locked(call):
                return call.take_endpoint()
            call.wake = threading.Lock()
            call.wake.acquire()
            granted = self._stand_in_line_locked(call)
        self.notify(granted)
        return self._wait(call)

    def enter_later(self, call: Call) -> None:
        """Let `call.run` be called on a worker once there is a place; only block for `block`."""
        with self.lock:
            if self._try_at_once_locked(call):
                granted: list[Call] = [call]
            else:
                call.wake = threading.Lock()
                call.wake.acquire()
                granted = self._stand_in_line_locked(call)
            entered = call.wake if call.state == BLOCKED else None
        self.notify(granted)
        if entered and not self.clock.acquire(entered, call.deadline - self.clock.now()):
            self.withdraw(call)
            raise self._too_late(call)

    def wait_until(self, call: Call, due: float) -> Endpoint:
        """Wait on this thread, without a place, until `due` and then for a place."""
        with self.lock:
            if self.closed:
                raise BackendClosedError(_CLOSED)
            call.wake = threading.Lock()
            call.wake.acquire()
            granted = self.park_locked(call, due)
        self.notify(granted)
        return self._wait(call)

    def _try_at_once_locked(self, call: Call) -> bool:
        if self.closed:
            raise BackendClosedError(_CLOSED)
        if self._abandoned:
            self._release_abandoned()
        if self.active >= self.limit or self.waiting.queue:
            return False
        found = self.pool.choose(self.clock.now(), call.pinned, call.avoid)
        if isinstance(found, Endpoint):
            self._grant_locked(call, found)
            return True
        return False

    def _stand_in_line_locked(self, call: Call) -> list[Call]:
        self._ensure_thread_locked()
        if not self._has_room_locked():
            if not call.block:
                raise QueueFullError(
                    f"{self.waiting.maxsize} calls are waiting already (queue_size): slow down, "
                    "raise queue_size or max_concurrent_requests, or pass queue_full='block'"
                )
            call.state = BLOCKED
            self._blocked.append(call)
            return []
        call.state = QUEUED
        self.waiting.put_back(self._number_locked(call))
        if call.run is not None:
            self._wake_by_locked(call.deadline)  # it has no thread of its own to watch the time
        return self._dispatch_locked()

    def _has_room_locked(self) -> bool:
        return len(self.waiting.queue) + len(self._parked) < self.waiting.maxsize

    def _number_locked(self, call: Call) -> Entry:
        """Give `call` its place in line; it keeps it over retries."""
        if call.entry is None:
            number = next(self._numbers)
            # A level counts as many places as the queue has: a burst is served strictly by
            # priority, and a LOW call is overtaken by two queues full of later ones at most.
            level = max(self.waiting.maxsize, 16)
            call.entry = (number + call.priority * level, number, call)
        return call.entry

    def _wake_by_locked(self, when: float) -> None:
        """Have the thread look at the clock at `when`, if it would sleep longer."""
        if when < self._wakes_at:
            self._wakes_at = when
            self._signals.put(None)

    def park_locked(self, call: Call, due: float) -> list[Call]:
        """Set `call` aside until `due`; return calls that got a place meanwhile."""
        self._ensure_thread_locked()
        entry = self._number_locked(call)
        if due <= self.clock.now():
            call.state = QUEUED
            self.waiting.put_back(entry)
            return self._dispatch_locked()
        call.state = PARKED
        heapq.heappush(self._parked, (due, entry[1], call))
        self._wake_by_locked(due if call.run is None else min(due, call.deadline))
        return []

    def _wait(self, call: Call) -> Endpoint:
        wake = call.wake
        assert wake is not None
        since = self.clock.now()
        try:
            in_time = self.clock.acquire(wake, call.deadline - since)
        except BaseException:
            self.withdraw(call)
            raise
        call.wait += self.clock.now() - since
        if not in_time:
            self.withdraw(call)
            raise self._too_late(call)
        if call.error is not None:
            raise call.error
        return call.take_endpoint()

    def _too_late(self, call: Call) -> ApiTimeoutError:
        return ApiTimeoutError(
            f"no place within {call.timeout:g} s: {self.active} requests run "
            f"(max_concurrent_requests={self.limit}) and {self.waiting.qsize()} wait; raise "
            "timeout or max_concurrent_requests"
        )

    # -- leaving --------------------------------------------------------------------------------

    def withdraw(self, call: Call) -> bool:
        """Take a waiting call out of line (or give its unused place back).

        Returns:
            False if the call was not waiting: it runs, or has ended.
        """
        with self.lock:
            if call.state == IDLE:
                return False
            granted = self._withdraw_locked(call)
        self.notify(granted)
        return True

    def _withdraw_locked(self, call: Call) -> list[Call]:
        state, call.state = call.state, IDLE
        if state == QUEUED:
            self.waiting.remove(call)
        elif state == PARKED:
            self._parked = [entry for entry in self._parked if entry[2] is not call]
            heapq.heapify(self._parked)
        elif state == BLOCKED:
            self._blocked.remove(call)
        elif state == GRANTED:
            endpoint = call.take_endpoint()
            endpoint.breaker.abandoned(self.clock.now())
            return self.release_locked(endpoint, call.generation)
        return self._dispatch_locked() if self._blocked else []

    def release_locked(self, endpoint: Endpoint, generation: int) -> list[Call]:
        """Give a place back; return the calls that got one."""
        if generation != self.generation:
            return []  # a place of the parent process
        self.active -= 1
        endpoint.active -= 1
        return self._dispatch_locked() if self.waiting.queue or self._blocked else []

    def abandon(self, release: Callable[[], None]) -> None:
        """Have `release` called soon by somebody: this is all that a destructor may do."""
        self._abandoned.append(release)
        self._signals.put(None)

    def _release_abandoned(self) -> None:
        while self._abandoned:
            self._abandoned.popleft()()

    def close(self, timeout: float = 5.0) -> None:
        """Refuse new calls, end every waiting one with BackendClosedError, end the thread."""
        with self.lock:
            self.closed = True
            calls = [entry[2] for entry in (*self.waiting.queue, *self._parked)]
            for call in self._blocked:
                calls.append(call)
                if call.run is not None and call.wake is not None:
                    call.wake.release()
            self.waiting.queue.clear()
            self._parked.clear()
            self._blocked.clear()
            for call in calls:
                self._fail_locked(call, BackendClosedError(_CLOSED))
            thread = self.thread
        self.notify(calls)
        self._signals.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    # -- handing out places ---------------------------------------------------------------------

    def dispatch(self) -> None:
        """Hand out what places there are: for whoever changed a limit or an endpoint."""
        with self.lock:
            granted = self._dispatch_locked()
        self.notify(granted)

    def _dispatch_locked(self) -> list[Call]:
        """Give free places to waiting calls; return the calls whose wait is over."""
        ended: list[Call] = []
        passed_over: list[Entry] = []
        now = self.clock.now()
        while self.active < self.limit and self.waiting.queue:
            entry = self.waiting.get_nowait()
            call = entry[2]
            found = self.pool.choose(now, call.pinned, call.avoid)
            if isinstance(found, Endpoint):
                self._grant_locked(call, found)
                ended.append(call)
            elif found.busy:
                passed_over.append(entry)
            else:
                ended.extend(self._postpone_locked(call, found, now))
        for entry in passed_over:
            self.waiting.put_back(entry)
        while self._blocked and self._has_room_locked():
            ended.extend(self._unblock_locked(self._blocked.popleft()))
        return ended

    def _unblock_locked(self, call: Call) -> list[Call]:
        granted = self._stand_in_line_locked(call)
        if call.run is not None and call.wake is not None:
            call.wake.release()
        return granted

    def _postpone_locked(self, call: Call, found: Choice, now: float) -> list[Call]:
        """Set a call aside until an endpoint has rested, or end it: none will in time."""
        if found.rested_at is not None and found.rested_at < call.deadline:
            return self.park_locked(call, found.rested_at)
        self._fail_locked(call, call.refusal(found, now, self.clock.wall()))
        return [call]

    def _grant_locked(self, call: Call, endpoint: Endpoint) -> None:
        self.active += 1
        endpoint.active += 1
        endpoint.breaker.enter()
        call.endpoint = endpoint
        call.generation = self.generation
        call.state = GRANTED

    def _fail_locked(self, call: Call, error: ApiError) -> None:
        call.error = error
        call.state = IDLE

    @staticmethod
    def notify(calls: Iterable[Call]) -> None:
        """Wake the threads of calls whose wait is over, or run them on workers. No lock held."""
        for call in calls:
            if call.run is not None:
                call.run(call)
            elif call.wake is not None:
                call.wake.release()

    # -- the daemon thread ----------------------------------------------------------------------

    def _ensure_thread_locked(self) -> None:
        if self.thread is None or not self.thread.is_alive():
            signals = self._signals
            self.thread = threading.Thread(
                target=_drain,
                args=(weakref.ref(self, lambda _: signals.put(None)), self.clock, signals),
                name=f"ipfs-accelerate-{self.name}",
                daemon=True,
            )
            self.thread.start()

    def drain(self) -> float | None:
        """Do what has become due; return the seconds until more will, None if nothing is."""
        with self.lock:
            if self._abandoned:
                self._release_abandoned()
            now = self.clock.now()
            while self._parked and self._parked[0][0] <= now:
                call = heapq.heappop(self._parked)[2]
                call.state = QUEUED
                assert call.entry is not None
                self.waiting.put_back(call.entry)
            ended = self._dispatch_locked()
            ended += self._expire_locked(now)
            due = [entry[0] for entry in self._parked[:1]]
            due += [call.deadline for call in self._threadless_locked()]
            self._wakes_at = min(due, default=float("inf"))
        self.notify(ended)
        return max(0.0, self._wakes_at - now) if due else None

    def _threadless_locked(self) -> list[Call]:
        entries: Iterable[tuple[Any, ...]] = (*self.waiting.queue, *self._parked)
        return [entry[2] for entry in entries if entry[2].run is not None]

    def _expire_locked(self, now: float) -> list[Call]:
        late = [call for call in self._threadless_locked() if call.deadline <= now]
        ended = list(late)
        for call in late:
            error = self._too_late(call)
            ended += self._withdraw_locked(call)
            self._fail_locked(call, error)
        return ended


_CLOSED = "this back end was closed: make a new one"


def _drain(
    reference: weakref.ref[Admission], clock: Clock, signals: queue.SimpleQueue[None]
) -> None:
    """Serve one Admission until it is closed or nobody holds it any more."""
    while True:
        admission = reference()
        if admission is None:
            return
        timeout = admission.drain()
        if admission.closed:
            return
        del admission
        clock.get(signals, timeout)
