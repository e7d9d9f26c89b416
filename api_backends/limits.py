"""A back end's limits, under the names that legacy code reads and sets."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .engine.circuit_breaker import CLOSED
from .settings import check_number

if TYPE_CHECKING:
    from .engine.engine import Engine

__all__ = ["Limits"]


class Limits:
    """Properties over an engine: read at any time; the limits may be set while it runs."""

    _engine: Engine

    @property
    def max_concurrent_requests(self) -> int:
        """How many requests run at once; may be set at any time."""
        return self._engine.admission.limit

    @max_concurrent_requests.setter
    def max_concurrent_requests(self, value: int) -> None:
        number = check_number("max_concurrent_requests", value, least=1, whole=True)
        self._engine.admission.limit = int(number)
        self._engine.admission.dispatch()

    @property
    def queue_size(self) -> int:
        """How many calls may wait; may be set at any time."""
        return self._engine.admission.waiting.maxsize

    @queue_size.setter
    def queue_size(self, value: int) -> None:
        size = int(check_number("queue_size", value, least=1, whole=True))
        with self._engine.admission.lock:
            self._engine.admission.waiting.maxsize = size
        self._engine.admission.dispatch()

    @property
    def request_queue(self) -> queue.PriorityQueue[Any]:
        """The calls that wait for a place."""
        return self._engine.admission.waiting

    @property
    def queue_lock(self) -> threading.RLock:
        """The lock that guards the count of active requests."""
        return self._engine.admission.lock

    @property
    def active_requests(self) -> int:
        """How many requests run now."""
        self._engine.admission.settle()
        return self._engine.admission.active

    @property
    def queue_processor(self) -> threading.Thread | None:
        """The daemon thread, once a call had to wait."""
        return self._engine.admission.thread

    @property
    def circuit_state(self) -> str:
        """CLOSED while one endpoint takes requests, else the state of the first."""
        states = [endpoint.breaker.state for endpoint in self._engine.pool.endpoints.values()]
        return CLOSED if CLOSED in states or not states else states[0]

    def _set_retry(self, **changes: Any) -> None:
        for name, value in changes.items():
            least = 1 if name == "backoff_factor" else 0
            number: Any = check_number(name, value, least=least, whole=name == "max_retries")
            number = int(number) if name == "max_retries" else number
            self._engine.retry = replace(self._engine.retry, **{name: number})

    @property
    def max_retries(self) -> int:
        """How often a call is tried again; may be set at any time, as the delays may."""
        return self._engine.retry.max_retries

    @max_retries.setter
    def max_retries(self, value: int) -> None:
        self._set_retry(max_retries=value)

    @property
    def initial_retry_delay(self) -> float:
        """Longest first delay, in seconds."""
        return self._engine.retry.initial_retry_delay

    @initial_retry_delay.setter
    def initial_retry_delay(self, value: float) -> None:
        self._set_retry(initial_retry_delay=value)

    @property
    def backoff_factor(self) -> float:
        """By how much the longest delay grows from one retry to the next."""
        return self._engine.retry.backoff_factor

    @backoff_factor.setter
    def backoff_factor(self, value: float) -> None:
        self._set_retry(backoff_factor=value)

    @property
    def max_retry_delay(self) -> float:
        """The longest delay, in seconds."""
        return self._engine.retry.max_retry_delay

    @max_retry_delay.setter
    def max_retry_delay(self, value: float) -> None:
        self._set_retry(max_retry_delay=value)
