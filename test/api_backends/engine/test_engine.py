"""The one path of a request: retries, verdicts, keys that rest, storms, futures, leases."""

from __future__ import annotations

import concurrent.futures
import gc
import threading
import weakref
from collections import Counter
from concurrent.futures import CancelledError

import pytest
from engine_parts import WAIT, Held, Script, call_of, endpoint, engine_of, in_threads
from hypothesis import given, settings
from hypothesis import strategies as st

from api_backends.engine.circuit_breaker import CLOSED, HALF_OPEN, OPEN
from api_backends.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    AuthenticationError,
    BackendClosedError,
    CircuitOpenError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)


def busy(status=503, **details):
    return ServerError("busy", status_code=status, **details)


def limited(after=None, **details):
    return RateLimitError("slow down", status_code=429, retry_after=after, **details)


def refused():
    return InvalidRequestError("no", status_code=400)


def run_on_thread(engine, call, script):
    """Run a call on a thread of its own; return its future."""
    executor = concurrent.futures.ThreadPoolExecutor(1)
    future = executor.submit(engine.run, call, script)
    executor.shutdown(wait=False)
    return future


@pytest.fixture(params=["run", "submit"])
def start(request):
    """Start a call on a thread of the caller's, or on a worker."""
    if request.param == "run":
        return run_on_thread
    return lambda engine, call, script: engine.submit(call, script)


# --- retries -------------------------------------------------------------------------------------


def test_a_retry_waits_with_full_jitter_and_without_a_place(clock, start):
    engine = engine_of(clock=clock, limit=1)
    script = Script(engine, busy(), busy(), then="served")
    clock.chance = 0.25
    future = start(engine, call_of(engine), script)
    begun = clock.now()
    for delay, count in ((0.25, 1), (0.5, 2)):
        wait_for_parked(engine, script, count)
        assert engine.admission.active == 0
        # Meanwhile the only place is free for others.
        assert engine.run(call_of(engine), Script(engine, then="other")) == "other"
        clock.advance(delay)
    assert future.result(WAIT) == "served"
    assert script.at == [begun, begun + 0.25, begun + 0.75]
    assert engine.stats.retried == 2
    assert engine.budget.tokens == engine.budget.capacity
    engine.close()


def wait_for_parked(engine, script, count):
    """Wait until attempt number `count` has failed and its call waits for the next."""
    for _ in range(5000):
        with engine.admission.lock:
            if len(script.seen) == count and engine.admission.line.parked_count == 1:
                return
        threading.Event().wait(0.002)
    raise AssertionError(f"{len(script.seen)} attempts, none waiting")


@pytest.mark.parametrize("after", [0.0, 3.0, 40.0])
def test_the_server_s_delay_wins(clock, start, after):
    engine = engine_of(clock=clock)
    script = Script(engine, busy(retry_after=after), then="served")
    future = start(engine, call_of(engine), script)
    if after:
        wait_for_parked(engine, script, 1)
        clock.advance(after)
    assert future.result(WAIT) == "served"
    assert script.at[1] - script.at[0] == after
    engine.close()


def test_what_would_come_too_late_is_not_waited_for(clock, start):
    engine = engine_of(clock=clock)
    script = Script(engine, busy(retry_after=100.0))
    with pytest.raises(ServerError) as caught:
        start(engine, call_of(engine, timeout=100.0), script).result(WAIT)
    assert caught.value.attempts == 1
    engine.close()


@pytest.mark.parametrize(
    "error", [refused(), AuthenticationError("x", status_code=401), limited(is_transient=False)]
)
def test_what_will_not_pass_is_not_tried_again(clock, start, error):
    engine = engine_of(clock=clock)
    script = Script(engine, error)
    with pytest.raises(type(error)) as caught:
        start(engine, call_of(engine), script).result(WAIT)
    assert len(script.seen) == 1
    assert caught.value.attempts == 1
    assert caught.value.backend == "test"
    assert caught.value.endpoint_id == "a"
    engine.close()


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_no_more_retries_than_allowed(clock, start, retries):
    clock.chance = 0.0
    engine = engine_of(clock=clock)
    script = Script(engine, then=lambda e, c: busy())
    with pytest.raises(ServerError) as caught:
        start(engine, call_of(engine, retries=retries), script).result(WAIT)
    assert len(script.seen) == caught.value.attempts == retries + 1
    engine.close()


