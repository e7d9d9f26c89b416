"""Time and chance in a test's hands: nothing passes until `advance()`."""

from __future__ import annotations

import threading

from api_backends.engine.clock import Clock

PATIENCE = 20.0
"""Real seconds after which a wait that nobody ends is a failure."""


class FakeClock(Clock):
    """A clock that stands still.

    `chance` is what `random()` returns. Waits end when what they wait for comes, or when the time
    is moved past their end.
    """

    def __init__(self, start: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self.time = start
        self.offset = wall - start
        self.chance = 0.5
        self._changed = threading.Condition()
        self._sleepers: list[_Sleeper] = []
        self._signals: set = set()

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time + self.offset

    def random(self) -> float:
        return self.chance

    def acquire(self, lock, timeout):
        if timeout <= 0:
            return lock.acquire(False)
        sleeper = _Sleeper(self.time + timeout, lock)
        with self._changed:
            self._sleepers.append(sleeper)
            self._changed.notify_all()
        got = lock.acquire(True, PATIENCE)
        with self._changed:
            self._sleepers.remove(sleeper)
            self._changed.notify_all()
        if not got:
            raise AssertionError(f"nobody ended this wait of {timeout} s")
        return not sleeper.expired

    def get(self, signals, timeout):
        if signals not in self._signals:
            self._signals.add(signals)
            return  # the time may have been moved since it was looked at: look again
        signals.get()

    def advance(self, seconds: float) -> None:
        """Move the time on, and wake whoever waited for that."""
        with self._changed:
            self.time += seconds
            for sleeper in self._sleepers:
                if sleeper.until <= self.time and not sleeper.expired:
                    sleeper.expired = True
                    sleeper.lock.release()
        for signals in list(self._signals):
            signals.put(None)

    def wait_for_sleepers(self, count: int) -> None:
        """Wait until `count` threads wait in `acquire`."""
        with self._changed:
            ended = self._changed.wait_for(lambda: len(self._sleepers) >= count, PATIENCE)
            assert ended, f"{len(self._sleepers)} wait, not {count}"


class _Sleeper:
    def __init__(self, until, lock) -> None:
        self.until = until
        self.lock = lock
        self.expired = False
