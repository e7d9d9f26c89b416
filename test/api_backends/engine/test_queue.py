"""Places and the line for them: how many, in which order, and nobody lost."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import Counter
from concurrent.futures import CancelledError

import pytest
from engine_parts import WAIT, Held, Script, call_of, endpoint, engine_of, in_threads, pool_of
from fake_clock import FakeClock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from api_backends.engine.call import Call, priority_level
from api_backends.engine.queue import Admission
from api_backends.errors import (
    ApiTimeoutError,
    BackendClosedError,
    CircuitOpenError,
    InvalidRequestError,
    QueueFullError,
    RateLimitError,
    ServerError,
)


def busy_engine(**options):
    """Return an engine whose places are all taken, and the attempt that holds them."""
    engine = engine_of(**options)
    held = Held()
    for _ in range(engine.admission.limit):
        engine.submit(call_of(engine), held)
    held.wait_for(lambda: held.running == engine.admission.limit)
    return engine, held


@pytest.mark.parametrize(("threads", "limit"), [(1, 5), (4, 1), (8, 3), (32, 5)])
def test_as_many_run_as_the_limit_says_and_never_more(threads, limit):
    engine = engine_of(limit=limit, queue_size=100)
    held = Held()
    expected = min(threads, limit)
    watcher = threading.Thread(
        target=lambda: (held.wait_for(lambda: held.running == expected), held.let_go())
    )
    watcher.start()
    results = in_threads(threads, lambda _: engine.run(call_of(engine), held))
    watcher.join(WAIT)
    assert results == ["done"] * threads
    assert held.most == expected
    assert engine.admission.active == 0
    engine.close()


def test_the_limit_holds_while_it_is_changed():
    engine, held = busy_engine(limit=2)
    futures = [engine.submit(call_of(engine), held) for _ in range(20)]
    engine.admission.limit = 6
    engine.admission.dispatch()
    held.wait_for(lambda: held.running == 6)
    assert held.most == 6
    engine.admission.limit = 1
    for _ in range(6):  # one leaves, and nobody follows until there are less than the limit
        held.let_one_go()
        held.wait_for(lambda: held.passes == 0)
    held.wait_for(lambda: held.running == 1)
    held.most = 0
    held.let_go()
    for future in futures:
        assert future.result(WAIT) == "done"
    assert held.most == 1
    engine.close()


def test_high_goes_before_normal_before_low_and_first_come_first_served():
    engine, held = busy_engine(limit=1)
    order = []
    calls = [(level, number) for number in range(6) for level in (2, 1, 0)]
    futures = [
        engine.submit(
            call_of(engine, priority=level), lambda e, c, key=(level, n): order.append(key)
        )
        for level, n in calls
    ]
    held.let_go()
    for future in futures:
        future.result(WAIT)
    assert order == sorted(calls)
    engine.close()


def test_low_is_overtaken_but_not_for_ever():
    engine, held = busy_engine(limit=1, queue_size=20)
    order = []
    low = engine.submit(call_of(engine, priority=2), lambda e, c: order.append("low"))

    def high(e, c):
        order.append("high")
        if len(order) < 200:
            engine.submit(call_of(engine, priority=0), high)

    for _ in range(10):
        engine.submit(call_of(engine, priority=0), high)
    held.let_go()
    low.result(WAIT)
    assert 10 <= order.index("low") <= 2 * 20
    engine.close()


def test_priorities_by_name_and_number():
    assert [priority_level(p) for p in ("HIGH", "normal", "Low", 0, 1, 2)] == [0, 1, 2, 0, 1, 2]
    for wrong in ("URGENT", 3, -1, True, None, 1.0):
        with pytest.raises(InvalidRequestError, match="priority"):
            priority_level(wrong)


def test_a_full_queue_refuses_at_once():
    engine, held = busy_engine(limit=1, queue_size=2)
    waiting = [engine.submit(call_of(engine), held) for _ in range(2)]
    with pytest.raises(QueueFullError, match="queue_size"):
        engine.submit(call_of(engine), held)
    with pytest.raises(QueueFullError):
        engine.run(call_of(engine), held)
    held.let_go()
    assert [f.result(WAIT) for f in waiting] == ["done"] * 2
    assert engine.stats.errors == {"QueueFullError": 2}
    engine.close()


def test_blocked_callers_enter_as_soon_as_there_is_room(clock):
    engine, held = busy_engine(limit=1, queue_size=1, clock=clock)
    queued = engine.submit(call_of(engine), held)
    results = []

    def block(kind):
        call = call_of(engine, block=True)
        results.append(
            engine.run(call, held) if kind == "run" else engine.submit(call, held).result(WAIT)
        )

    threads = [threading.Thread(target=block, args=(kind,)) for kind in ("run", "submit")]
    for thread in threads:
        thread.start()
    clock.wait_for_sleepers(2)
    assert not results
    held.let_go()
    for thread in threads:
        thread.join(WAIT)
    assert results == ["done", "done"]
    assert queued.result(WAIT) == "done"
    engine.close()


def test_blocked_callers_are_served_by_priority():
    engine, held = busy_engine(limit=1, queue_size=1)
    order = []
    futures = [engine.submit(call_of(engine), held)]
    futures += [
        engine.submit(
            call_of(engine, priority=level, block=True),
            lambda e, c, level=level: order.append(level),
            may_wait=False,
        )
        for level in (2, 1, 0)
    ]
    held.let_go()
    for future in futures:
        future.result(WAIT)
    assert order == [0, 1, 2]
    engine.close()


@pytest.mark.parametrize("kind", ["run", "submit", "submit without waiting"])
def test_blocked_callers_give_up_at_their_deadline(clock, kind):
    engine, held = busy_engine(limit=1, queue_size=1, clock=clock)
    queued = engine.submit(call_of(engine), held)
    errors, taken_in = [], threading.Event()

    def block():
        call = call_of(engine, timeout=7.0, block=True)
        try:
            if kind == "run":
                engine.run(call, held)
            else:
                future = engine.submit(call, held, may_wait=kind == "submit")
                taken_in.set()
                future.result(WAIT)
        except ApiTimeoutError as error:
            errors.append(str(error))

    thread = threading.Thread(target=block)
    thread.start()
    if kind != "submit without waiting":
        clock.wait_for_sleepers(1)
    else:
        taken_in.wait(WAIT)
    clock.advance(7.0)
    thread.join(WAIT)
    assert len(errors) == 1
    assert "7 s" in errors[0]
    held.let_go()
    assert queued.result(WAIT) == "done"
    assert engine.admission.active == 0
    engine.close()


def test_thousands_of_blocked_callers_are_no_trouble():
    engine, held = busy_engine(limit=1, queue_size=1)
    futures = [
        engine.submit(call_of(engine, block=True), Script(engine, then="x"), may_wait=False)
        for _ in range(3000)
    ]
    engine.admission.waiting.maxsize = 5000
    engine.admission.dispatch()
    assert engine.admission.line.blocked_count == 0
    held.let_go()
    assert Counter(f.result(WAIT) for f in futures) == {"x": 3000}
    engine.close()


def test_blocked_callers_of_a_broken_endpoint_all_hear_of_it(clock):
    engine, held = busy_engine(limit=1, queue_size=1, clock=clock)
    futures = [
        engine.submit(call_of(engine, block=True), Script(engine, then="x"), may_wait=False)
        for _ in range(2000)
    ]
    breaker = engine.pool.get("a").breaker
    breaker._open(clock.now() + 500.0)
    held.let_go()
    errors = Counter(type(f.exception(WAIT)) for f in futures)
    assert errors == {CircuitOpenError: 2000}
    engine.close()


def test_a_call_gives_up_at_its_deadline_and_its_place_in_line(clock):
    engine, held = busy_engine(limit=1, clock=clock)
    late = engine.submit(call_of(engine, timeout=5.0), Script(engine))
    patient = engine.submit(call_of(engine, timeout=50.0), Script(engine, then="served"))
    clock.advance(5.0)
    with pytest.raises(ApiTimeoutError, match="max_concurrent_requests"):
        late.result(WAIT)
    held.let_go()
    assert patient.result(WAIT) == "served"
    engine.close()


def test_waiting_for_a_busy_endpoint_ends_when_another_has_rested(clock):
    busy, resting = endpoint("busy", max_concurrent_requests=1), endpoint("resting")
    engine = engine_of(busy, resting, clock=clock)
    resting.resting_until = clock.now() + 10.0
    held = Held()
    engine.submit(call_of(engine), held)
    held.wait_for(lambda: held.running == 1)
    script = Script(engine, then="served")
    future = engine.submit(call_of(engine), script)
    assert engine.admission._wakes_at == clock.now() + 10.0  # the thread looks by itself
    clock.advance(10.0)
    assert future.result(WAIT) == "served"  # though the busy one is busy still
    assert script.seen == ["resting"]
    held.let_go()
    engine.close()


def test_waiting_for_a_busy_endpoint_ends_when_another_may_be_probed(clock):
    busy, broken = endpoint("busy", max_concurrent_requests=1), endpoint("broken", threshold=1)
    engine = engine_of(busy, broken, clock=clock)
    broken.breaker.failed("x", clock.now())
    held = Held()
    engine.submit(call_of(engine), held)
    held.wait_for(lambda: held.running == 1)
    script = Script(engine, then="served")
    future = engine.submit(call_of(engine), script)
    clock.advance(30.0)
    assert future.result(WAIT) == "served"
    assert script.seen == ["broken"]
    held.let_go()
    engine.close()


def test_calls_wait_for_a_key_to_rest_or_hear_that_it_rests_too_long(clock):
    engine = engine_of(clock=clock)
    engine.pool.get("a").resting_until = clock.now() + 10.0
    with pytest.raises(RateLimitError, match=r"10\.0 s") as caught:
        engine.run(call_of(engine, timeout=9.0), Script(engine))
    assert caught.value.retry_after == pytest.approx(10.0)
    future = engine.submit(call_of(engine, timeout=11.0), Script(engine, then="rested"))
    clock.advance(10.0)
    assert future.result(WAIT) == "rested"
    engine.close()


def test_a_new_endpoint_takes_calls_that_wait_for_a_rest(clock):
    engine = engine_of(clock=clock)
    engine.pool.get("a").resting_until = clock.now() + 50.0
    future = engine.submit(call_of(engine), Script(engine, then="elsewhere"))
    engine.pool.add(endpoint("b"))
    engine.admission.dispatch()
    assert future.result(WAIT) == "elsewhere"
    engine.close()


def test_cancelling_takes_a_waiting_call_out_of_line():
    engine, held = busy_engine(limit=1, queue_size=2)
    script = Script(engine, then="served")
    first, second = (engine.submit(call_of(engine), script) for _ in range(2))
    assert first.cancel()
    assert engine.admission.waiting.qsize() == 1
    third = engine.submit(call_of(engine), script)  # there is room again
    held.let_go()
    assert [second.result(WAIT), third.result(WAIT)] == ["served"] * 2
    with pytest.raises(CancelledError):
        first.result(0)
    assert len(script.seen) == 2
    engine.close()


def test_close_ends_everybody_who_waits(clock):
    engine, held = busy_engine(limit=1, queue_size=3, clock=clock)
    queued = [engine.submit(call_of(engine), held) for _ in range(2)]
    sync, errors = [], []

    def wait(block):
        try:
            engine.run(call_of(engine, block=block), held)
        except BackendClosedError as error:
            errors.append(error)

    for block in (False, True):
        sync.append(threading.Thread(target=wait, args=(block,)))
        sync[-1].start()
        clock.wait_for_sleepers(len(sync))
    blocked = engine.submit(call_of(engine, block=True), held, may_wait=False)
    thread = engine.admission.thread
    engine.close()
    for each in sync:
        each.join(WAIT)
    assert len(errors) == 2
    for future in (*queued, blocked):
        with pytest.raises(BackendClosedError, match="make a new one"):
            future.result(WAIT)
    assert not thread.is_alive()
    engine.close()  # a second time does nothing
    with pytest.raises(BackendClosedError):
        engine.run(call_of(engine), held)
    with pytest.raises(BackendClosedError):
        engine.submit(call_of(engine), held)
    held.let_go()


def test_an_engine_that_nobody_holds_ends_its_thread():
    engine, held = busy_engine(limit=1)
    waiting = engine.submit(call_of(engine), held)
    thread = engine.admission.thread
    held.let_go()
    assert waiting.result(WAIT) == "done"
    gone = weakref.ref(engine.admission)
    del engine, waiting, held
    thread.join(WAIT)
    gc.collect()
    assert not thread.is_alive()
    assert gone() is None


def test_no_thread_until_somebody_waits():
    engine = engine_of(limit=1)
    assert engine.run(call_of(engine), Script(engine, then="x")) == "x"
    assert engine.admission.thread is None
    engine.close()


class QuietAdmission(Admission):
    """One whose thread is the test itself."""

    def _ensure_thread_locked(self):
        pass


class Line(RuleBasedStateMachine):
    """Calls of all priorities come, run, are cancelled and time out, while the limits change."""

    def __init__(self):
        super().__init__()
        self.clock = FakeClock()
        self.a, self.b = endpoint("a", max_concurrent_requests=2), endpoint("b")
        pool = pool_of(self.a, self.b)
        self.admission = QuietAdmission("test", pool, 2, 3, self.clock)
        self.waiting: dict[Call, None] = {}
        self.running: list[Call] = []
        self.ended: set[Call] = set()
        self.woken: list[Call] = []

    def make(self, priority, pinned, block, timeout):
        call = Call(self.clock.now(), timeout, 0, priority, pinned, block)
        call.run = self.woken.append
        return call

    def take_in(self):
        """Settle what the last step did: who got a place, who got an error."""
        while self.woken:
            call = self.woken.pop(0)
            assert call in self.waiting, "woken twice, or never queued"
            del self.waiting[call]
            if call.error is not None:
                self.ended.add(call)
            else:
                call.take_endpoint()
                self.running.append(call)

    @rule(
        priority=st.integers(0, 2),
        pin=st.sampled_from([None, "a", "b"]),
        block=st.booleans(),
        timeout=st.sampled_from([3.0, 1000.0]),
    )
    def come(self, priority, pin, block, timeout):
        pinned = None if pin is None else getattr(self, pin)
        call = self.make(priority, pinned, block, timeout)
        room = self.admission.line.has_room()
        self.waiting[call] = None
        try:
            self.admission.enter_later(call, may_wait=False)
        except QueueFullError:
            assert not room
            assert not block
            del self.waiting[call]
        self.take_in()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def leave(self, data):
        call = data.draw(st.sampled_from(self.running))
        self.running.remove(call)
        candidates = [c.entry[0] for c in self.waiting if c.pinned is None and c.state == 1]
        with self.admission.lock:
            granted = self.admission.release_locked(call.endpoint, call.generation)
        self.admission.notify(granted)
        unpinned = [c for c in granted if c.pinned is None and c.error is None]
        if len(unpinned) == 1 and candidates and unpinned[0].entry[0] in candidates:
            assert unpinned[0].entry[0] == min(candidates)
        self.take_in()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data):
        call = data.draw(st.sampled_from(list(self.waiting)))
        assert self.admission.withdraw(call)
        del self.waiting[call]
        self.take_in()

    @rule(limit=st.integers(1, 4), size=st.integers(1, 5))
    def change(self, limit, size):
        self.admission.limit = limit
        self.admission.waiting.maxsize = size
        self.admission.dispatch()
        self.take_in()

    @rule(seconds=st.sampled_from([1.0, 2.0]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)
        self.admission.drain()
        self.take_in()
        assert all(call.deadline > self.clock.now() for call in self.waiting)

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def rest(self, seconds):
        self.b.resting_until = self.clock.now() + seconds

    @invariant()
    def nobody_is_lost_and_places_are_counted(self):
        admission = self.admission
        assert admission.active == len(self.running)
        assert self.a.active + self.b.active == len(self.running)
        line = admission.line
        assert set(line.threadless()) == set(self.waiting)
        assert self.a.active <= 2

    @invariant()
    def no_place_is_free_while_a_call_could_have_it(self):
        admission, now = self.admission, self.clock.now()
        if admission.active >= admission.limit:
            return
        for entry in admission.waiting.queue:
            call = entry[2]
            free = [self.a] if self.a.active < 2 else []
            if self.b.resting_until <= now:
                # A rest that has just ended is noticed by the thread, in time_passes().
                continue
            assert call.pinned is not None or not free
            assert call.pinned is not self.a or not free

    @invariant()
    def blocked_only_while_there_is_no_room(self):
        line = self.admission.line
        assert not line.blocked_count or not line.has_room()

    def teardown(self):
        self.admission.close()
        self.take_in()
        assert not self.waiting
        assert all(call.error is not None for call in self.ended)


Line.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestLine = Line.TestCase


def test_a_hammered_engine_runs_every_call_once():
    patient = 10**9  # failures that a circuit bears
    engine = engine_of(
        endpoint("a", patient, max_concurrent_requests=2),
        endpoint("b", patient),
        limit=4,
        queue_size=1000,
    )
    ran = Counter()
    lock = threading.Lock()

    def work(number):
        def attempt(e, c):
            with lock:
                ran[number] += 1
            if number % 7 == 0:
                raise ServerError("no", status_code=400, is_transient=False)
            return number

        futures = [engine.submit(call_of(engine, priority=number % 3), attempt) for _ in range(10)]
        answers = []
        for index, future in enumerate(futures):
            if index == 5:
                future.cancel()
            try:
                answers.append(future.result(WAIT))
            except (ServerError, CancelledError, CircuitOpenError) as error:
                answers.append(error)
        answers += [engine.run(call_of(engine), Script(engine, then=number))]
        return answers

    results = in_threads(12, work)
    assert all(len(answers) == 11 for answers in results)
    assert all(9 <= ran[n] <= 10 for n in range(12))
    assert engine.admission.active == 0
    assert engine.admission.waiting.qsize() == 0
    engine.close()
