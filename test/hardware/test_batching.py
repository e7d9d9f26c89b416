import os
import threading
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_backends.errors import (
    ApiError,
    ApiTimeoutError,
    BackendClosedError,
    InvalidRequestError,
    QueueFullError,
)
from hardware import batching
from hardware.batching import Batcher

WAIT = 20.0


class Recorder:
    """A runner whose vectors say which text they belong to; can be held and made to fail."""

    def __init__(self, *, budget=100, parallel=1, padded=True, mixed=True):
        self.token_budget, self.parallel = budget, parallel
        self.padded, self.mixed = padded, mixed
        self.batches, self.threads = [], []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.closed = 0
        self.forked = 0
        self.poison = None
        self.running = 0

    def start(self, batch):
        self.running += 1
        assert self.running <= self.parallel
        self.batches.append([list(text) for text in batch])
        self.threads.append(threading.get_ident())

        def wait():
            self.entered.set()
            assert self.gate.wait(WAIT)
            self.running -= 1
            if self.poison is not None and any(self.poison[0] in text for text in batch):
                raise self.poison[1]
            return np.array([[text[0], len(text)] for text in batch], np.float32)

        return wait

    def after_fork(self):
        self.forked += 1
        self.running = 0
        self.gate = threading.Event()
        self.gate.set()

    def close(self):
        self.closed += 1


class Line(deque):
    """The batcher's line, telling when a call has joined it."""

    def __init__(self, calls=()):
        super().__init__(calls)
        self.joined = threading.Semaphore(0)

    def append(self, call):
        super().append(call)
        self.joined.release()


class Calls:
    """Calls from threads of their own, and what each came to."""

    def __init__(self, batcher):
        self.batcher, self.threads, self.results = batcher, [], {}

    def start(self, name, texts, **options):
        """Start a call that finds the device free, and wait until it runs."""
        self._start(name, texts, options)
        assert self.batcher._runner.entered.wait(WAIT)

    def queue(self, name, texts, **options):
        """Start a call while another holds the device, and wait until it is in line."""
        line = self.batcher._line = Line(self.batcher._line)
        self._start(name, texts, options)
        assert line.joined.acquire(timeout=WAIT)

    def _start(self, name, texts, options):
        def call():
            try:
                self.results[name] = self.batcher.run(texts, timeout=WAIT, **options)
            except BaseException as error:
                self.results[name] = error

        thread = threading.Thread(target=call)
        thread.start()
        self.threads.append(thread)

    def join(self):
        for thread in self.threads:
            thread.join(WAIT)
            assert not thread.is_alive(), "a call hangs"
        return self.results


def held(runner):
    """Return calls, the first of which holds the device."""
    batcher = Batcher(runner, name="test")
    calls = Calls(batcher)
    runner.gate.clear()
    calls.start("holder", [[1] * 3])
    return batcher, calls


def test_a_lone_caller_runs_on_its_own_thread_and_starts_none():
    runner = Recorder()
    batcher = Batcher(runner, name="test")
    before = threading.active_count()
    assert batcher.run([[7, 7]]).tolist() == [[7, 2]]
    assert runner.threads == [threading.get_ident()]
    assert threading.active_count() == before
    batcher.close()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.integers(10, 200),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
def test_any_texts_come_back_in_their_order_from_batches_within_the_budget(
    lengths, budget, parallel, padded, mixed
):
    runner = Recorder(budget=budget, parallel=parallel, padded=padded, mixed=mixed)
    batcher = Batcher(runner, name="test")
    texts = [[index] * length for index, length in enumerate(lengths)]
    vectors = batcher.run(texts, timeout=WAIT)
    assert vectors.tolist() == [[index, length] for index, length in enumerate(lengths)]
    for batch in runner.batches:
        sizes = [len(text) for text in batch]
        assert sizes == sorted(sizes, reverse=True)
        assert len(batch) == 1 or (sizes[0] * len(sizes) if padded else sum(sizes)) <= budget
        assert mixed or len(set(sizes)) == 1
    assert sum(map(len, runner.batches)) == len(texts)
    batcher.close()


