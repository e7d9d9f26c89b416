"""Who runs next: places, the queue for them, timed retries and the thread that drains.

A call that finds a free place takes it on its own thread and never sees the rest of this module.
Otherwise it stands in line until a place is handed to it: by the call that leaves (it knows
at once), or by the back end's daemon thread (for whatever depends on time: a retry that is due,
a key that has rested, a deadline that passed).
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable

from ..errors import ApiError, ApiTimeoutError, BackendClosedError, QueueFullError
from .call import BLOCKED, GRANTED, IDLE, Call
from .clock import Clock
from .endpoints import Choice, Endpoint, EndpointPool
from .waiting import RequestQueue, WaitingLine

__all__ = ["Admission"]

_CLOSED = "this back end was closed: make a new one"
_NEVER = float("inf")


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
        self.line = WaitingLine(queue_size)
        self.thread: threading.Thread | None = None
        # Written to from destructors: SimpleQueue and deque are safe there, a lock is not.
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._abandoned: deque[Callable[[], None]] = deque()
        self._wakes_at = _NEVER
        # When an endpoint that queued calls were passed over for may take them after all.
        self._look_again_at = _NEVER

    def reset_after_fork(self) -> None:
        """Start afresh in a child process: the threads that waited here live in the parent."""
        self.generation += 1
        self._reset(self.waiting.maxsize)
        for endpoint in self.pool.endpoints.values():
            endpoint.active = 0
            endpoint.breaker.lose_probe(self.clock.now())

    @property
    def waiting(self) -> RequestQueue:
        """The calls that wait for a place."""
        return self.line.queue

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

    def enter_later(self, call: Call, *, may_wait: bool) -> None:
        """Let `call.run` be called on a worker once there is a place.

        Args:
            call: The call.
            may_wait: Whether this thread may wait for room in the queue, if `call.block`; if it
                may not (an event loop's), the call waits for room by itself.
        """
        entered = None
        with self.lock:
            if self._try_at_once_locked(call):
                granted: list[Call] = [call]
            else:
                granted = self._stand_in_line_locked(call)
                if may_wait and call.state == BLOCKED:
                    entered = call.wake = threading.Lock()
                    entered.acquire()
        self.notify(granted)
        if entered is None:
            return
        try:
            in_time = self.clock.acquire(entered, call.deadline - self.clock.now())
        except BaseException:
            self.withdraw(call)
            raise
        # Not withdrawn means: it got its place at the last moment, or its future knows better.
        if not in_time and self.withdraw(call):
            raise self._too_late(call)

    def wait_until(self, call: Call, due: float) -> Endpoint:
        """Wait on this thread, without a place, until `due` and then for a place."""
        with self.lock:
            if self.closed:
                raise BackendClosedError(_CLOSED)
            call.wake = threading.Lock()
            call.wake.acquire()
            granted = self._set_aside_locked(call, due)
        self.notify(granted)
        return self._wait(call)

    def run_later(self, call: Call, due: float) -> None:
        """Let `call.run` be called once `due` has come and there is a place."""
        with self.lock:
            if self.closed:
                self._fail_locked(call, BackendClosedError(_CLOSED))
                granted = [call]
            else:
                granted = self._set_aside_locked(call, due)
        self.notify(granted)

    def _try_at_once_locked(self, call: Call) -> bool:
        if self.closed:
            raise BackendClosedError(_CLOSED)
        if self._abandoned:
            self._release_abandoned()
        if self.active >= self.limit or self.line.queue.queue:
            return False
        found = self.pool.choose(self.clock.now(), call.pinned, call.avoid, call.has_own_key)
        if isinstance(found, Endpoint):
            self._grant_locked(call, found)
            return True
        return False

    def _stand_in_line_locked(self, call: Call) -> list[Call]:
        has_room = self.line.has_room()
        if not has_room and not call.block:
            raise QueueFullError(
                f"{self.waiting.maxsize} calls are waiting already (queue_size): slow down, "
                "raise queue_size or max_concurrent_requests, or pass queue_full='block'"
            )
        self._ensure_thread_locked()
        if call.run is not None:
            self._wake_by_locked(call.deadline)  # it has no thread of its own to watch the time
        if not has_room:
            self.line.block(call)
            return []
        self.line.enqueue(call)
        return self._dispatch_locked()

    def _set_aside_locked(self, call: Call, due: float) -> list[Call]:
        """Let `call` wait until `due`; return calls that got a place meanwhile."""
        self._ensure_thread_locked()
        if due <= self.clock.now():
            self.line.enqueue(call)
            return self._dispatch_locked()
        self._park_locked(call, due)
        return []

    def _park_locked(self, call: Call, due: float) -> None:
        self.line.park(call, due)
        self._wake_by_locked(due if call.run is None else min(due, call.deadline))

    def _wake_by_locked(self, when: float) -> None:
        """Have the thread look at the clock at `when`, if it would sleep longer."""
        if when < self._wakes_at:
            self._wakes_at = when
            self._signals.put(None)

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
        if not in_time and (self.withdraw(call) or call.error is None):
            raise self._too_late(call)
        if call.error is not None:
            try:
                raise call.error
            finally:
                call.error = None  # or call and traceback would keep each other alive
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
            if call.state == GRANTED:
                endpoint = call.take_endpoint()
                endpoint.breaker.abandoned(call, self.clock.now())
                granted = self.release_locked(endpoint, call.generation)
            else:
                self.line.remove(call)
                call.state = IDLE
                granted = self._dispatch_locked() if self.line.blocked_count else []
        self.notify(granted)
        return True

    def release_locked(self, endpoint: Endpoint, generation: int) -> list[Call]:
        """Give a place back; return the calls that got one."""
        if generation != self.generation:
            return []  # a place of the parent process
        self.active -= 1
        endpoint.active -= 1
        return self._dispatch_locked() if self.line.queue.queue or self.line.blocked_count else []

    def abandon(self, release: Callable[[], None]) -> None:
        """Have `release` called soon by somebody: this is all that a destructor may do."""
        self._abandoned.append(release)
        if self.thread is not None:
            self._signals.put(None)

    def settle(self) -> None:
        """Take back the places of answers that nobody holds any more."""
        if self._abandoned:
            with self.lock:
                self._release_abandoned()

    def _release_abandoned(self) -> None:
        while self._abandoned:
            self._abandoned.popleft()()

    def close(self, timeout: float = 5.0) -> None:
        """Refuse new calls, end every waiting one with BackendClosedError, end the thread."""
        with self.lock:
            self.closed = True
            calls = self.line.take_all()
            for call in calls:
                if call.state == BLOCKED and call.run is not None:
                    _let_in(call)
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
            self.line.enqueue_untried()
            granted = self._dispatch_locked()
        self.notify(granted)

    def _dispatch_locked(self) -> list[Call]:
        """Give free places to waiting calls; return the calls whose wait is over."""
        ended: list[Call] = []
        self._look_again_at = _NEVER
        while True:
            self._hand_out_locked(ended)
            entered = self.line.unblock()
            if not entered:
                break
            for call in entered:
                if call.run is not None:
                    _let_in(call)
        if self._look_again_at < _NEVER:
            self._wake_by_locked(self._look_again_at)
        return ended

    def _hand_out_locked(self, ended: list[Call]) -> None:
        passed_over: list[Call] = []
        now = self.clock.now()
        while self.active < self.limit and self.line.queue.queue:
            call = self.waiting.get_nowait()[2]
            found = self.pool.choose(now, call.pinned, call.avoid, call.has_own_key)
            if isinstance(found, Endpoint):
                self._grant_locked(call, found)
                ended.append(call)
            elif found.busy:
                passed_over.append(call)
                for when in (found.rested_at, found.retry_at):
                    if when is not None and when > now:
                        self._look_again_at = min(self._look_again_at, when)
            elif found.rested_at is not None and found.rested_at < call.deadline:
                self._park_locked(call, found.rested_at)
            else:
                self._refuse_locked(call, found, now)
                ended.append(call)
        for call in passed_over:
            self.line.enqueue(call)

    def _refuse_locked(self, call: Call, found: Choice, now: float) -> None:
        self._fail_locked(call, call.refusal(found, now, self.clock.wall()))

    def _grant_locked(self, call: Call, endpoint: Endpoint) -> None:
        self.active += 1
        endpoint.active += 1
        endpoint.breaker.enter(call)
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
            thread = threading.Thread(
                target=_drain,
                args=(weakref.ref(self, lambda _: signals.put(None)), self.clock, signals),
                name=f"ipfs-accelerate-{self.name}",
                daemon=True,
            )
            self.thread = thread
            thread.start()

    def drain(self) -> float | None:
        """Do what has become due; return the seconds until more will, None if nothing is."""
        with self.lock:
            if self._abandoned:
                self._release_abandoned()
            now = self.clock.now()
            self.line.enqueue_due(now)
            ended = self._dispatch_locked()
            late = [call for call in self.line.threadless() if call.deadline <= now]
            for call in late:
                self._expire_locked(call)
            if late:
                ended += late + self._dispatch_locked()
            deadlines = (call.deadline for call in self.line.threadless())
            self._wakes_at = min(
                self.line.first_due(), self._look_again_at, min(deadlines, default=_NEVER)
            )
            wakes_at = self._wakes_at
        self.notify(ended)
        return None if wakes_at == _NEVER else max(0.0, wakes_at - now)

    def _expire_locked(self, call: Call) -> None:
        error = self._too_late(call)
        self.line.remove(call)
        if call.state == BLOCKED:
            _let_in(call)
        self._fail_locked(call, error)


def _let_in(call: Call) -> None:
    """Wake the thread, if there is one, that waits in `submit` for room in the queue."""
    if call.wake is not None:
        call.wake.release()
        call.wake = None


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
