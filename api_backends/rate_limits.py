"""What the headers of an answer say of a provider's rate limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .engine.retry import reset_seconds

__all__ = ["RateLimit", "read_rate_limits"]

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
