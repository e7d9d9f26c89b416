"""What a back end or an endpoint has done so far, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from ..types import Usage

__all__ = ["RECENT", "Stats"]

RECENT = 1000
"""How many of the latest calls the percentiles are taken over."""


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """Return the median and the 90th and 99th percentile (nearest rank); None without values."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": None, "p90": None, "p99": None}
    last = len(ordered) - 1
    return {
        name: ordered[min(last, int(len(ordered) * part))]
        for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    }


class Stats:
    """Counters and recent times. Guarded by its owner's lock."""

    __slots__ = (
        "cached_tokens",
        "completion_tokens",
        "cost",
        "errors",
        "failed",
        "latencies",
        "prompt_tokens",
        "reasoning_tokens",
        "retried",
        "successful",
        "total",
        "waits",
    )

    def __init__(self) -> None:
        self.total = 0
        self.successful = 0
        self.failed = 0
        self.retried = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.reasoning_tokens = 0
        self.cost: float | None = None
        # One entry per class of our error tree: it can't grow.
        self.errors: dict[str, int] = {}
        self.latencies: deque[float] = deque(maxlen=RECENT)
        self.waits: deque[float] = deque(maxlen=RECENT)

    def succeeded(self, latency: float, wait: float, retries: int) -> None:
        """Record a call that was answered after `latency` seconds, `wait` of them in the queue."""
        self.total += 1
        self.successful += 1
        self.retried += retries
        self.latencies.append(latency)
        self.waits.append(wait)

    def failed_with(self, error: BaseException, wait: float, retries: int) -> None:
        """Record a call that ended in `error`."""
        self.total += 1
        self.failed += 1
        self.retried += retries
        self.waits.append(wait)
        name = type(error).__name__
        self.errors[name] = self.errors.get(name, 0) + 1

    def used(self, usage: Usage) -> None:
        """Add the tokens (and the cost, where it is known) of one answer."""
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cached_tokens += usage.cached_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        if usage.cost is not None:
            self.cost = (self.cost or 0.0) + usage.cost

    def snapshot(self) -> dict[str, Any]:
        """Return the figures as plain data; latencies and waits in seconds."""
        return {
            "total_requests": self.total,
            "successful_requests": self.successful,
            "failed_requests": self.failed,
            "retried_requests": self.retried,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "cached_tokens": self.cached_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "cost": self.cost,
            "errors": dict(self.errors),
            "latency": percentiles(self.latencies),
            "queue_wait": percentiles(self.waits),
        }