def test_errors_that_are_no_errors_of_ours_pass_through(clock, start):
    engine = engine_of(endpoint(threshold=1), clock=clock)
    with pytest.raises(ZeroDivisionError):
        start(engine, call_of(engine), Script(engine, ZeroDivisionError())).result(WAIT)
    assert engine.admission.active == 0
    assert engine.pool.get("a").breaker.state == CLOSED
    engine.close()


def test_a_deadline_that_passes_while_a_retry_waits_for_a_place(clock, start):
    engine = engine_of(clock=clock, limit=1)
    script = Script(engine, busy())
    future = start(engine, call_of(engine, timeout=10.0), script)
    wait_for_parked(engine, script, 1)
    held = Held()
    engine.submit(call_of(engine), held)
    held.wait_for(lambda: held.running == 1)
    clock.advance(1.0)
    for _ in range(5000):
        if engine.admission.waiting.qsize():
            break
        threading.Event().wait(0.002)
    clock.advance(9.0)
    with pytest.raises(ApiTimeoutError, match="no place") as caught:
        future.result(WAIT)
    assert isinstance(caught.value.__cause__, ServerError)
    assert caught.value.attempts == 1
    held.let_go()
    engine.close()


def test_an_error_is_never_its_own_cause(clock, start):
    engine = engine_of(endpoint(threshold=1), endpoint("b"), clock=clock)
    engine.pool.get("b").breaker._open(clock.now() + 99)
    engine.pool.get("a").breaker.policy = type(engine.pool.get("a").breaker.policy)(3)
    timeout = ApiTimeoutError("slow", status_code=408)
    script = Script(engine, timeout)
    future = start(engine, call_of(engine), script)
    wait_for_parked(engine, script, 1)
    engine.pool.get("a").breaker._open(clock.now() + 99)  # broken by others meanwhile
    clock.advance(1.0)
    with pytest.raises(ApiTimeoutError) as caught:
        future.result(WAIT)
    assert caught.value is timeout
    assert caught.value.__cause__ is None
    engine.close()


# --- several endpoints ---------------------------------------------------------------------------


def test_a_retry_goes_elsewhere_at_once(clock, start):
    engine = engine_of(endpoint("a"), endpoint("b"), endpoint("c"), clock=clock)
    script = Script(engine, busy(retry_after=50.0), busy(), then="served")
    assert start(engine, call_of(engine), script).result(WAIT) == "served"
    assert script.seen == ["a", "b", "c"]
    assert len(set(script.at)) == 1
    engine.close()


def test_a_second_round_does_not_begin_where_the_first_ended(clock, start):
    engine = engine_of(endpoint("a"), endpoint("b"), clock=clock)
    script = Script(engine, busy(), busy(), then="served")
    future = start(engine, call_of(engine), script)
    wait_for_parked(engine, script, 2)
    clock.advance(2.0)
    assert future.result(WAIT) == "served"
    assert script.seen == ["a", "b", "a"]
    engine.close()


def test_a_call_that_names_its_endpoint_stays_there(clock, start):
    engine = engine_of(endpoint("a"), endpoint("b"), clock=clock)
    clock.chance = 0.0
    script = Script(engine, busy(), busy(), then="served")
    call = call_of(engine, pinned=engine.pool.get("b"))
    assert start(engine, call, script).result(WAIT) == "served"
    assert script.seen == ["b", "b", "b"]
    engine.close()


