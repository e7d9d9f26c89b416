"""Calls that wait: for a place (by priority), for a time, or for room among those that wait."""

from __future__ import annotations

import heapq
import itertools
import queue
from collections.abc import Iterator

from .call import BLOCKED, PARKED, QUEUED, Call

__all__ = ["RequestQueue", "WaitingLine"]

Entry = tuple[float, int, Call]


class RequestQueue(queue.PriorityQueue[Entry]):
    """The calls of one back end that wait for a place, the next one first."""

    def put_back(self, entry: Entry) -> None:
        """Put in a call that was admitted before: the bound is for new ones."""
        with self.mutex:
            heapq.heappush(self.queue, entry)
            self.not_empty.notify()

    def remove(self, call: Call) -> None:
        """Take a call out, wherever it stands."""
        with self.mutex:
            self.queue[:] = [entry for entry in self.queue if entry[2] is not call]
            heapq.heapify(self.queue)
            self.not_full.notify()

    def clear(self) -> None:
        """Take all calls out."""
        with self.mutex:
            self.queue.clear()
            self.not_full.notify_all()


class WaitingLine:
    """Where calls wait, and who is next. Its owner's lock guards it.

    Args:
        size: Calls that may wait for a place or a time; more are refused, or blocked.
    """

    def __init__(self, size: int) -> None:
        self.queue = RequestQueue(size)
        self._parked: list[Entry] = []
        self._blocked: list[Entry] = []
        self._numbers = itertools.count()

    def has_room(self) -> bool:
        """Say whether one more call may wait."""
        return len(self.queue.queue) + len(self._parked) < self.queue.maxsize

    @property
    def parked_count(self) -> int:
        """How many calls wait for a time, not for a place."""
        return len(self._parked)

    @property
    def blocked_count(self) -> int:
        """How many calls wait for room."""
        return len(self._blocked)

    def _entry(self, call: Call) -> Entry:
        """Give `call` its place in line; it keeps it over retries."""
        if call.entry is None:
            number = next(self._numbers)
            # A level counts as many places as the queue has: a burst is served strictly by
            # priority, and a LOW call is overtaken by two queues full of later ones at most.
            level = max(self.queue.maxsize, 16)
            call.entry = (number + call.priority * level, number, call)
        return call.entry

    def enqueue(self, call: Call) -> None:
        """Let a call wait for a place."""
        call.state = QUEUED
        self.queue.put_back(self._entry(call))

    def park(self, call: Call, due: float) -> None:
        """Let a call wait until `due` (monotonic seconds)."""
        call.state = PARKED
        heapq.heappush(self._parked, (due, self._entry(call)[1], call))

    def block(self, call: Call) -> None:
        """Let a call wait for room."""
        call.state = BLOCKED
        heapq.heappush(self._blocked, self._entry(call))

    def unblock(self) -> list[Call]:
        """Let blocked calls into the queue as far as there is room; return them."""
        entered = []
        while self._blocked and self.has_room():
            call = heapq.heappop(self._blocked)[2]
            self.enqueue(call)
            entered.append(call)
        return entered

    def enqueue_due(self, now: float) -> None:
        """Move parked calls whose time has come into the queue."""
        while self._parked and self._parked[0][0] <= now:
            self.enqueue(heapq.heappop(self._parked)[2])

    def enqueue_untried(self) -> None:
        """Move parked calls that wait for an endpoint, not for a retry's delay, into the queue."""
        untried = [entry[2] for entry in self._parked if not entry[2].attempts]
        for call in untried:
            self.remove(call)
            self.enqueue(call)

    def remove(self, call: Call) -> None:
        """Take a call out, wherever it waits."""
        if call.state == QUEUED:
            self.queue.remove(call)
        elif call.state == PARKED:
            self._parked = _without(self._parked, call)
        elif call.state == BLOCKED:
            self._blocked = _without(self._blocked, call)

    def take_all(self) -> list[Call]:
        """Take every call out."""
        calls = [entry[2] for entry in self._entries()]
        self.queue.clear()
        self._parked.clear()
        self._blocked.clear()
        return calls

    def threadless(self) -> list[Call]:
        """Return the calls that have no thread of their own to watch the time."""
        return [entry[2] for entry in self._entries() if entry[2].run is not None]

    def first_due(self) -> float:
        """Return when the first parked call is due; infinity if none is parked."""
        return self._parked[0][0] if self._parked else float("inf")

    def _entries(self) -> Iterator[Entry]:
        return itertools.chain(self.queue.queue, self._parked, self._blocked)


def _without(heap: list[Entry], call: Call) -> list[Entry]:
    kept = [entry for entry in heap if entry[2] is not call]
    heapq.heapify(kept)
    return kept
