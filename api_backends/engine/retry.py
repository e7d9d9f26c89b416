"""When to try again: which errors, after how long, and how many in all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from ..errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
)

__all__ = [
    "RetryBudget",
    "RetryPolicy",
    "is_retryable",
    "reset_seconds",
    "retry_after_seconds",
]

RETRIED_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504, 529})

# A server's word is taken for at most this long; past it, waiting is the caller's decision.
LONGEST_WAIT = 86_400.0

# A reset that lies years ahead is no time at all: some servers fill in the largest number.
_NONSENSE = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a call is tried again. Delays are seconds."""

    max_retries: int = 5
    initial_retry_delay: float = 1.0
    backoff_factor: float = 2.0
    max_retry_delay: float = 16.0

    def ceiling(self, retry: int) -> float:
        """Return the longest delay before retry number `retry` (0 is the first)."""
        # Past some exponent the power overflows; the ceiling was reached long before.
        power = self.backoff_factor ** min(retry, 64)
        return min(self.initial_retry_delay * power, self.max_retry_delay)

    def delay(self, retry: int, random: Callable[[], float]) -> float:
        """Return a delay with full jitter: anything between nothing and the ceiling."""
        return self.ceiling(retry) * random()


class RetryBudget:
    """Keeps retries from making an outage worse.

    A retry costs a token. Tokens come back when a call that was retried succeeds (all that it
    took), with every success (a tenth), and slowly with time, so that retries stay rare while
    nothing succeeds and free while most things do. Guarded by its owner's lock.
    """

    __slots__ = ("_refilled", "capacity", "per_second", "per_success", "tokens")

    def __init__(
        self,
        capacity: float = 20.0,
        *,
        per_success: float = 0.1,
        per_second: float = 0.1,
        now: float = 0.0,
    ) -> None:
        self.capacity = capacity
        self.per_success = per_success
        self.per_second = per_second
        self.tokens = float(capacity)
        self._refilled = now

    def take(self, now: float) -> bool:
        """Take a token for a retry; False if there is none left."""
        elapsed = max(0.0, now - self._refilled)
        self.tokens = min(self.capacity, self.tokens + elapsed * self.per_second)
        self._refilled = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def succeeded(self, retries: int) -> None:
        """Give back what a successful call took for its `retries`, and a little more."""
        if self.tokens < self.capacity:
            self.tokens = min(self.capacity, self.tokens + retries + self.per_success)


def is_retryable(error: ApiError) -> bool:
    """Say whether the request that failed with `error` may be sent again."""
    if error.should_retry is not None:
        return error.should_retry
    if not error.is_transient:
        return False
    if error.status_code is not None:
        return error.status_code in RETRIED_STATUSES
    return isinstance(error, (ApiConnectionError, ApiTimeoutError))


_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d*\.?\d+)s)?(?:(\d*\.?\d+)ms)?")
_RATE_LIMIT_RESET = re.compile(r"^(?:x-|anthropic-)?ratelimit-(?:(.+)-)?reset(?:-(.+))?$")


def duration_seconds(text: str) -> float | None:
    """Read a Go-style duration, as OpenAI and Groq send ("4ms", "7m12s", "2m59.56s")."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds + milliseconds / 1000


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    # NaN fails both comparisons.
    return value if 0 <= value < float("inf") else None


def _date_seconds(text: str, wall: float) -> float | None:
    """Read an HTTP date or an RFC 3339 time as seconds from `wall`; the past is 0."""
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        try:
            when = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        except ValueError:
            return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    try:
        return max(0.0, when.timestamp() - wall)
    except (OverflowError, ValueError):
        return None


def reset_seconds(text: str, wall: float) -> float | None:
    """Read a rate-limit reset: a duration, seconds, a date, or an epoch in s or ms."""
    number = _number(text)
    if number is None:
        duration = duration_seconds(text)
        return duration if duration is not None else _date_seconds(text, wall)
    if number > 1e11:  # milliseconds since the epoch
        number = max(0.0, number / 1000 - wall)
    elif number > 1e8:  # seconds since the epoch
        number = max(0.0, number - wall)
    return number if number < _NONSENSE else None


def _exhausted_resets(headers: Mapping[str, str], wall: float) -> Iterable[float]:
    """Yield the reset times of those rate limits of which nothing remains."""
    for name, value in headers.items():
        match = _RATE_LIMIT_RESET.match(name.lower())
        if match is None:
            continue
        remaining = headers.get(re.sub("reset", "remaining", name, flags=re.IGNORECASE))
        left = _number(remaining.strip()) if remaining is not None else 0.0
        seconds = reset_seconds(value, wall)
        if seconds is not None and (left is None or left < 1):
            yield seconds


def retry_after_seconds(headers: Mapping[str, str], wall: float) -> float | None:
    """Return how many seconds the server asks to wait, or None if it doesn't say.

    Reads, in this order, `Retry-After` (seconds or a date, RFC 9110 10.2.3), `retry-after-ms`,
    and the rate-limit headers of those limits that are used up. Azure sends `retry-after: 1`
    beside `retry-after-ms: 0`: the longer of the two is meant.

    Args:
        headers: Response headers; look-ups must ignore case.
        wall: Now, in seconds since the epoch.
    """
    waits = []
    after = headers.get("retry-after")
    if after is not None:
        seconds = _number(after.strip())
        waits.append(seconds if seconds is not None else reset_seconds(after, wall))
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None:
        number = _number(milliseconds.strip())
        waits.append(None if number is None else number / 1000)
    known = [wait for wait in waits if wait is not None]
    if not known:
        known = list(_exhausted_resets(headers, wall))
    return min(max(known), LONGEST_WAIT) if known else None
