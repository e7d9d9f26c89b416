"""Joining what many threads ask for into batches that keep a device busy, without ever waiting.

Whoever calls while nobody runs anything runs the own texts on the own thread: a lone caller pays
for no thread and no timer. Who calls while a batch runs joins the line. What has gathered there
when the batch is done goes next, joined by length up to a budget of tokens: nobody waits for
company. If others are in line when a caller has its own answer, a thread of the batcher takes
over, so that no caller works for strangers; it ends by itself when nothing comes.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from api_backends.errors import ApiError, ApiTimeoutError, BackendClosedError, QueueFullError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .backends.base import Runner

    Vectors = npt.NDArray[np.float32]

__all__ = ["Batcher", "Progress"]

Progress = Callable[[int, int], None]
"""Called with (texts done, texts in all), on the thread of the call that it belongs to."""

_LINGER = 2.0  # seconds that the batcher's thread stays with nothing to do
_SMALLEST_SHARE = 128  # tokens below which splitting for parallel batches costs more than it gives


@dataclass(slots=True)
class _Unit:
    """Texts of one call that run in one batch, the longest first."""

    call: _Call
    places: list[int]
    texts: list[Sequence[int]]
    longest: int
    tokens: int

    def cost(self, longest: int, *, padded: bool) -> int:
        return longest * len(self.texts) if padded else self.tokens


@dataclass(slots=True, eq=False)
class _Call:
    """What one caller waits for."""

    size: int
    deadline: float | None
    watched: bool
    units: deque[_Unit] = field(default_factory=deque)
    output: Vectors | None = None
    done: int = 0
    error: ApiError | None = None
    wake: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        return self.error is not None or self.done == self.size


@dataclass(slots=True)
class _Flight:
    """A batch on the device, and what waits for it."""

    units: list[_Unit]
    wait: Callable[[], Vectors]


class Batcher:
    """The line in front of one runner.

    Args:
        runner: The model on its device.
        name: Of the model and device, for messages.
        queue_size: Calls that may wait at once.
    """

    def __init__(self, runner: Runner, *, name: str, queue_size: int = 1000) -> None:
        self._runner = runner
        self._name = name
        self._queue_size = queue_size
        self._closed = False
        self._reset()
        _BATCHERS.add(self)

    def _reset(self) -> None:
        """Start with an empty line; a forked child has none of its parent's threads."""
        self._lock = threading.Condition(threading.Lock())
        self._line: deque[_Call] = deque()
        self._flights: deque[_Flight] = deque()
        self._led = False  # whether a thread runs batches now; nobody else may touch the runner
        self._worker: threading.Thread | None = None
        self._worker_leads = False

    def run(
        self,
        texts: Sequence[Sequence[int]],
        *,
        timeout: float | None = None,
        progress: Progress | None = None,
    ) -> Vectors:
        """Return the vectors of `texts` (token ids), in their order, shape (texts, dimensions).

        Args:
            texts: Token ids of each text; at least one.
            timeout: Seconds that all of it may take.
            progress: Called as texts are done.

        Raises:
            QueueFullError: Too many calls wait already.
            ApiTimeoutError: Time is up.
            BackendClosedError: The model was closed before the answer was there.
            ApiError: The device failed on a batch that held texts of this call.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        call = _Call(size=len(texts), deadline=deadline, watched=progress is not None)
        self._plan(call, texts)
        with self._lock:
            if self._closed:
                raise self._closed_error()
            if len(self._line) >= self._queue_size:
                raise QueueFullError(
                    f"{self._name}: {len(self._line)} calls wait already; slow down, or load the "
                    "model with a larger queue_size"
                )
            self._line.append(call)
            leads = not self._led
            self._led = True
        if leads:
            self._lead_own(call, progress)
        else:
            self._follow(call, progress)
        if call.error is not None:
            raise call.error
        assert call.output is not None
        return call.output

    def close(self) -> None:
        """Refuse new calls, end those in line with BackendClosedError, free the runner."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for call in self._line:
                self._fail(call, self._closed_error())
            self._line.clear()
            self._lock.notify_all()
            # The thread that leads now gives the runner back; a batch can't be broken off.
            idle, worker = not self._led, self._worker
            self._led = True
        if idle:
            self._finish()
        if worker is not None and worker is not threading.current_thread():
            worker.join(timeout=60.0)

    # -- the two sides of a call ------------------------------------------------------------

    def _lead_own(self, call: _Call, progress: Progress | None) -> None:
        """Run batches on the caller's thread until its own call is over."""
        reported = 0
        try:
            while not call.over:
                self._step()
                self._check_deadline(call)
                if progress is not None and call.done > reported:
                    reported = call.done
                    progress(reported, call.size)
        finally:
            with self._lock:
                if not call.over:  # an exception of `progress`, or the user's interrupt
                    self._drop(call, ApiError(f"{self._name}: the call was interrupted"))
            self._hand_over()

    def _follow(self, call: _Call, progress: Progress | None) -> None:
        """Wait until other threads have run the call's texts."""
        reported = 0
        try:
            while not call.over:
                left = None if call.deadline is None else call.deadline - time.monotonic()
                if not call.wake.wait(left):
                    self._check_deadline(call)
                call.wake.clear()
                if progress is not None and call.done > reported:
                    reported = call.done
                    progress(reported, call.size)
        finally:
            if not call.over:
                with self._lock:
                    self._drop(call, ApiError(f"{self._name}: the call was interrupted"))

    def _check_deadline(self, call: _Call) -> None:
        if call.over or call.deadline is None or time.monotonic() < call.deadline:
            return
        with self._lock:
            if not call.over:
                self._drop(
                    call,
                    ApiTimeoutError(
                        f"{self._name}: {call.done} of {call.size} texts were done when the "
                        "timeout passed: raise `timeout`, or send fewer texts a call"
                    ),
                )

    # -- leading ----------------------------------------------------------------------------

    def _step(self) -> None:
        """Keep the device full, then wait for its oldest batch and give out what it made."""
        while len(self._flights) < self._runner.parallel:
            with self._lock:
                units = self._next_batch()
            if not units:
                break
            try:
                wait = self._runner.start([text for unit in units for text in unit.texts])
            except BaseException as error:
                self._deliver_error(units, error)
                if not isinstance(error, Exception):
                    raise
            else:
                self._flights.append(_Flight(units, wait))
        if self._flights:
            flight = self._flights.popleft()
            try:
                vectors = flight.wait()
            except BaseException as error:
                self._deliver_error(flight.units, error)
                if not isinstance(error, Exception):
                    raise
            else:
                self._deliver(flight.units, vectors)

    def _hand_over(self) -> None:
        """Stop leading: free the runner, or give the line to the batcher's own thread."""
        with self._lock:
            closed = self._closed
            if not closed:
                if not self._line and not self._flights:
                    self._led = False
                    return
                self._worker_leads = True
                if self._worker is None or not self._worker.is_alive():
                    self._worker = threading.Thread(
                        target=_work, args=(self,), name="ipfs-accelerate-batcher", daemon=True
                    )
                    self._worker.start()
                self._lock.notify_all()
        if closed:
            self._finish()

    def _work_until_idle(self) -> None:
        """Lead while there is a line; leave after a while without any."""
        while True:
            with self._lock:
                if not self._worker_leads:
                    woken = self._closed or self._lock.wait(_LINGER)
                    if not self._worker_leads:
                        if woken and not self._closed:
                            continue
                        self._worker = None
                        return
            try:
                while self._line or self._flights:
                    self._step()
            finally:
                with self._lock:
                    self._worker_leads = False
                self._hand_over()

    def _finish(self) -> None:
        """Give the runner back; only the one thread that leads after close() comes here."""
        while self._flights:
            flight = self._flights.popleft()
            try:
                vectors = flight.wait()
            except Exception as error:  # noqa: BLE001 (whatever the device raises)
                self._deliver_error(flight.units, error)
            else:
                self._deliver(flight.units, vectors)
        self._runner.close()

    # -- planning ---------------------------------------------------------------------------

    def _plan(self, call: _Call, texts: Sequence[Sequence[int]]) -> None:
        """Cut a call into units of similar length, each at most one batch."""
        runner = self._runner
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        share = -(-sum(map(len, texts)) // runner.parallel)
        budget = min(runner.token_budget, max(share, _SMALLEST_SHARE))
        places: list[int] = []
        tokens = longest = 0
        for place in order:
            length = len(texts[place])
            cost = longest * (len(places) + 1) if runner.padded else tokens + length
            alike = runner.mixed or length == longest
            if places and (cost > budget or not alike):
                call.units.append(_unit(call, places, texts, longest, tokens))
                places, tokens = [], 0
            if not places:
                longest = length
            places.append(place)
            tokens += length
        call.units.append(_unit(call, places, texts, longest, tokens))

    def _next_batch(self) -> list[_Unit]:
        """Take the units of the next batch from the line: the oldest, and what goes well with it.

        Calls take turns, a unit each, so that a long call does not hold up short ones.
        """
        if not self._line:
            return []
        call = self._line.popleft()
        first = call.units.popleft()
        if call.units:
            self._line.append(call)
        batch = [first]
        runner = self._runner
        budget = self._fair_budget(first)
        candidates = [each for each in self._line if len(each.units) == 1]
        if not candidates or first.cost(first.longest, padded=runner.padded) * 4 > budget * 3:
            return batch
        candidates.sort(key=lambda each: abs(each.units[0].longest - first.longest))
        texts, tokens, longest = len(first.texts), first.tokens, first.longest
        taken: set[int] = set()
        for each in candidates:
            unit = each.units[0]
            if not self._goes_with(first.longest, unit.longest):
                break
            longest_then = max(longest, unit.longest)
            size = texts + len(unit.texts)
            if (longest_then * size if runner.padded else tokens + unit.tokens) > budget:
                break
            texts, tokens, longest = size, tokens + unit.tokens, longest_then
            batch.append(unit)
            taken.add(id(each))
        if taken:
            self._line = deque(each for each in self._line if id(each) not in taken)
            for unit in batch[1:]:
                unit.call.units.clear()
            batch.sort(key=lambda unit: -unit.longest)
        return batch

    def _goes_with(self, length: int, other: int) -> bool:
        """Return whether padding texts of one length to the other wastes little."""
        if not self._runner.mixed:
            return length == other
        return not self._runner.padded or 0.7 * length - 4 <= other <= 1.4 * length + 4

    def _fair_budget(self, first: _Unit) -> int:
        """Return the tokens of the next batch: less than all, where the device has more hands."""
        runner = self._runner
        free = runner.parallel - len(self._flights)
        if free <= 1:
            return runner.token_budget
        waiting = first.tokens + sum(call.units[0].tokens for call in self._line)
        return min(runner.token_budget, max(-(-waiting // free), _SMALLEST_SHARE))

    # -- answers ----------------------------------------------------------------------------

    def _deliver(self, units: list[_Unit], vectors: Vectors) -> None:
        import numpy as np

        with self._lock:
            row = 0
            for unit in units:
                call, size = unit.call, len(unit.places)
                if call.error is None:
                    if call.output is None:
                        call.output = np.empty((call.size, vectors.shape[1]), np.float32)
                    call.output[unit.places] = vectors[row : row + size]
                    call.done += size
                    if call.over or call.watched:
                        call.wake.set()
                row += size

    def _deliver_error(self, units: list[_Unit], error: BaseException) -> None:
        """Fail the calls that have texts in a failed batch, and no other."""
        with self._lock:
            for call in {id(unit.call): unit.call for unit in units}.values():
                # Each caller gets an exception of its own: tracebacks belong to one thread.
                if isinstance(error, ApiError):
                    own = type(error)(error.message)
                    own.__dict__.update(error.__dict__)
                elif isinstance(error, Exception):
                    own = ApiError(
                        f"{self._name}: the device failed: {type(error).__name__}: {error}"
                    )
                else:
                    own = ApiError(
                        f"{self._name}: the call that ran this batch was interrupted; call again",
                        is_transient=True,
                    )
                own.__cause__ = error if isinstance(error, Exception) else None
                self._drop(call, own)

    def _drop(self, call: _Call, error: ApiError) -> None:
        """End a call with an error and take what is left of it out of the line; under the lock."""
        if call in self._line:
            self._line.remove(call)
        call.units.clear()
        self._fail(call, error)

    @staticmethod
    def _fail(call: _Call, error: ApiError) -> None:
        if not call.over:
            call.error = error
            call.wake.set()

    def _closed_error(self) -> BackendClosedError:
        return BackendClosedError(f"{self._name}: the model was closed; load it again")


def _unit(
    call: _Call, places: list[int], texts: Sequence[Sequence[int]], longest: int, tokens: int
) -> _Unit:
    return _Unit(call, places, [texts[place] for place in places], longest, tokens)


def _work(batcher: Batcher) -> None:
    batcher._work_until_idle()  # noqa: SLF001 (the thread's target, kept out of the public face)


_BATCHERS: weakref.WeakSet[Batcher] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for batcher in list(_BATCHERS):
        batcher._runner.after_fork()  # noqa: SLF001
        batcher._reset()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