def test_a_limit_rests_its_own_key_and_no_other(clock, start):
    engine = engine_of(endpoint("a"), endpoint("b"), clock=clock)
    script = Script(engine, limited(30.0), then="served")
    assert start(engine, call_of(engine), script).result(WAIT) == "served"
    assert script.seen == ["a", "b"]
    for _ in range(4):
        engine.run(call_of(engine), script)
    assert Counter(script.seen) == {"a": 1, "b": 5}
    clock.advance(30.0)
    for _ in range(4):
        engine.run(call_of(engine), script)
    assert Counter(script.seen) == {"a": 3, "b": 7}
    engine.close()


def test_a_used_up_quota_is_no_end_while_there_is_another_key(clock, start):
    engine = engine_of(endpoint("a"), endpoint("b"), clock=clock)
    script = Script(engine, limited(is_transient=False), then="served")
    assert start(engine, call_of(engine), script).result(WAIT) == "served"
    assert script.seen == ["a", "b"]
    engine.close()


def test_a_limit_of_the_call_s_own_key_rests_nobody(clock, start):
    engine = engine_of(endpoint("a"), clock=clock)
    script = Script(engine, limited(20.0), then="served")
    future = start(engine, call_of(engine, has_own_key=True), script)
    wait_for_parked(engine, script, 1)
    assert engine.run(call_of(engine), Script(engine, then="other")) == "other"
    assert engine.pool.get("a").breaker.failures == 0
    clock.advance(20.0)
    assert future.result(WAIT) == "served"
    engine.pool.get("a").resting_until = clock.now() + 60
    own = call_of(engine, has_own_key=True)
    assert engine.run(own, Script(engine, then="own")) == "own"
    engine.close()


def test_a_limited_call_waits_for_a_busy_key_rather_than_its_own(clock, start):
    engine = engine_of(endpoint("a"), endpoint("b", max_concurrent_requests=1), clock=clock)
    held = Held()
    engine.submit(call_of(engine, pinned=engine.pool.get("b")), held)
    held.wait_for(lambda: held.running == 1)
    script = Script(engine, limited(60.0), then="served")
    future = start(engine, call_of(engine, timeout=50.0), script)
    for _ in range(5000):
        if engine.admission.waiting.qsize():
            break
        threading.Event().wait(0.002)
    held.let_go()
    assert future.result(WAIT) == "served"
    assert script.seen == ["a", "b"]
    engine.close()


def test_several_requests_that_meet_one_limit_count_once(clock):
    engine = engine_of(endpoint(threshold=3), clock=clock)
    barrier = threading.Barrier(4)

    def attempt(e, c):
        barrier.wait(WAIT)
        raise limited(10.0)

    results = in_threads(4, lambda _: pytest.raises(
        RateLimitError, engine.run, call_of(engine, retries=0), attempt
    ))  # fmt: skip
    assert len(results) == 4
    each = engine.pool.get("a")
    assert (each.rests, each.breaker.state) == (1, CLOSED)
    engine.close()


# --- the circuit ---------------------------------------------------------------------------------


def fail(engine, times, error=None):
    for _ in range(times):
        with pytest.raises(ApiError):
            engine.run(call_of(engine, retries=0), Script(engine, error or busy()))


def test_an_open_circuit_refuses_at_once_and_says_until_when(clock, start):
    engine = engine_of(endpoint(threshold=2, rest=30.0), clock=clock)
    fail(engine, 2)
    script = Script(engine)
    with pytest.raises(CircuitOpenError) as caught:
        start(engine, call_of(engine), script).result(WAIT)
    assert caught.value.retry_after == 30.0
    assert caught.value.retry_at == clock.wall() + 30.0
    assert not script.seen
    engine.close()


def test_wrong_requests_do_not_open_it(clock):
    engine = engine_of(endpoint(threshold=2), clock=clock)
    fail(engine, 5, refused())
    fail(engine, 1)
    fail(engine, 1, AuthenticationError("x", status_code=401))  # it answers: the row is broken
    fail(engine, 1)
    assert engine.pool.get("a").breaker.state == CLOSED
    fail(engine, 1, limited(0.0))
    assert engine.pool.get("a").breaker.state == OPEN
    engine.close()


