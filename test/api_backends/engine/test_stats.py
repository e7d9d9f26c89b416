"""Figures of a back end: right, and in bounded memory."""

from __future__ import annotations

import tracemalloc

import pytest

from api_backends.engine.stats import RECENT, Stats, percentiles
from api_backends.errors import ServerError
from api_backends.types import Usage


def test_counts_and_sums():
    stats = Stats()
    stats.succeeded(0.5, 0.1, 2)
    stats.used(Usage(10, 5, 15, 3, 2, cost=0.25))
    stats.used(Usage(1, 1, 2))
    stats.failed_with(ServerError("x"), 0.2, 1)
    shown = stats.snapshot()
    assert (shown["total_requests"], shown["successful_requests"]) == (2, 1)
    assert (shown["failed_requests"], shown["retried_requests"]) == (1, 3)
    assert (shown["prompt_tokens"], shown["completion_tokens"], shown["total_tokens"]) == (
        11,
        6,
        17,
    )
    assert (shown["cached_tokens"], shown["reasoning_tokens"], shown["cost"]) == (3, 2, 0.25)
    assert shown["errors"] == {"ServerError": 1}
    assert shown["latency"] == {"p50": 0.5, "p90": 0.5, "p99": 0.5}
    assert shown["queue_wait"]["p99"] == 0.2


def test_no_price_no_cost_and_no_calls_no_times():
    shown = Stats().snapshot()
    assert shown["cost"] is None
    assert shown["latency"] == {"p50": None, "p90": None, "p99": None}


def test_percentiles():
    found = percentiles(range(100, 0, -1))
    assert found == {"p50": 51, "p90": 91, "p99": 100}


def test_memory_is_bounded():
    stats = Stats()
    for _ in range(RECENT + 10):
        stats.succeeded(1.0, 0.0, 0)
        stats.failed_with(ServerError(""), 0.0, 0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20 * RECENT):
            stats.succeeded(number * 1.5, number * 0.5, 0)
            stats.failed_with(ServerError(""), 0.5, 0)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # The figures themselves are new objects, as many as there were before.
    assert grown < 2 * RECENT * 40
    assert stats.snapshot()["latency"]["p50"] == pytest.approx(19.5 * RECENT * 1.5, rel=0.01)
