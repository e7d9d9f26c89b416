"""The async faces: awaiting what worker threads do. No event loop is hidden anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from .chat_stream import ChatStream
    from .engine.engine import Lease

__all__ = ["iterate_stream", "wait_for"]

T = TypeVar("T")


async def wait_for(future: Future[T]) -> T:
    """Await a future of a worker; cancelling the awaiting task cancels it."""
    # Whoever awaits has asyncio already; everybody else is spared its import.
    import asyncio

    return await asyncio.wrap_future(future)


async def iterate_stream(
    opening: Future[tuple[ChatStream, Lease]], start: Callable[[Callable[[], None]], None]
) -> AsyncIterator[Any]:
    """Yield the chunks of a stream that is read on worker threads, one batch at a time.

    Args:
        opening: The stream and its place, when they come.
        start: Runs a task on a worker.
    """
    stream, lease = await wait_for(opening)
    stream.lease = lease
    reading: Future[list[Any]] | None = None
    try:
        while True:
            reading = _on_worker(stream.next_batch, start)
            batch = await wait_for(reading)
            if not batch:
                return
            for chunk in batch:
                yield chunk
    finally:
        if reading is not None and not reading.done():
            stream.abort()  # wakes the worker; what it holds is given back when it leaves
            reading.add_done_callback(lambda _: stream.close())
        else:
            stream.close()


def _on_worker(function: Callable[[], T], start: Callable[[Callable[[], None]], None]) -> Future[T]:
    future: Future[T] = Future()
    # A cancelled wait is over for the waiter, not for the worker: the future says when it left.
    future.set_running_or_notify_cancel()

    def task() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - handed to whoever awaits the future
            future.set_exception(error)
        else:
            future.set_result(result)

    start(task)
    return future