def test_calls_that_gather_while_the_device_is_busy_go_as_one_batch():
    runner = Recorder(budget=1000)
    batcher, calls = held(runner)
    for index in range(10):
        calls.queue(index, [[index + 1] * 5])
    runner.gate.set()
    results = calls.join()
    assert [results[i].tolist() for i in range(10)] == [[[i + 1, 5]] for i in range(10)]
    assert [len(batch) for batch in runner.batches] == [1, 10]
    batcher.close()


def test_lengths_are_not_mixed_where_padding_would_cost():
    runner = Recorder(budget=1000)
    batcher, calls = held(runner)
    for index in range(6):
        calls.queue(index, [[1] * (10 if index % 2 else 100)])
    runner.gate.set()
    calls.join()
    assert [{len(text) for text in batch} for batch in runner.batches[1:]] == [{100}, {10}]
    batcher.close()


def test_a_long_call_does_not_hold_up_a_short_one():
    runner = Recorder(budget=100)
    batcher, calls = held(runner)
    calls.queue("long", [[1] * 50 for _ in range(40)])
    calls.queue("short", [[9] * 50])
    runner.gate.set()
    calls.join()
    place = next(i for i, batch in enumerate(runner.batches) if batch[0][0] == 9)
    assert place <= 3
    assert len(runner.batches) >= 20
    batcher.close()


def test_a_device_with_two_hands_gets_two_batches():
    runner = Recorder(budget=1000, parallel=2)
    batcher = Batcher(runner, name="test")
    batcher.run([[1] * 100 for _ in range(8)])
    assert [len(batch) for batch in runner.batches] == [4, 4]
    batcher.close()


@pytest.mark.parametrize("error", [RuntimeError("broken"), InvalidRequestError("inputs: bad")])
def test_an_error_reaches_the_calls_of_its_batch_and_no_other(error):
    runner = Recorder(budget=50)
    batcher, calls = held(runner)
    runner.poison = (66, error)
    calls.queue("bad", [[66] * 40])
    calls.queue("good", [[5] * 10])
    runner.gate.set()
    results = calls.join()
    assert isinstance(results["bad"], ApiError)
    assert str(error) in str(results["bad"])
    assert results["bad"] is not error
    assert results["good"].tolist() == [[5, 10]]
    assert batcher.run([[3]]).tolist() == [[3, 1]]
    batcher.close()


def test_two_calls_in_a_failed_batch_each_get_an_exception_of_their_own():
    runner = Recorder(budget=1000)
    batcher, calls = held(runner)
    runner.poison = (66, RuntimeError("broken"))
    calls.queue("one", [[66] * 4])
    calls.queue("two", [[2] * 4])
    runner.gate.set()
    results = calls.join()
    assert type(results["one"]) is type(results["two"]) is ApiError
    assert results["one"] is not results["two"]
    batcher.close()


def test_a_full_line_refuses_at_once():
    runner = Recorder(budget=4)
    batcher = Batcher(runner, name="test", queue_size=2)
    calls = Calls(batcher)
    runner.gate.clear()
    calls.start("holder", [[1] * 3])
    calls.queue("a", [[2] * 3])
    calls.queue("b", [[3] * 3])
    with pytest.raises(QueueFullError, match="queue_size"):
        batcher.run([[4]])
    runner.gate.set()
    results = calls.join()
    assert results["a"].tolist() == [[2, 3]]
    assert results["b"].tolist() == [[3, 3]]
    batcher.close()


def test_a_caller_whose_time_is_up_leaves_the_line_and_the_rest_goes_on():
    runner = Recorder()
    batcher, calls = held(runner)
    with pytest.raises(ApiTimeoutError, match="0 of 1"):
        batcher.run([[66] * 3], timeout=0.01)
    calls.queue("next", [[2] * 3])
    runner.gate.set()
    assert calls.join()["next"].tolist() == [[2, 3]]
    assert not any(66 in text for batch in runner.batches for text in batch)
    batcher.close()


