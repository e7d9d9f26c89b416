"""Stop asking an endpoint that keeps failing; ask again, once, after a rest."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CLOSED", "HALF_OPEN", "OPEN", "CircuitBreaker", "CircuitPolicy"]

CLOSED = "CLOSED"
OPEN = "OPEN"
HALF_OPEN = "HALF_OPEN"


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    """When a circuit opens, and for how long.

    `failure_threshold` failures in a row open it; after `reset_timeout` seconds one request is
    let through as a probe, and its outcome closes the circuit or opens it again.
    """

    failure_threshold: int = 5
    reset_timeout: float = 30.0


class CircuitBreaker:
    """The state of one endpoint's circuit. Its owner's lock guards it: it has none itself."""

    __slots__ = ("failures", "policy", "retry_at", "state")

    def __init__(self, policy: CircuitPolicy) -> None:
        self.policy = policy
        self.state = CLOSED
        self.failures = 0
        self.retry_at = 0.0

    def allows(self, now: float) -> bool:
        """Say whether a request may go through at `now`, without changing anything."""
        if self.state == CLOSED:
            return True
        # HALF_OPEN means that the one probe is on its way.
        return self.state == OPEN and now >= self.retry_at

    def enter(self) -> None:
        """Note that a request that was allowed is on its way."""
        if self.state == OPEN:
            self.state = HALF_OPEN

    def succeeded(self) -> None:
        """Note that the endpoint answered, if only to say that the request was wrong."""
        self.failures = 0
        self.state = CLOSED

    def failed(self, now: float) -> None:
        """Note that the endpoint failed at `now`."""
        self.failures += 1
        if self.state == HALF_OPEN or (
            self.state == CLOSED and self.failures >= self.policy.failure_threshold
        ):
            self.state = OPEN
            self.retry_at = now + self.policy.reset_timeout

    def abandoned(self, now: float) -> None:
        """Note that a request ended with no verdict on the endpoint, as when a caller left."""
        if self.state == HALF_OPEN:
            self.state = OPEN
            self.retry_at = now
