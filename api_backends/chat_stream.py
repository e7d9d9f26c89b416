"""An answer that arrives in pieces: bytes in, `StreamChunk`s out, the place held until the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from .engine.json_codec import decode
from .errors import ApiError, InvalidResponseError, StreamInterruptedError
from .types import ChatCompletionResponse, StreamChunk

if TYPE_CHECKING:
    from .engine.engine import Lease
    from .engine.streams import Event
    from .engine.transport import HttpStream

__all__ = ["ChatStream", "EventParser", "StreamReader"]


class EventParser(Protocol):
    """Cuts bytes into events: `SSEParser`, `JsonLinesParser`."""

    begins_with_json: bool

    def feed(self, chunk: bytes) -> list[Event]:
        """Take bytes; return the events that they complete."""
        ...

    def end(self) -> list[Event]:
        """Return what the stream ended in the middle of."""
        ...


class StreamReader(Protocol):
    """A protocol's reading of events: pure, knows neither bytes nor connections."""

    @property
    def finished(self) -> bool:
        """Whether the event that ends an answer has been read."""
        ...

    def read(self, event: Any, /) -> StreamChunk | None:
        """Read one event; None where it adds nothing. Raises the ApiError that it reports."""
        ...

    def end(self, saw_done: bool) -> StreamChunk:
        """Return the last chunk: done, with finish reason and usage."""
        ...

    def response(self) -> ChatCompletionResponse:
        """Return the answer so far, as a call without a stream would have given it."""
        ...


# How an answer begins that is no stream: an object, a list, a web page.
_NO_STREAM = (b"{", b"[", b"<")


