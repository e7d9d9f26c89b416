"""The one path of a request: admit, choose, send, judge, record. It knows no provider."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from ..errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    BackendClosedError,
    InvalidResponseError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from ..types import Usage
from .call import GRANTED, Call
from .circuit_breaker import CLOSED
from .clock import SYSTEM_CLOCK, Clock
from .endpoints import Endpoint, EndpointPool
from .fork import track
from .futures import CallFuture
from .queue import Admission
from .retry import RetryBudget, RetryPolicy, is_retryable
from .stats import Stats
from .workers import WorkerPool

__all__ = ["Engine", "Lease"]

T = TypeVar("T")
Attempt = Callable[[Endpoint, Call], T]

# How long a key rests whose quota is used up, while other keys do its work.
QUOTA_REST = 60.0


class Engine:
    """Sends calls for one back end, or for whatever else has endpoints that can fail.

    An attempt is a function of an endpoint and the call; it returns the answer or raises an
    `ApiError`. It runs on the caller's own thread (`run`) or on a worker (`submit`), always with a
    place, and the engine decides what its outcome means for the call, the endpoint and the others.
    """

    def __init__(
        self,
        name: str,
        pool: EndpointPool,
        *,
        limit: int = 5,
        queue_size: int = 100,
        retry: RetryPolicy | None = None,
        budget: RetryBudget | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name = name
        self.pool = pool
        self.clock = clock
        self.retry = retry or RetryPolicy()
        self.budget = budget or RetryBudget(now=clock.now())
        self.stats = Stats()
        self.admission = Admission(name, pool, limit, queue_size, clock)
        self.workers = WorkerPool(name)
        track(self)

    def reset_after_fork(self) -> None:
        """Rebuild locks and threads in a child process."""
        self.admission.reset_after_fork()
        self.workers = WorkerPool(self.name)

    # -- synchronous ----------------------------------------------------------------------------

    def run(self, call: Call, attempt: Attempt[T]) -> T:
        """Make a call on this thread and return its answer.

        Raises:
            ApiError: What the last attempt ended in, or why there was none.
        """
        answer, endpoint = self._answered(call, attempt)
        self.succeeded(call, endpoint, getattr(answer, "usage", None))
        return answer

    def open(self, call: Call, attempt: Attempt[T]) -> tuple[T, Lease]:
        """Make a call whose answer keeps its place: the lease gives it back."""
        answer, endpoint = self._answered(call, attempt)
        return answer, self._lease(call, endpoint)

    def _answered(self, call: Call, attempt: Attempt[T]) -> tuple[T, Endpoint]:
        """Try until there is an answer; return it with the endpoint whose place it still holds."""
        endpoint = self._enter(call)
        while True:
            call.attempts += 1
            try:
                answer = attempt(endpoint, call)
            except BaseException as error:
                due = self._failed(call, endpoint, error)
                if due is None:
                    raise
            else:
                return answer, endpoint
            endpoint = self._reenter(call, due)

    def _lease(self, call: Call, endpoint: Endpoint) -> Lease:
        if endpoint.breaker.state != CLOSED:
            # The probe is answered: the others need not wait for the end of its stream.
            with self.admission.lock:
                endpoint.breaker.succeeded(call)
        return Lease(self, call, endpoint)

    def _enter(self, call: Call) -> Endpoint:
        try:
            return self.admission.enter(call)
        except ApiError as error:
            self._refused(call, error)
            raise

    def _reenter(self, call: Call, due: float) -> Endpoint:
        try:
            return self.admission.wait_until(call, due)
        except (BackendClosedError, ApiTimeoutError) as error:
            self._refused(call, error)
            if error is call.last_error:
                raise
            raise error from call.last_error
        except ApiError as error:
            self._refused(call, error)
            raise
        finally:
            call.last_error = None

    # -- on workers -----------------------------------------------------------------------------

    def submit(
        self, call: Call, attempt: Attempt[T], *, hold: bool = False, may_wait: bool = True
    ) -> Future[Any]:
        """Make a call on worker threads.

        Args:
            call: The call.
            attempt: What sends it.
            hold: As in `open`: the future's result is (answer, lease).
            may_wait: Whether this thread may wait for room in the queue (`queue_full="block"`).

        Raises:
            ApiError: The call was not taken: the queue is full, or this is closed.
        """
        future: CallFuture[Any] = CallFuture(partial(self.admission.withdraw, call))
        step = partial(self._step, call, attempt, future, hold)
        call.run = partial(self._start, step, future)
        try:
            self.admission.enter_later(call, may_wait=may_wait)
        except ApiError as error:
            self._refused(call, error)
            raise
        return future

    def _start(self, step: Callable[[], None], future: CallFuture[Any], call: Call) -> None:
        try:
            self.workers.start(step)
        except RuntimeError as failure:
            self.admission.withdraw(call)
            error = call.error or ApiConnectionError(
                f"no thread for this call: {failure}; lower max_concurrent_requests"
            )
            self._refused(call, error)
            future.fail(error)

    def _step(self, call: Call, attempt: Attempt[Any], future: CallFuture[Any], hold: bool) -> None:
        """Send one attempt of a submitted call; its next one, if any, is a step of its own."""
        with self.admission.lock:
            error = call.error
            if error is None and call.state != GRANTED:
                return  # cancelled between the grant and now
            endpoint = None if error is not None else call.take_endpoint()
        if endpoint is None:
            assert error is not None
            self._refused(call, error)
            if error is not call.last_error:
                error.__cause__ = call.last_error
            call.last_error = call.error = call.run = None
            future.fail(error)
            return
        call.attempts += 1
        call.last_error = None
        try:
            answer = attempt(endpoint, call)
        except BaseException as failure:  # noqa: BLE001 - handed to whoever holds the future
            due = self._failed(call, endpoint, failure)
            if due is None or future.cancelled():
                # Its traceback holds this frame and the attempt's: no way back from there.
                call.last_error = call.run = None
                future.fail(failure)
                del future
            else:
                self.admission.run_later(call, due)
            return
        call.run = None
        if hold:
            lease = self._lease(call, endpoint)
            if not future.finish((answer, lease)):
                answer.close()
                lease.ended()
        else:
            self.succeeded(call, endpoint, getattr(answer, "usage", None))
            future.finish(answer)

    # -- verdicts -------------------------------------------------------------------------------

    def succeeded(self, call: Call, endpoint: Endpoint, usage: Usage | None) -> None:
        """Record an answer and give the place back."""
        admission = self.admission
        call.latency = latency = self.clock.now() - call.started
        retries = call.attempts - 1
        with admission.lock:
            endpoint.breaker.succeeded(call)
            if not call.has_own_key:
                endpoint.rests = 0
            self.budget.succeeded(retries)
            for stats in (self.stats, endpoint.stats):
                stats.succeeded(latency, call.wait, retries)
                if usage:
                    stats.used(usage)
            ended = admission.release_locked(endpoint, call.generation)
        if ended:
            admission.notify(ended)

    def _failed(self, call: Call, endpoint: Endpoint, error: BaseException) -> float | None:
        """Judge a failed attempt, give the place back; return when to try again, None if never."""
        admission = self.admission
        now = self.clock.now()
        with admission.lock:
            if isinstance(error, ApiError):
                error.attempts = call.attempts
                error.backend = error.backend or self.name
                error.endpoint_id = endpoint.id
                self._judge_endpoint(call, endpoint, error, now)
                due = self._next_try(call, endpoint, error, now)
            else:
                endpoint.breaker.abandoned(call, now)
                due = None
            if due is None:
                for stats in (self.stats, endpoint.stats):
                    stats.failed_with(error, call.wait, call.attempts - 1)
            else:
                call.last_error = error  # type: ignore[assignment]  # only ApiErrors are retried
            ended = admission.release_locked(endpoint, call.generation)
        admission.notify(ended)
        return due

    def _refused(self, call: Call, error: ApiError) -> None:
        """Record a call that ended without (or between) attempts."""
        error.backend = error.backend or self.name
        error.attempts = max(error.attempts, call.attempts)
        with self.admission.lock:
            self.stats.failed_with(error, call.wait, max(0, call.attempts - 1))

    def _judge_endpoint(self, call: Call, endpoint: Endpoint, error: ApiError, now: float) -> None:
        """Note what `error` says about the health of its endpoint."""
        if isinstance(error, RateLimitError):
            if call.has_own_key:
                endpoint.breaker.succeeded(call)  # the endpoint's own key is not meant
                return
            if endpoint.resting_until > now:
                # Several requests at once met the same limit: it counts once.
                endpoint.breaker.abandoned(call, now)
                return
            endpoint.rests += 1
            endpoint.breaker.failed(call, now)
            rest = error.retry_after
            if rest is None and error.is_transient:
                rest = self.retry.delay(endpoint.rests - 1, self.clock.random)
            elif rest is None and self.pool.has_alternative(now, (endpoint,)):
                rest = QUOTA_REST
            endpoint.resting_until = now + (rest or 0.0)
        elif _trips(error):
            endpoint.breaker.failed(call, now)
        else:
            endpoint.breaker.succeeded(call)

    def _next_try(
        self, call: Call, endpoint: Endpoint, error: ApiError, now: float
    ) -> float | None:
        if self.admission.closed or call.attempts > call.max_retries:
            return None
        avoid = [*call.avoid, endpoint]
        rests = isinstance(error, RateLimitError) and not call.has_own_key
        elsewhere = (
            call.pinned is None
            and not (call.has_own_key and isinstance(error, RateLimitError))
            and self.pool.has_alternative(now, avoid)
        )
        if not is_retryable(error) and not (elsewhere and rests):
            return None
        if elsewhere or (
            rests and call.pinned is None and self.pool.has_busy_alternative(now, avoid)
        ):
            due = now
        elif not self.pool.can_send(now, call.pinned):
            return None  # it has just failed once too often: nobody would be asked in time
        elif error.retry_after is not None:
            due = now + error.retry_after
        elif rests and endpoint.resting_until > now:
            due = endpoint.resting_until
        else:
            due = now + self.retry.delay(call.attempts - 1, self.clock.random)
        if due >= call.deadline or not self.budget.take(now):
            return None
        # Once all have failed, the next round begins anywhere but where the last one ended.
        call.avoid = avoid if elsewhere else [endpoint]
        return due

    def reset_stats(self, endpoint: Endpoint | None) -> None:
        """Start counting afresh, for one endpoint or for all."""
        with self.admission.lock:
            if endpoint is not None:
                endpoint.stats = Stats()
                return
            self.stats = Stats()
            for each in self.pool.endpoints.values():
                each.stats = Stats()

    def close(self, timeout: float = 5.0) -> None:
        """Refuse new calls and end every waiting one; running ones come to their own end."""
        self.admission.close(timeout)
        # A worker whose request is on the wire ends with it; any other is waited for.
        self.workers.close(0.0 if self.admission.active else timeout)

    def __del__(self) -> None:
        if hasattr(self, "workers"):
            self.workers.close(0.0)


def _trips(error: ApiError) -> bool:
    """Say whether `error` counts against its endpoint."""
    return isinstance(
        error,
        (
            ApiConnectionError,
            ApiTimeoutError,
            InvalidResponseError,
            ServerError,
            StreamInterruptedError,
        ),
    )


class Lease:
    """The place of an answer that is still coming in. Ends once, whoever ends it first."""

    __slots__ = ("call", "endpoint", "engine", "is_over")

    def __init__(self, engine: Engine, call: Call, endpoint: Endpoint) -> None:
        self.engine = engine
        self.call = call
        self.endpoint = endpoint
        self.is_over = False

    def ended(self, usage: Usage | None = None) -> None:
        """Give the place back: the answer is whole, or its reader has had enough."""
        if not self.is_over:
            self.is_over = True
            self.engine.succeeded(self.call, self.endpoint, usage)

    def failed(self, error: BaseException) -> None:
        """Give the place back: the answer broke off. It is not tried again."""
        if not self.is_over:
            self.is_over = True
            self.call.max_retries = 0
            self.engine._failed(self.call, self.endpoint, error)  # noqa: SLF001

    def abandoned(self) -> None:
        """Give the place back soon: nobody holds the answer any more. Safe in a destructor."""
        if not self.is_over:
            self.is_over = True
            self.engine.admission.abandon(
                partial(self.engine.succeeded, self.call, self.endpoint, None)
            )

    def __del__(self) -> None:
        self.abandoned()
