"""Message batches for Claude: half the price, answered within a day.

https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .base import BaseApiBackend
from .errors import ApiTimeoutError, InvalidRequestError
from .exchange import split_options
from .messages import normalize_messages
from .protocols.anthropic_batches import (
    BatchResult,
    batch_of,
    counts_of,
    custom_ids,
    in_order,
    lines_of,
    results_of,
)
from .settings import check_number

if TYPE_CHECKING:
    from .exchange import Exchange

__all__ = ["BatchResult", "MessageBatches"]

Progress = Callable[[int, int], None]
_DAY = 86_400.0


class MessageBatches(BaseApiBackend):
    """Create batches, look after them, wait for them, and get their results in order.

    Batches belong to the account of a key: with several keys, give `endpoint_id` to each call.
    """

    def __init__(
        self,
        resources: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(resources, metadata)
        self._open = threading.Lock()  # held while this is open: what waits between two looks
        self._open.acquire()

    def close(self) -> None:
        """Refuse new calls, wake those that wait for a batch, free connections."""
        super().close()
        if self._open.locked():
            self._open.release()

    def create_batch(
        self, requests: Sequence[Any], model: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Send many conversations to be answered within a day; return the batch: `id` and state.

        Args:
            requests: Conversations as `chat` takes them, or dictionaries of `messages` and what
                is to differ from `model` and `options`: `model`, options, `custom_id`.
            model: Model to ask; this back end's default if None.
            options: As for `chat`, for all of them.

        Raises:
            InvalidRequestError: A request is not one; the message has its place.
            ApiError: See `api_backends.errors`.
        """
        exchange = self._create_exchange(requests, model, options)
        batch: dict[str, Any] = self._engine.run(exchange.call, exchange.send)
        return batch

    async def acreate_batch(
        self, requests: Sequence[Any], model: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Do what `create_batch` does, without blocking the event loop."""
        exchange = self._create_exchange(requests, model, options)
        batch: dict[str, Any] = await self._send(exchange)
        return batch

    def get_batch(self, batch_id: str, **options: Any) -> dict[str, Any]:
        """Return the state of a batch: `processing_status`, `request_counts`, times."""
        exchange = self._batch_exchange(batch_id, "", options)
        batch: dict[str, Any] = self._engine.run(exchange.call, exchange.send)
        return batch

    async def aget_batch(self, batch_id: str, **options: Any) -> dict[str, Any]:
        """Do what `get_batch` does, without blocking the event loop."""
        exchange = self._batch_exchange(batch_id, "", options)
        batch: dict[str, Any] = await self._send(exchange)
        return batch

    def cancel_batch(self, batch_id: str, **options: Any) -> dict[str, Any]:
        """End a batch early; what was answered before can be had."""
        exchange = self._batch_exchange(batch_id, "/cancel", options, body={})
        batch: dict[str, Any] = self._engine.run(exchange.call, exchange.send)
        return batch

    async def acancel_batch(self, batch_id: str, **options: Any) -> dict[str, Any]:
        """Do what `cancel_batch` does, without blocking the event loop."""
        exchange = self._batch_exchange(batch_id, "/cancel", options, body={})
        batch: dict[str, Any] = await self._send(exchange)
        return batch

    def wait_for_batch(
        self,
        batch_id: str,
        *,
        poll_interval: float = 30.0,
        wait_timeout: float = _DAY,
        progress: Progress | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Wait until a batch has ended; return its state then.

        Args:
            batch_id: As `create_batch` returned it.
            poll_interval: Seconds between two looks.
            wait_timeout: Seconds to wait in all; a batch takes up to a day.
            progress: Called after each look with the requests done and all there are.
            options: The engine's, for each look.

        Raises:
            ApiTimeoutError: It has not ended yet; it goes on all the same.
            BackendClosedError: `close()` was called.
        """
        until = self._until(poll_interval, wait_timeout)
        while True:
            batch = self.get_batch(batch_id, **options)
            pause = self._pause(batch, poll_interval, until, progress)
            if pause is None:
                return batch
            if self.clock.acquire(self._open, pause):
                self._open.release()  # closed: the next look says so

    async def await_for_batch(
        self,
        batch_id: str,
        *,
        poll_interval: float = 30.0,
        wait_timeout: float = _DAY,
        progress: Progress | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Do what `wait_for_batch` does, without blocking the event loop."""
        until = self._until(poll_interval, wait_timeout)
        while True:
            batch = await self.aget_batch(batch_id, **options)
            pause = self._pause(batch, poll_interval, until, progress)
            if pause is None:
                return batch
            await asyncio.sleep(pause)

    def batch_results(
        self, batch_id: str, order: Sequence[str] | None = None, **options: Any
    ) -> list[BatchResult]:
        """Return the results of a batch that has ended: a response or an error for each request.

        Args:
            batch_id: As `create_batch` returned it.
            order: The `custom_id`s in the order wanted; not needed where none were given.
            options: The engine's.
        """
        exchange = self._results_exchange(batch_id, options)
        return in_order(self._engine.run(exchange.call, exchange.send), order)

    async def abatch_results(
        self, batch_id: str, order: Sequence[str] | None = None, **options: Any
    ) -> list[BatchResult]:
        """Do what `batch_results` does, without blocking the event loop."""
        exchange = self._results_exchange(batch_id, options)
        results = await self._send(exchange)
        return in_order(results, order)

    # -- requests -------------------------------------------------------------------------------

    def _create_exchange(
        self, requests: Sequence[Any], model: str | None, options: dict[str, Any]
    ) -> Exchange:
        if isinstance(requests, (str, Mapping)) or not isinstance(requests, (list, tuple)):
            raise InvalidRequestError(
                f"requests: {type(requests).__name__} given; it is a list of conversations"
            )
        options = self.lift_betas(options, [_messages_of(request) for request in requests])
        control = split_options(options)
        ids = custom_ids(requests)
        wanted = [
            {"custom_id": ids[place], "params": self._params(request, model, options, place)}
            for place, request in enumerate(requests)
        ]
        exchange = self._exchange("/messages/batches", {"requests": wanted}, control, None)
        exchange.read = batch_of
        return exchange

    def lift_betas(self, options: dict[str, Any], messages: Sequence[Any]) -> dict[str, Any]:
        """Return the options with `betas` made a header; the back end says how."""
        raise NotImplementedError

    def _params(
        self, request: Any, model: str | None, options: Mapping[str, Any], place: int
    ) -> dict[str, Any]:
        own = dict(request) if isinstance(request, Mapping) else {"messages": request}
        own.pop("custom_id", None)
        if "messages" not in own:
            raise InvalidRequestError(
                f"requests[{place}].messages: is missing; give a conversation"
            )
        try:
            messages = normalize_messages(own.pop("messages"))
            asked = self._model(own.pop("model", model), self.get_default_model)
            return self.chat_body(messages, asked, {**options, **own}, stream=False)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"requests[{place}]: {error}") from error

    def _batch_exchange(
        self, batch_id: str, route: str, options: dict[str, Any], body: Any = None
    ) -> Exchange:
        if not isinstance(batch_id, str) or not batch_id:
            raise InvalidRequestError(f"batch_id: {batch_id!r}; give the id of a batch")
        control = split_options(options)
        path = f"/messages/batches/{quote(batch_id, safe='')}{route}"
        exchange = self._exchange(path, body, control, None)
        exchange.read = batch_of
        return exchange

    def _results_exchange(self, batch_id: str, options: dict[str, Any]) -> Exchange:
        exchange = self._batch_exchange(batch_id, "/results", options)
        exchange.decode = lines_of
        exchange.read = lambda lines: results_of(lines, backend=self.name)
        return exchange

    # -- waiting --------------------------------------------------------------------------------

    def _until(self, poll_interval: float, wait_timeout: float) -> float:
        for name, value in (("poll_interval", poll_interval), ("wait_timeout", wait_timeout)):
            check_number(name, value, least=0.001)
        return self.clock.now() + wait_timeout

    def _pause(
        self, batch: dict[str, Any], interval: float, until: float, progress: Progress | None
    ) -> float | None:
        """Return the seconds until the next look, None where none is needed."""
        done, total = counts_of(batch)
        if progress is not None:
            progress(done, total)
        if batch.get("processing_status") == "ended":
            return None
        left = until - self.clock.now()
        if left <= 0:
            raise ApiTimeoutError(
                f"batch {batch['id']} has not ended yet ({done} of {total} done): it goes on, so "
                "wait for it again later",
                backend=self.name,
            )
        return min(interval, left)


def _messages_of(request: Any) -> Any:
    return request.get("messages") if isinstance(request, Mapping) else request