def test_a_leader_whose_time_is_up_stops_between_batches():
    runner = Recorder(budget=1)
    batcher = Batcher(runner, name="test")
    with pytest.raises(ApiTimeoutError, match="1 of 50"):
        batcher.run([[1]] * 50, timeout=1e-9)
    assert len(runner.batches) == 1
    assert batcher.run([[2]]).tolist() == [[2, 1]]
    batcher.close()


def test_close_leaves_nobody_waiting_and_frees_the_runner_once():
    runner = Recorder(budget=4)
    batcher, calls = held(runner)
    for index in range(5):
        calls.queue(index, [[1] * 3])
    closing = threading.Thread(target=batcher.close)
    closing.start()
    calls.threads[-1].join(WAIT)
    runner.gate.set()
    closing.join(WAIT)
    results = calls.join()
    assert results["holder"].tolist() == [[1, 3]]
    assert all(isinstance(results[index], BackendClosedError) for index in range(5))
    assert runner.closed == 1
    batcher.close()
    assert runner.closed == 1
    with pytest.raises(BackendClosedError, match="load it again"):
        batcher.run([[1]])


def test_the_batchers_thread_ends_when_nothing_comes(monkeypatch):
    monkeypatch.setattr(batching, "_LINGER", 0.01)
    runner = Recorder()
    batcher, calls = held(runner)
    calls.queue("a", [[2] * 3])
    runner.gate.set()
    calls.join()
    worker = batcher._worker
    if worker is not None:
        worker.join(WAIT)
        assert not worker.is_alive()
    batcher.close()


def test_close_ends_the_batchers_thread():
    runner = Recorder()
    batcher, calls = held(runner)
    calls.queue("a", [[2] * 3])
    runner.gate.set()
    calls.join()
    worker = batcher._worker
    assert worker is not None
    batcher.close()
    assert not worker.is_alive()


def test_progress_is_told_on_the_callers_thread_and_ends_with_all():
    runner = Recorder(budget=10)
    batcher = Batcher(runner, name="test")
    seen = []
    batcher.run([[1] * 5] * 9, progress=lambda *told: seen.append((*told, threading.get_ident())))
    assert [told[:2] for told in seen] == [(2, 9), (4, 9), (6, 9), (8, 9), (9, 9)]
    assert {told[2] for told in seen} == {threading.get_ident()}
    batcher.close()


def test_progress_of_a_call_that_waits_is_told_too():
    runner = Recorder(budget=10)
    batcher, calls = held(runner)
    seen = []
    calls.queue(
        "follower",
        [[1] * 5] * 9,
        progress=lambda done, total: seen.append((done, total, threading.get_ident())),
    )
    runner.gate.set()
    calls.join()
    assert seen[-1] == (9, 9, calls.threads[1].ident)
    batcher.close()


def test_an_exception_of_progress_ends_that_call_alone():
    runner = Recorder(budget=10)
    batcher = Batcher(runner, name="test")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batcher.run([[1] * 5] * 9, progress=stop)
    assert batcher.run([[3]]).tolist() == [[3, 1]]
    assert len(runner.batches) == 2
    batcher.close()


def test_many_threads_with_many_calls_lose_and_mix_up_nothing():
    runner = Recorder(budget=64, parallel=2)
    batcher = Batcher(runner, name="test")
    errors = []

    def caller(seed):
        rng = np.random.default_rng(seed)
        try:
            for number in range(50):
                lengths = rng.integers(1, 30, size=int(rng.integers(1, 4)))
                texts = [[seed * 1000 + number] * int(length) for length in lengths]
                got = batcher.run(texts, timeout=WAIT).tolist()
                assert got == [[seed * 1000 + number, int(length)] for length in lengths]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=caller, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert not errors
    assert not batcher._line
    assert not batcher._flights
    batcher.close()
    assert runner.closed == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_with_an_empty_line():
    runner = Recorder()
    batcher, calls = held(runner)
    calls.queue("waiting", [[2] * 3])
    child = os.fork()
    if child == 0:
        answer = batcher.run([[5, 5]], timeout=WAIT).tolist()
        os._exit(0 if answer == [[5, 2]] and runner.forked == 1 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    runner.gate.set()
    assert calls.join()["waiting"].tolist() == [[2, 3]]
    batcher.close()
