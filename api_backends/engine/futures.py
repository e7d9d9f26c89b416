"""The future of a call on worker threads: it can be cancelled until it has its result."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import CANCELLED
from typing import Generic, TypeVar

__all__ = ["CallFuture"]

T = TypeVar("T")


class CallFuture(Future[T], Generic[T]):
    """A future that can be cancelled at any time before its result.

    While the call waits (for a place, or for a retry), cancelling takes it out of line; while its
    request is on the wire, the answer is dropped when it comes.
    """

    def __init__(self, withdraw: Callable[[], bool]) -> None:
        super().__init__()
        self._withdraw = withdraw

    def cancel(self) -> bool:
        """Cancel the call; False if it has ended already."""
        if not super().cancel():
            return False
        with self._condition:
            if self._state == CANCELLED:
                # Nobody else will tell `concurrent.futures.wait` and `as_completed`.
                self.set_running_or_notify_cancel()
        self._withdraw()
        return True

    def finish(self, result: T) -> bool:
        """Set the result; False if nobody wants it any more."""
        if not self._begin():
            return False
        self.set_result(result)
        return True

    def fail(self, error: BaseException) -> bool:
        """Set the error; False if nobody wants it any more."""
        if not self._begin():
            return False
        self.set_exception(error)
        return True

    def _begin(self) -> bool:
        """Leave the state in which it can be cancelled; False if it was."""
        with self._condition:
            return not self.cancelled() and self.set_running_or_notify_cancel()