def test_exactly_one_of_many_callers_probes(clock):
    engine = engine_of(endpoint(threshold=1), clock=clock, limit=20)
    fail(engine, 1)
    clock.advance(30.0)
    held = Held()
    others = threading.Semaphore(0)

    def call(_):
        try:
            return engine.run(call_of(engine), held)
        except CircuitOpenError as error:
            others.release()
            return error

    watcher = threading.Thread(
        target=lambda: ([others.acquire(timeout=WAIT) for _ in range(15)], held.let_go())
    )
    watcher.start()
    results = in_threads(16, call)
    watcher.join(WAIT)
    assert Counter(map(type, results)) == {str: 1, CircuitOpenError: 15}
    assert held.most == 1
    assert engine.pool.get("a").breaker.state == CLOSED
    engine.close()


def test_a_stream_that_began_is_a_probe_that_succeeded(clock):
    engine = engine_of(endpoint(threshold=1), clock=clock)
    fail(engine, 1)
    clock.advance(30.0)
    answer, lease = engine.open(call_of(engine), Script(engine, then="begun"))
    assert answer == "begun"
    assert engine.pool.get("a").breaker.state == CLOSED
    assert engine.run(call_of(engine), Script(engine, then="x")) == "x"
    lease.ended()
    engine.close()


def test_a_probe_that_is_cancelled_leaves_room_for_the_next(clock):
    engine = engine_of(endpoint(threshold=1), clock=clock, limit=1)
    fail(engine, 1)
    clock.advance(30.0)
    with pytest.raises(KeyboardInterrupt):
        engine.run(call_of(engine), Script(engine, KeyboardInterrupt()))
    assert engine.run(call_of(engine), Script(engine, then="x")) == "x"
    assert engine.pool.get("a").breaker.state == CLOSED
    engine.close()


def test_a_limited_probe_settles_the_circuit(clock):
    engine = engine_of(endpoint(threshold=1), clock=clock)
    each = engine.pool.get("a")
    fail(engine, 1)
    clock.advance(30.0)

    def attempt(e, c):
        assert each.breaker.state == HALF_OPEN
        each.resting_until = clock.now() + 5  # another request met the limit meanwhile
        raise limited(5.0)

    with pytest.raises(RateLimitError):
        engine.run(call_of(engine, retries=0), attempt)
    assert each.breaker.state == OPEN
    clock.advance(60.0)
    assert engine.run(call_of(engine), Script(engine, then="x")) == "x"
    engine.close()


# --- storms --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [5, 10**9])
def test_an_outage_makes_no_storm(clock, threshold):
    """200 callers, nothing answers: at most 1.1 requests per call, and after it, as ever."""
    engine = engine_of(endpoint(threshold=threshold), clock=clock, limit=50, queue_size=500)
    script = Script(engine, then=lambda e, c: busy())
    futures = [engine.submit(call_of(engine, timeout=300.0), script) for _ in range(200)]
    pending = set(futures)
    for _ in range(200):
        pending = {f for f in pending if not f.done()}
        if not pending:
            break
        clock.advance(1.0)
        concurrent.futures.wait(pending, 0.02)
    assert not pending
    assert all(isinstance(f.exception(0), ApiError) for f in futures)
    assert len(script.seen) <= 1.1 * 200 + 0.1 * (clock.now() - 1000.0)
    # The first second is over: what fails now is not sent again and again.
    before, calls = len(script.seen), 0
    for _ in range(20):
        clock.advance(0.05)
        for _ in range(10):
            calls += 1
            future = engine.submit(call_of(engine, timeout=0.5), script)
            concurrent.futures.wait([future], WAIT if threshold == 5 else 0.2)
    clock.advance(1.0)
    assert len(script.seen) - before <= 1.1 * calls
    engine.close()
    script.then = None


def test_single_failures_are_retried_for_ever_while_most_calls_succeed(clock):
    clock.chance = 0.0
    engine = engine_of(clock=clock)
    for _ in range(200):
        assert engine.run(call_of(engine), Script(engine, busy(), then="served")) == "served"
    assert engine.stats.retried == 200
    engine.close()


# --- futures -------------------------------------------------------------------------------------


