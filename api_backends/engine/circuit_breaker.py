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
    """The state of one endpoint's circuit. Its owner's lock guards it: it has none itself.

    A request is named by any object of its own. While the circuit is not closed, the probe's
    outcome alone counts: requests that were on their way before say nothing new.
    """

    __slots__ = ("failures", "policy", "probe", "retry_at", "state")

    def __init__(self, policy: CircuitPolicy) -> None:
        self.policy = policy
        self.state = CLOSED
        self.failures = 0
        self.retry_at = 0.0
        self.probe: object = None

    def allows(self, now: float) -> bool:
        """Say whether a request may go through at `now`, without changing anything."""
        if self.state == CLOSED:
            return True
        # HALF_OPEN means that the one probe is on its way.
        return self.state == OPEN and now >= self.retry_at

    def enter(self, request: object) -> None:
        """Note that a request that was allowed is on its way."""
        if self.state == OPEN:
            self.state = HALF_OPEN
            self.probe = request

    def succeeded(self, request: object) -> None:
        """Note that the endpoint answered, if only to say that the request was wrong."""
        if self.state == CLOSED:
            self.failures = 0
        elif self.probe is request:
            self.close()

    def failed(self, request: object, now: float) -> None:
        """Note that the endpoint failed at `now`."""
        if self.state == CLOSED:
            self.failures += 1
            if self.failures >= self.policy.failure_threshold:
                self._open(now + self.policy.reset_timeout)
        elif self.probe is request:
            self.failures += 1
            self._open(now + self.policy.reset_timeout)

    def abandoned(self, request: object, now: float) -> None:
        """Note that a request ended with no verdict on the endpoint, as when a caller left."""
        if self.probe is request:
            self._open(now)

    def lose_probe(self, now: float) -> None:
        """Forget a probe that will never be heard of again: it was the parent process's."""
        if self.state == HALF_OPEN:
            self._open(now)

    def close(self) -> None:
        """Let everything through again."""
        self.state = CLOSED
        self.failures = 0
        self.probe = None

    def _open(self, retry_at: float) -> None:
        self.state = OPEN
        self.retry_at = retry_at
        self.probe = None