class ChatStream:
    """The chunks of one answer, once each. Iterate it; leave early with `close()` or `with`.

    The request holds its place and its connection until the last chunk, `close()`, an error, or
    until nobody holds the stream any more.
    """

    def __init__(
        self,
        http: HttpStream,
        parser: EventParser,
        reader: StreamReader,
        whole: Callable[[bytes], tuple[ChatCompletionResponse, list[StreamChunk]]],
        fill_in: Callable[[ChatCompletionResponse], None],
        complete: Callable[[ApiError], None],
    ) -> None:
        self._http = http
        self._pieces = http.pieces()
        self._parser = parser
        self._reader = reader
        self._whole = whole
        self._fill_in = fill_in
        self._complete = complete
        self._pending: deque[StreamChunk] = deque()
        self._error: ApiError | None = None
        self._first = b""
        self._saw_done = False
        self._ended = False
        self._aborted = False
        self._response: ChatCompletionResponse | None = None
        self.lease: Lease | None = None

    # -- reading --------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[StreamChunk]:
        pending = self._pending
        while True:
            while pending:
                yield pending.popleft()
            if not self._fill():
                return

    def __next__(self) -> StreamChunk:
        while not self._pending:
            if not self._fill():
                raise StopIteration
        return self._pending.popleft()

    def next_batch(self) -> list[StreamChunk]:
        """Return the chunks that are there, waiting for the first; none at the end."""
        if not self._pending and not self._fill():
            return []
        batch = list(self._pending)
        self._pending.clear()
        return batch

    def prime(self) -> ChatStream:
        """Read up to the first chunk, so that an answer that is an error is one at once."""
        try:
            while not self._pending and not self._ended:
                self._advance()
        except StreamInterruptedError as error:
            error.partial = self._reader.response()
            self._http.close()
            raise
        except BaseException:
            self._http.close()
            raise
        return self

    def _fill(self) -> bool:
        """Read on until there is a chunk; False at the end."""
        while not self._pending:
            if self._error is not None:
                try:
                    raise self._error
                finally:
                    self._error = None  # or this and the traceback would keep each other alive
            if self._ended:
                self._release()
                return False
            try:
                self._advance()
            except ApiError as error:
                self._error = self._interrupted(error)
            except BaseException as error:
                self._fail(error)
                raise
        if self._ended and self._error is None:
            self._release()
        return True

    def _advance(self) -> None:
        piece = next(self._pieces, b"")
        if piece and not self._first:
            self._first = piece.lstrip()[:1]
            if self._first in _NO_STREAM and not (
                self._parser.begins_with_json and self._first != b"<"
            ):
                self._read_whole(piece)
                return
        events = self._parser.feed(piece) if piece else self._parser.end()
        for _, data in events:
            if data == b"[DONE]":
                self._saw_done = True
                break
            try:
                event = decode(data)
            except ValueError as error:
                if not piece:
                    raise StreamInterruptedError(
                        "the stream ended in the middle of an event: take `partial`, or ask again"
                    ) from None
                raise InvalidResponseError(
                    f"an event of the stream is not JSON ({error}): {data[:120]!r}"
                ) from error
            chunk = self._reader.read(event)
            if chunk is not None:
                self._pending.append(chunk)
        if self._saw_done or not piece:
            self._end()

    def _read_whole(self, piece: bytes) -> None:
        """Read an answer that is no stream though one was asked for."""
        self._response, chunks = self._whole(b"".join([piece, *self._pieces]))
        self._pending.extend(chunks)
        self._ended = True

    def _end(self) -> None:
        """Finish the answer, or find that it is not finished."""
        reader = self._reader
        if not self._saw_done:
            if not reader.finished:
                raise StreamInterruptedError(
                    "the stream ended before the answer did: take `partial`, or ask again"
                )
            if not self._http.is_framed and self._awaits_more():
                raise StreamInterruptedError(
                    "the connection closed after the answer and before its token counts"
                )
        last = reader.end(self._saw_done)
        if last is not None:
            self._pending.append(last)
        self._ended = True
        self._http.finish(self._pieces)

    def _awaits_more(self) -> bool:
        # Only a reader that asked for counts at the end knows that something is missing.
        return bool(getattr(self._reader, "awaits_usage", False))

    # -- ending ---------------------------------------------------------------------------------

    def response(self) -> ChatCompletionResponse:
        """Return the whole answer after the last chunk; before it, read on to the end.

        Raises:
            ApiError: The stream broke off; `StreamInterruptedError.partial` is what came.
        """
        while self._response is None and (not self._ended or self._error is not None):
            if not self._fill():
                break
            self._pending.clear()
        if self._response is None:
            self._response = self._reader.response()
        self._fill_in(self._response)
        return self._response

    def close(self) -> None:
        """Stop reading: give connection and place back. What was read can still be had."""
        if not self._ended:
            self._ended = True
            self._http.abort()  # another thread may be reading: it must not be waited for
            self._http.close()
            self._response = self._reader.response()
        self._pending.clear()
        self._release()

    def abort(self) -> None:
        """Break off a read that waits on another thread; `close()` must follow when it is back."""
        self._aborted = True
        self._http.abort()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        # The lease, if there is one, gives its place back by itself.
        if not getattr(self, "_ended", True):
            self._http.drop()

    def _release(self) -> None:
        if self.lease is not None and not self.lease.is_over:
            usage = (self._response or self._reader.response()).usage
            self.lease.ended(usage)

    def _interrupted(self, cause: ApiError) -> ApiError:
        """Return what to raise for an error in mid-stream, and give everything back."""
        partial = self._reader.response()
        self._fill_in(partial)
        self._complete(cause)
        if isinstance(cause, StreamInterruptedError):
            error = cause
        else:
            error = StreamInterruptedError(
                f"the stream broke off: {cause}",
                status_code=cause.status_code,
                error_type=cause.error_type,
                code=cause.code,
                retry_after=cause.retry_after,
                is_transient=cause.is_transient,
                body=cause.body,
            )
            error.__cause__ = cause
        error.partial = partial
        error.model = partial.model or cause.model
        error.backend, error.request_id = partial.backend, partial.request_id
        error.endpoint_id, error.attempts = partial.endpoint_id, partial.attempts
        self._response = partial
        self._fail(error)
        return error

    def _fail(self, error: BaseException) -> None:
        self._ended = True
        self._http.close()
        if self.lease is not None:
            if self._aborted:
                self.lease.ended()
            else:
                self.lease.failed(error)


class RawReader:
    """Hands the provider's own events on, while the back end's reader finds the end in them."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader

    @property
    def finished(self) -> bool:
        return self._reader.finished

    @property
    def awaits_usage(self) -> bool:
        return bool(getattr(self._reader, "awaits_usage", False))

    def read(self, event: Any, /) -> Any:
        self._reader.read(event)
        return event

    def end(self, saw_done: bool) -> Any:
        self._reader.end(saw_done)

    def response(self) -> ChatCompletionResponse:
        return self._reader.response()