def test_cancel_while_a_retry_waits(clock):
    engine = engine_of(clock=clock)
    script = Script(engine, busy(), then="served")
    future = engine.submit(call_of(engine), script)
    wait_for_parked(engine, script, 1)
    assert future.cancel()
    clock.advance(50.0)
    assert engine.run(call_of(engine), Script(engine, then="x")) == "x"
    assert len(script.seen) == 1
    assert engine.admission.line.parked_count == 0
    engine.close()


def test_cancel_in_flight_drops_the_answer():
    engine = engine_of(limit=1)
    held = Held()
    future = engine.submit(call_of(engine), held)
    held.wait_for(lambda: held.running == 1)
    assert future.cancel()
    assert engine.admission.active == 1  # its request is on the wire still
    held.let_go()
    assert engine.run(call_of(engine), Script(engine, then="next")) == "next"
    engine.close()


def test_a_cancelled_future_is_done_for_everybody():
    engine = engine_of(limit=1)
    held = Held()
    engine.submit(call_of(engine), held)
    future = engine.submit(call_of(engine), held)
    called = []
    future.add_done_callback(called.append)
    assert future.cancel()
    assert future.cancel()  # again is no harm
    done, _ = concurrent.futures.wait([future], timeout=5)
    assert done == {future}
    assert called == [future]
    with pytest.raises(CancelledError):
        future.result(0)
    held.let_go()
    engine.close()


def test_a_finished_future_can_not_be_cancelled():
    engine = engine_of()
    future = engine.submit(call_of(engine), Script(engine, then="x"))
    assert future.result(WAIT) == "x"
    assert not future.cancel()
    engine.close()


def test_cancelling_races_with_everything():
    engine = engine_of(limit=4, queue_size=1000)
    futures = [engine.submit(call_of(engine), Script(engine, then="x")) for _ in range(300)]
    in_threads(4, lambda n: [f.cancel() for f in futures[n::4]])
    concurrent.futures.wait(futures, WAIT)
    assert all(f.done() for f in futures)
    assert engine.run(call_of(engine), Script(engine, then="y")) == "y"
    engine.close()
    assert engine.admission.active == 0


def test_close_ends_calls_that_wait_for_a_retry(clock, start):
    engine = engine_of(clock=clock)
    script = Script(engine, busy())
    future = start(engine, call_of(engine), script)
    wait_for_parked(engine, script, 1)
    engine.close()
    with pytest.raises(BackendClosedError) as caught:
        future.result(WAIT)
    assert isinstance(caught.value.__cause__, ServerError)
    assert caught.value.attempts == 1


def test_a_request_on_the_wire_survives_close(start):
    engine = engine_of()
    held = Held()
    future = start(engine, call_of(engine), held)
    held.wait_for(lambda: held.running == 1)
    engine.close()
    held.let_go()
    assert future.result(WAIT) == "done"


def test_no_more_threads_to_be_had_ends_the_call(monkeypatch):
    engine = engine_of()

    def refuse(task):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(engine.workers, "start", refuse)
    future = engine.submit(call_of(engine), Script(engine))
    with pytest.raises(ApiConnectionError, match="thread"):
        future.result(WAIT)
    assert engine.admission.active == 0
    engine.close()


@pytest.mark.parametrize("outcome", ["answer", "error", "refusal"])
def test_nothing_of_a_submitted_call_is_kept(clock, outcome):
    """No cycle: what a call held is free without the garbage collector."""
    engine = engine_of(endpoint(threshold=1), clock=clock)

    class Attempt:
        def __call__(self, e, c):
            if outcome == "answer":
                return "x"
            raise refused()

    if outcome == "refusal":
        fail(engine, 1)
    attempt = Attempt()
    gone = weakref.ref(attempt)
    gc.disable()
    try:
        future = engine.submit(call_of(engine), attempt)
        concurrent.futures.wait([future], WAIT)
        engine.close()
        del attempt, future
        assert gone() is None
    finally:
        gc.enable()


# --- leases --------------------------------------------------------------------------------------


