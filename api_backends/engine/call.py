"""One call on its way through the engine: what it asks for and what has become of it so far."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ApiError, CircuitOpenError, InvalidRequestError, RateLimitError

if TYPE_CHECKING:
    from .endpoints import Choice, Endpoint

__all__ = ["BLOCKED", "GRANTED", "IDLE", "PARKED", "QUEUED", "Call", "priority_level"]

IDLE, QUEUED, PARKED, BLOCKED, GRANTED = range(5)

LEVELS = {"HIGH": 0, "NORMAL": 1, "LOW": 2}


def priority_level(priority: Any) -> int:
    """Return the level of a priority given by name or number: 0 is the most urgent.

    Raises:
        InvalidRequestError: It is neither.
    """
    if isinstance(priority, str):
        level = LEVELS.get(priority.upper())
        if level is not None:
            return level
    elif isinstance(priority, int) and not isinstance(priority, bool) and 0 <= priority <= 2:
        return int(priority)
    raise InvalidRequestError(
        f"priority: {priority!r} is none of 'HIGH', 'NORMAL', 'LOW' (or 0, 1, 2)"
    )


class Call:
    """One call: times in monotonic seconds, `deadline` for the whole of it."""

    __slots__ = (
        "attempts",
        "avoid",
        "block",
        "deadline",
        "endpoint",
        "entry",
        "error",
        "generation",
        "has_own_key",
        "last_error",
        "latency",
        "max_retries",
        "pinned",
        "priority",
        "run",
        "started",
        "state",
        "timeout",
        "wait",
        "wake",
    )

    def __init__(
        self,
        started: float,
        timeout: float,
        max_retries: int,
        priority: int = 1,
        pinned: Endpoint | None = None,
        block: bool = False,
        has_own_key: bool = False,
    ) -> None:
        self.started = started
        self.timeout = timeout
        self.deadline = started + timeout
        self.max_retries = max_retries
        self.priority = priority
        self.pinned = pinned
        self.block = block
        # It brings its own key: a limit of the endpoint's key is not its, nor its limit theirs.
        self.has_own_key = has_own_key
        self.attempts = 0
        self.wait = 0.0
        self.avoid: list[Endpoint] | tuple[()] = ()
        self.endpoint: Endpoint | None = None
        # What ends the wait for a place, and what the last attempt ended in.
        self.error: ApiError | None = None
        self.last_error: ApiError | None = None
        self.latency = 0.0
        self.entry: tuple[float, int, Call] | None = None
        self.state = IDLE
        self.generation = 0
        self.wake: threading.Lock | None = None
        self.run: Callable[[Call], None] | None = None

    def take_endpoint(self) -> Endpoint:
        """Return the endpoint that the call was given, and note that the call runs."""
        endpoint = self.endpoint
        assert endpoint is not None
        self.state = IDLE
        return endpoint

    def refusal(self, found: Choice, now: float, wall: float) -> ApiError:
        """Return why no endpoint will take this call before its deadline."""
        if self.last_error is not None:
            return self.last_error
        if found.rested_at is not None:
            seconds = found.rested_at - now
            return RateLimitError(
                f"every key rests after a 429 for another {seconds:.1f} s, longer than this call's "
                "timeout: wait, raise timeout, or add keys (api_keys)",
                status_code=429,
                retry_after=seconds,
                attempts=self.attempts,
            )
        if found.retry_at is None:
            return InvalidRequestError(
                "no endpoint to send to: add one with create_endpoint(), or name one by endpoint_id"
            )
        seconds = max(0.0, found.retry_at - now)
        return CircuitOpenError(
            "the circuit is open: the endpoint failed too often and is tried again in "
            f"{seconds:.1f} s; wait, or add another endpoint",
            retry_at=wall + seconds,
            retry_after=seconds,
            attempts=self.attempts,
        )
