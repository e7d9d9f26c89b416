"""Engines without HTTP: endpoints by name, attempts that do what a test says."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from api_backends.engine.call import Call
from api_backends.engine.circuit_breaker import CircuitBreaker, CircuitPolicy
from api_backends.engine.clock import SYSTEM_CLOCK
from api_backends.engine.endpoints import Endpoint, EndpointPool
from api_backends.engine.engine import Engine

WAIT = 15.0
"""Real seconds that a test waits for a thing that must happen."""


def endpoint(name="a", threshold=5, rest=30.0, **fields):
    breaker = CircuitBreaker(CircuitPolicy(threshold, rest))
    return Endpoint(name, f"http://{name}", None, breaker, **fields)


def pool_of(*endpoints, strategy="round-robin", random=lambda: 0.5):
    pool = EndpointPool(strategy, random)
    for each in endpoints or (endpoint(),):
        pool.add(each)
    return pool


def engine_of(*endpoints, clock=SYSTEM_CLOCK, strategy="round-robin", **options):
    return Engine("test", pool_of(*endpoints, strategy=strategy), clock=clock, **options)


def call_of(engine, timeout=100.0, retries=5, priority=1, **options):
    return Call(engine.clock.now(), timeout, retries, priority, **options)


class Script:
    """An attempt that does what it is told: raises errors, returns the rest, in order.

    `seen` are the endpoints asked, `at` the times.
    """

    def __init__(self, engine, *outcomes, then=None):
        self.engine = engine
        self.outcomes = list(outcomes)
        self.then = then
        self.seen = []
        self.at = []
        self.lock = threading.Lock()

    def __call__(self, endpoint, call):
        with self.lock:
            self.seen.append(endpoint.id)
            self.at.append(self.engine.clock.now())
            outcome = self.outcomes.pop(0) if self.outcomes else self.then
        if callable(outcome) and not isinstance(outcome, type):
            outcome = outcome(endpoint, call)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class Held:
    """An attempt that holds its place until let go; counts how many run at once."""

    def __init__(self):
        self.changed = threading.Condition()
        self.free = False
        self.passes = 0
        self.running = 0
        self.most = 0
        self.order = []

    def __call__(self, endpoint, call):
        with self.changed:
            self.running += 1
            self.most = max(self.most, self.running)
            self.order.append(call)
            self.changed.notify_all()
            ended = self.changed.wait_for(lambda: self.free or self.passes, WAIT)
            self.running -= 1
            if self.passes:
                self.passes -= 1
            self.changed.notify_all()
        assert ended, "never let go"
        return "done"

    def wait_for(self, condition):
        with self.changed:
            assert self.changed.wait_for(condition, WAIT)

    def let_go(self):
        with self.changed:
            self.free = True
            self.changed.notify_all()

    def let_one_go(self):
        with self.changed:
            self.passes += 1
            self.changed.notify_all()


def in_threads(count, function):
    """Run `function(number)` on `count` threads at once; return results and errors, in order."""
    barrier = threading.Barrier(count)

    def run(number):
        barrier.wait(WAIT)
        try:
            return function(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))
