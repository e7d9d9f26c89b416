"""What the headers of an answer say of a provider's rate limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .engine.retry import reset_seconds

__all__ = ["LatestHeaders", "RateLimit", "read_rate_limits"]

_HEADER = re.compile(
    r"(?:x-|anthropic-)?ratelimit-(?:(?P<what>.+)-)?(?P<field>limit|remaining|reset)(?:-(?P<of>.+))?"
)


class RateLimit(NamedTuple):
    """How many there are in all, how many are left, and in how many seconds all are back."""

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


def read_rate_limits(headers: Mapping[str, str], wall: float) -> dict[str, RateLimit]:
    """Return the limits that headers tell of, by what is limited.

    OpenAI and Groq say `x-ratelimit-remaining-tokens: 5973` and give resets as durations
    ("2m59.56s"); Anthropic says `anthropic-ratelimit-tokens-remaining` and gives times.

    Args:
        headers: Headers of an answer.
        wall: Now, in seconds since the epoch.
    """
    found: dict[str, dict[str, float | None]] = {}
    for name, value in headers.items():
        match = _HEADER.fullmatch(name.lower())
        if match is None:
            continue
        what = match["of"] or match["what"] or "requests"
        seconds = reset_seconds(value, wall) if match["field"] == "reset" else _count(value)
        found.setdefault(what, {})[match["field"]] = seconds
    return {
        what: RateLimit(_whole(f.get("limit")), _whole(f.get("remaining")), f.get("reset"))
        for what, f in found.items()
    }


def _count(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _whole(value: float | None) -> int | None:
    # Some count beyond what a number can say, or say -1 for no limit.
    return None if value is None or not 0 <= value < 2**63 else int(value)


class LatestHeaders:
    """The headers of the latest answer of each endpoint; its repr shows none of them."""

    __slots__ = ("_by_endpoint", "_latest")

    def __init__(self) -> None:
        self._by_endpoint: dict[str, Mapping[str, str]] = {}
        self._latest = ""

    def note(self, endpoint_id: str, headers: Mapping[str, str]) -> None:
        """Keep the headers of an answer, in place of the endpoint's last ones."""
        self._by_endpoint[endpoint_id] = headers
        self._latest = endpoint_id

    def forget(self, endpoint_id: str) -> None:
        """Drop what was kept of an endpoint."""
        self._by_endpoint.pop(endpoint_id, None)

    def of(self, endpoint_id: str | None) -> Mapping[str, str]:
        """Return an endpoint's latest headers (None: that answered last); {} without any."""
        return self._by_endpoint.get(self._latest if endpoint_id is None else endpoint_id, {})
