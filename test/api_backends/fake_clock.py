"""Time and chance in a test's hands: nothing passes until `advance()`."""

from __future__ import annotations

import threading
import time

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
        self._sleepers = 0
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
        until, patience = self.time + timeout, time.monotonic() + PATIENCE
        with self._changed:
            self._sleepers += 1
            self._changed.notify_all()
        try:
            # A lock can't be waited for together with anything else, so it is looked after.
            while not lock.acquire(True, 0.002):
                if self.time >= until:
                    return False
                assert time.monotonic() < patience, f"nobody ended this wait of {timeout} s"
            return True
        finally:
            with self._changed:
                self._sleepers -= 1
                self._changed.notify_all()

    def get(self, signals, timeout):
        if signals not in self._signals:
            self._signals.add(signals)
            return  # the time may have been moved since it was looked at: look again
        signals.get()

    def advance(self, seconds: float) -> None:
        """Move the time on, and wake whoever waited for that."""
        with self._changed:
            self.time += seconds
        for signals in list(self._signals):
            signals.put(None)

    def wait_for_sleepers(self, count: int) -> None:
        """Wait until `count` threads wait in `acquire`."""
        with self._changed:
            ended = self._changed.wait_for(lambda: self._sleepers >= count, PATIENCE)
            assert ended, f"{self._sleepers} wait, not {count}"
