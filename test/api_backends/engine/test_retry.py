"""Which errors are tried again, after how long, and how many in all."""

from __future__ import annotations

from email.utils import format_datetime
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from api_backends.engine.retry import (
    LONGEST_WAIT,
    RetryBudget,
    RetryPolicy,
    duration_seconds,
    is_retryable,
    retry_after_seconds,
)
from api_backends.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    AuthenticationError,
    InvalidRequestError,
    InvalidResponseError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)

WALL = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def asked(**headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return retry_after_seconds(CaseInsensitiveDict(named), WALL)


def date(seconds):
    return datetime.fromtimestamp(WALL + seconds, timezone.utc)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_passing_statuses_are_retried(status):
    assert is_retryable(ServerError("x", status_code=status, is_transient=True))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501, 505])
def test_other_statuses_never_are(status):
    assert not is_retryable(ServerError("x", status_code=status))
    assert not is_retryable(ApiError("x", status_code=status))


def test_errors_without_a_status():
    assert is_retryable(ApiConnectionError("x"))
    assert is_retryable(ApiTimeoutError("x"))
    for error in (
        ApiConnectionError("bad certificate", is_transient=False),
        StreamInterruptedError("x"),
        InvalidResponseError("x"),
        InvalidRequestError("x"),
        AuthenticationError("x"),
        RateLimitError("quota used up", status_code=429, is_transient=False),
    ):
        assert not is_retryable(error)


@pytest.mark.parametrize("verdict", [True, False])
def test_the_server_s_own_word_wins(verdict):
    error = ServerError("x", status_code=503)
    error.should_retry = verdict
    assert is_retryable(error) is verdict


def test_delays_have_full_jitter_under_a_growing_ceiling():
    policy = RetryPolicy(initial_retry_delay=1.0, backoff_factor=2.0, max_retry_delay=16.0)
    assert [policy.ceiling(n) for n in range(7)] == [1, 2, 4, 8, 16, 16, 16]
    assert policy.ceiling(10**6) == 16
    assert [policy.delay(3, lambda c=c: c) for c in (0.0, 0.25, 0.999)] == [0.0, 2.0, 7.992]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4ms", 0.004),
        ("7m12s", 432.0),
        ("17.399999999s", 17.399999999),
        ("2m59.56s", 179.56),
        ("1h0m0s", 3600.0),
        ("6d23h59m59s", 604799.0),
        ("120ms", 0.12),
        ("", None),
        ("s", None),
        ("soon", None),
        ("-1", None),
        ("1.2.3s", None),
    ],
)
def test_durations(text, seconds):
    assert duration_seconds(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        (format_datetime(date(90), usegmt=True), 90.0),
        (date(30).isoformat(), 30.0),
        ("2023-11-14T22:14:20Z", 60.0),
        (format_datetime(date(-90), usegmt=True), 0.0),
        ("7m12s", 432.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("99999999", LONGEST_WAIT),
    ],
)
def test_retry_after(text, seconds):
    assert asked(Retry_After=text) == seconds


def test_milliseconds_and_the_longer_of_two():
    assert asked(retry_after_ms="250") == 0.25
    assert asked(retry_after="1", retry_after_ms="0") == 1.0
    assert asked(retry_after="nonsense", retry_after_ms="250") == 0.25
    assert asked() is None


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("4ms", 0.004),
        ("7m12s", 432.0),
        ("12", 12.0),
        ("33.5", 33.5),
        ("2023-11-14T22:14:20Z", 60.0),
        (str(int(WALL) + 5), 5.0),
        (str(int(WALL * 1000) + 2500), 2.5),
        ("-1", None),
        ("18446744073709551616", None),
        ("9223372036854775807", None),
    ],
)
def test_resets_of_limits_that_are_used_up(reset, seconds):
    named = {"x-ratelimit-reset-requests": reset, "x-ratelimit-remaining-requests": "0"}
    found = retry_after_seconds(CaseInsensitiveDict(named), WALL)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-3))


def test_limits_of_which_something_remains_are_no_matter():
    named = {
        "X-RateLimit-Reset-Tokens": "50s",
        "X-RateLimit-Remaining-Tokens": "100",
        "X-RateLimit-Reset-Requests": "2s",
        "X-RateLimit-Remaining-Requests": "0",
    }
    assert retry_after_seconds(CaseInsensitiveDict(named), WALL) == 2.0
    anthropic = {
        "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:30Z",
        "anthropic-ratelimit-requests-remaining": "0",
    }
    assert retry_after_seconds(CaseInsensitiveDict(anthropic), WALL) == 10.0


def test_retry_after_wins_over_the_limits():
    named = {"retry-after": "1", "x-ratelimit-reset": "50", "x-ratelimit-remaining": "0"}
    assert retry_after_seconds(CaseInsensitiveDict(named), WALL) == 1.0


@given(
    st.text(max_size=30), st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset"])
)
def test_no_header_breaks_anything(text, name):
    found = retry_after_seconds(CaseInsensitiveDict({name: text}), WALL)
    assert found is None or 0 <= found <= LONGEST_WAIT


def test_a_budget_runs_out_and_fills_again():
    budget = RetryBudget(3.0, now=0.0)
    assert [budget.take(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert not budget.take(9.0)
    assert budget.take(10.0)  # a tenth of a token a second
    assert not budget.take(10.0)
    for _ in range(11):
        budget.succeeded(0)
    assert budget.take(10.0)
    budget.succeeded(2)  # what a call took, it gives back when it succeeds after all
    assert [budget.take(10.0) for _ in range(3)] == [True, True, False]


@given(st.lists(st.tuples(st.sampled_from("ts"), st.floats(0, 5)), max_size=60))
def test_a_budget_stays_within_its_bounds(steps):
    budget, now = RetryBudget(5.0, now=0.0), 0.0
    for step, number in steps:
        if step == "t":
            now += number
            had = budget.tokens
            assert budget.take(now) == (min(5.0, had + number * 0.1) >= 1.0)
        else:
            budget.succeeded(int(number))
        assert 0.0 <= budget.tokens <= 5.0
