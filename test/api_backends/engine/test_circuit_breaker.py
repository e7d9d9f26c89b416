"""The circuit breaker against a plain model, and by example."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from api_backends.engine.circuit_breaker import (
    CLOSED,
    HALF_OPEN,
    OPEN,
    CircuitBreaker,
    CircuitPolicy,
)


def broken(threshold=3, rest=10.0):
    breaker = CircuitBreaker(CircuitPolicy(threshold, rest))
    for number in range(threshold):
        breaker.enter(number)
        breaker.failed(number, 100.0)
    return breaker


def test_opens_after_failures_in_a_row_and_not_before():
    breaker = CircuitBreaker(CircuitPolicy(3, 10.0))
    for verdict in ("f", "f", "s", "f", "f"):
        breaker.enter(verdict)
        if verdict == "f":
            breaker.failed(verdict, 0.0)
        else:
            breaker.succeeded(verdict)
    assert breaker.state == CLOSED
    breaker.failed("x", 0.0)
    assert breaker.state == OPEN


def test_lets_one_probe_through_after_its_rest():
    breaker = broken()
    assert not breaker.allows(109.9)
    assert breaker.allows(110.0)
    breaker.enter("probe")
    assert breaker.state == HALF_OPEN
    assert not breaker.allows(1e9)


def test_the_probe_decides():
    breaker = broken()
    breaker.enter("probe")
    breaker.succeeded("probe")
    assert breaker.state == CLOSED
    assert breaker.failures == 0
    breaker = broken()
    breaker.enter("probe")
    breaker.failed("probe", 120.0)
    assert breaker.state == OPEN
    assert breaker.retry_at == 130.0


@pytest.mark.parametrize("verdict", ["succeeded", "failed", "abandoned"])
def test_requests_from_before_the_break_decide_nothing(verdict):
    breaker = broken()
    breaker.enter("probe")
    late = getattr(breaker, verdict)
    late("old", *(() if verdict == "succeeded" else (500.0,)))
    assert breaker.state == HALF_OPEN
    assert breaker.probe == "probe"


def test_an_abandoned_probe_lets_the_next_one_through_at_once():
    breaker = broken()
    breaker.enter("probe")
    breaker.abandoned("probe", 115.0)
    assert breaker.allows(115.0)


class Machine(RuleBasedStateMachine):
    """Requests come, and end in any order with any verdict, while time passes."""

    def __init__(self):
        super().__init__()
        self.breaker = CircuitBreaker(CircuitPolicy(3, 10.0))
        self.now = 0.0
        self.next = 0
        self.flying: dict[int, bool] = {}  # request: whether it is a probe
        self.row = 0
        self.opened_at = None

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 10.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def request(self):
        allowed = self.breaker.allows(self.now)
        probing = any(self.flying.values())
        if self.opened_at is None:
            assert allowed
        else:
            assert allowed == (not probing and self.now >= self.opened_at)
        if allowed:
            self.breaker.enter(self.next)
            self.flying[self.next] = self.opened_at is not None
            self.next += 1

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), verdict=st.sampled_from("sfa"))
    def end(self, data, verdict):
        request = data.draw(st.sampled_from(sorted(self.flying)))
        probe = self.flying.pop(request)
        if verdict == "s":
            self.breaker.succeeded(request)
        elif verdict == "f":
            self.breaker.failed(request, self.now)
        else:
            self.breaker.abandoned(request, self.now)
        if self.opened_at is None:
            self.row = 0 if verdict == "s" else self.row + (verdict == "f")
            if self.row >= 3:
                self.opened_at = self.now + 10.0
        elif probe:
            self.opened_at = {"s": None, "f": self.now + 10.0, "a": self.now}[verdict]
            self.row = 0 if verdict == "s" else self.row

    @invariant()
    def states_agree(self):
        probing = any(self.flying.values())
        expected = CLOSED if self.opened_at is None else HALF_OPEN if probing else OPEN
        assert self.breaker.state == expected
        assert sum(self.flying.values()) <= 1


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase
