"""The worker threads: as many as there are tasks, and none for long."""

from __future__ import annotations

import threading

import pytest
from engine_parts import WAIT

from api_backends.engine import workers as module
from api_backends.engine.workers import WorkerPool


def workers():
    return [t for t in threading.enumerate() if t.name == "ipfs-accelerate-pooltest-worker"]


@pytest.fixture
def pool():
    made = WorkerPool("pooltest")
    yield made
    made.close(WAIT)
    assert not workers()


def test_no_thread_before_the_first_task(pool):
    assert not workers()


def test_every_task_has_a_thread_at_once(pool):
    barrier = threading.Barrier(9)
    for _ in range(8):
        pool.start(lambda: barrier.wait(WAIT))
    barrier.wait(WAIT)  # it passes only if all eight run at the same time


def test_idle_threads_are_used_again(pool):
    seen = set()
    for _ in range(50):
        done = threading.Event()
        pool.start(lambda done=done: (seen.add(threading.get_ident()), done.set()))
        assert done.wait(WAIT)
    assert len(seen) <= 3  # a thread may be on its way back to idling


def test_threads_end_when_there_is_nothing_to_do(pool, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    done = threading.Event()
    pool.start(done.set)
    assert done.wait(WAIT)
    for thread in workers():
        thread.join(WAIT)
    assert not workers()
    again = threading.Event()
    pool.start(again.set)
    assert again.wait(WAIT)


def test_tasks_that_come_as_threads_give_up_are_all_run(pool, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0005)
    done = threading.Semaphore(0)
    for number in range(400):
        pool.start(done.release)
        if number % 3:
            assert done.acquire(timeout=WAIT)
    for _ in range(134):
        assert done.acquire(timeout=WAIT)


def test_closing_waits_for_what_runs_and_takes_later_tasks_still(pool, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 1000.0)
    begun, release, ended = threading.Event(), threading.Event(), []
    pool.start(lambda: (begun.set(), release.wait(WAIT), ended.append(1)))
    assert begun.wait(WAIT)
    closing = threading.Thread(target=pool.close, args=(WAIT,))
    closing.start()
    release.set()
    closing.join(WAIT)
    assert ended == [1]
    late = threading.Event()
    pool.start(late.set)  # an answer that was on the wire when its back end was closed
    assert late.wait(WAIT)
    for thread in workers():
        thread.join(WAIT)
    assert not workers()  # nobody stays idle in a closed pool


def test_a_task_may_close_its_own_pool(pool):
    done = threading.Event()
    pool.start(lambda: (pool.close(WAIT), done.set()))
    assert done.wait(WAIT)


def test_no_more_threads_to_be_had_is_said_to_the_caller(pool, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError):
        pool.start(lambda: None)
    monkeypatch.undo()
    ran = threading.Event()
    pool.start(ran.set)
    assert ran.wait(WAIT)