def test_a_lease_ends_once():
    engine = engine_of()
    _, lease = engine.open(call_of(engine), Script(engine, then="s"))
    assert engine.admission.active == 1
    lease.ended()
    lease.ended()
    lease.failed(StreamInterruptedError("late"))
    assert engine.admission.active == 0
    assert (engine.stats.successful, engine.stats.failed) == (1, 0)
    engine.close()


def test_a_broken_stream_is_not_tried_again_and_counts():
    engine = engine_of(endpoint(threshold=1))
    script = Script(engine, then="s")
    _, lease = engine.open(call_of(engine), script)
    lease.failed(StreamInterruptedError("broke"))
    assert len(script.seen) == 1
    assert engine.pool.get("a").breaker.state == OPEN
    engine.close()


def test_a_dropped_lease_gives_its_place_to_who_waits():
    engine = engine_of(limit=1)
    _, lease = engine.open(call_of(engine), Script(engine, then="s"))
    future = engine.submit(call_of(engine), Script(engine, then="served"))
    assert not future.done()
    del lease
    assert future.result(WAIT) == "served"
    engine.close()


def test_a_dropped_lease_is_settled_without_a_thread():
    engine = engine_of(limit=1)
    for _ in range(50):
        _, lease = engine.open(call_of(engine), Script(engine, then="s"))
        del lease
    engine.admission.settle()
    assert engine.admission.active == 0
    assert engine.admission.thread is None
    assert engine.admission._signals.qsize() == 0
    engine.close()


def test_a_held_answer_that_nobody_wants_is_closed():
    engine = engine_of()

    class Answer:
        closed = False

        def close(self):
            self.closed = True

    answer, begun, release = Answer(), threading.Event(), threading.Event()

    def attempt(e, c):
        begun.set()
        release.wait(WAIT)
        return answer

    future = engine.submit(call_of(engine), attempt, hold=True)
    assert begun.wait(WAIT)
    assert future.cancel()
    release.set()
    engine.run(call_of(engine), Script(engine, then="x"))
    engine.close()
    for thread in threading.enumerate():
        if thread.name == "ipfs-accelerate-test-worker":
            thread.join(WAIT)
    assert answer.closed
    assert engine.admission.active == 0


# --- everything at once --------------------------------------------------------------------------

OUTCOMES = st.sampled_from(["x", "busy", "refused", "limited", "timeout", "reset", "bug"])
ERRORS = {
    "busy": busy,
    "refused": refused,
    "limited": lambda: limited(0.5),
    "timeout": lambda: ApiTimeoutError("t", status_code=408),
    "reset": lambda: ApiConnectionError("r"),
    "bug": lambda: KeyError("bug"),
}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(OUTCOMES, max_size=7), min_size=1, max_size=8),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_every_call_ends_once_with_what_its_attempts_say(plans, endpoints, limit):
    from fake_clock import FakeClock

    clock = FakeClock()
    made = [endpoint(name, threshold=4, rest=5.0) for name in "abc"[:endpoints]]
    engine = engine_of(*made, clock=clock, limit=limit)
    calls = []
    for plan in plans:
        outcomes = [ERRORS[word]() if word in ERRORS else word for word in plan]
        script = Script(engine, *outcomes, then="x")
        calls.append((script, engine.submit(call_of(engine, retries=3), script)))
    futures = {future for _, future in calls}
    for _ in range(60):
        done, pending = concurrent.futures.wait(futures, 0 if not futures else 0.01)
        if not pending:
            break
        clock.advance(2.0)
    concurrent.futures.wait(futures, WAIT)
    for (script, future), plan in zip(calls, plans):
        assert future.done()
        assert len(script.seen) <= 4
        error = future.exception()
        if error is None:
            assert [*plan, "x"][len(script.seen) - 1] == "x"
        elif not isinstance(error, KeyError):
            assert isinstance(error, ApiError)
            assert error.attempts == len(script.seen)
    with engine.admission.lock:
        assert engine.admission.active == 0
        assert engine.stats.total == len(plans)
    assert all(each.active == 0 for each in made)
    engine.close()
