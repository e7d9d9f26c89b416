"""OpenAI's batches: many requests in one file, answered within a day at half the price.

https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from .answers import BatchResult
from .engine.json_codec import encode
from .errors import ApiError, ApiTimeoutError, InvalidRequestError, InvalidResponseError
from .protocols.openai_chat import read_chat
from .protocols.openai_completions import read_completion
from .protocols.openai_embeddings import read_embeddings
from .protocols.openai_errors import error_from
from .protocols.openai_files import FileRoutes, object_reader
from .protocols.openai_responses import read_response
from .routes import Request, awaitable, blocking, path_part
from .uploads import Upload

__all__ = ["BatchRoutes"]

Progress = Callable[[int, int], None]

_ENDED = ("completed", "failed", "expired", "cancelled")
_READERS: dict[str, Callable[[Any], Any]] = {
    "/v1/chat/completions": read_chat,
    "/v1/responses": read_response,
    "/v1/completions": read_completion,
}
_LONGEST_WAIT = 90_000.0  # a batch is done or expired after a day


class BatchRoutes(FileRoutes):
    """Batches: create, look, wait, collect, cancel."""

    def create_batch(
        self,
        requests: Sequence[Mapping[str, Any]] | str,
        endpoint: str = "/v1/chat/completions",
        *,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Hand in requests; return the provider's description of the batch, with its `id`.

        Args:
            requests: The bodies (`model`, `messages`, …), one a request; or lines of the batch
                format (`custom_id`, `body`, …); or the id of a file that was uploaded.
            endpoint: The route that all of them go to.
            completion_window: By when they are to be answered.
            metadata: Remarks of the caller's own, kept with the batch.
            options: The engine's.

        Raises:
            InvalidRequestError: There is no request, or a `custom_id` twice.
        """
        if isinstance(requests, str):
            file_id = requests
        else:
            upload = batch_file(requests, endpoint)
            file_id = self.upload_file(upload, "batch", **options)["id"]
        return self._batch_from_file(file_id, endpoint, completion_window, metadata, options)

    async def acreate_batch(
        self,
        requests: Sequence[Mapping[str, Any]] | str,
        endpoint: str = "/v1/chat/completions",
        *,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Do what `create_batch` does, without blocking the event loop."""
        if isinstance(requests, str):
            file_id = requests
        else:
            upload = batch_file(requests, endpoint)
            file_id = (await self.aupload_file(upload, "batch", **options))["id"]
        return await self._abatch_from_file(file_id, endpoint, completion_window, metadata, options)

    def _from_file(
        self,
        file_id: str,
        endpoint: str,
        window: str,
        metadata: Mapping[str, str] | None,
        options: dict[str, Any],
    ) -> Request[dict[str, Any]]:
        body = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": window,
        }
        if metadata is not None:
            body["metadata"] = dict(metadata)  # type: ignore[assignment]
        read = object_reader(self.name).one
        return self._request("POST", "/batches", json=body, read=read, **options)

    _batch_from_file, _abatch_from_file = blocking(_from_file), awaitable(_from_file)

    def _retrieve_batch(self, batch_id: str, **options: Any) -> Request[dict[str, Any]]:
        """Return the description of a batch: `status`, `request_counts`, ids of its files."""
        path = f"/batches/{path_part(batch_id, 'batch_id')}"
        return self._request("GET", path, read=object_reader(self.name).one, **options)

    def _cancel_batch(self, batch_id: str, **options: Any) -> Request[dict[str, Any]]:
        """Cancel a batch; what is answered by then can still be collected."""
        path = f"/batches/{path_part(batch_id, 'batch_id')}/cancel"
        return self._request("POST", path, json={}, read=object_reader(self.name).one, **options)

    def _list_batches(
        self, *, limit: int | None = None, after: str | None = None, **options: Any
    ) -> Request[list[dict[str, Any]]]:
        """Return descriptions of the batches, newest first; `after` an id gives the next page."""
        read = object_reader(self.name).many
        query = {"limit": limit, "after": after}
        return self._request("GET", "/batches", query=query, read=read, **options)

    retrieve_batch, aretrieve_batch = blocking(_retrieve_batch), awaitable(_retrieve_batch)
    cancel_batch, acancel_batch = blocking(_cancel_batch), awaitable(_cancel_batch)
    list_batches, alist_batches = blocking(_list_batches), awaitable(_list_batches)

    def wait_for_batch(
        self,
        batch_id: str,
        *,
        progress: Progress | bool | None = None,
        interval: float = 10.0,
        timeout: float = _LONGEST_WAIT,
    ) -> dict[str, Any]:
        """Wait until a batch is done; return its description then.

        Args:
            batch_id: Id of the batch.
            progress: Called with the number of requests answered and of all of them; True shows a
                progress bar where tqdm is installed.
            interval: Seconds between two looks.
            timeout: Seconds to wait in all.

        Raises:
            ApiTimeoutError: It is not done in time; it goes on.
            BackendClosedError: This back end was closed meanwhile.
        """
        bar, pause = _bar(progress), threading.Event()
        give_up = self.clock.now() + timeout
        with bar:
            while True:
                batch = self.retrieve_batch(batch_id)
                if bar.shows_end(batch):
                    return batch
                pause.wait(self._pause(batch_id, interval, give_up))

    async def await_for_batch(
        self,
        batch_id: str,
        *,
        progress: Progress | bool | None = None,
        interval: float = 10.0,
        timeout: float = _LONGEST_WAIT,
    ) -> dict[str, Any]:
        """Do what `wait_for_batch` does, without blocking the event loop."""
        give_up = self.clock.now() + timeout
        with _bar(progress) as bar:
            while True:
                batch = await self.aretrieve_batch(batch_id)
                if bar.shows_end(batch):
                    return batch
                await asyncio.sleep(self._pause(batch_id, interval, give_up))

    def _pause(self, batch_id: str, interval: float, give_up: float) -> float:
        left = give_up - self.clock.now()
        if left <= 0:
            raise ApiTimeoutError(
                f"batch {batch_id} is not done yet; it goes on: wait again later, or raise timeout",
                backend=self.name,
            )
        return min(interval, left)

    def batch_results(self, batch_id: str, **options: Any) -> list[BatchResult]:
        """Collect the outcomes of a batch, in the order in which its requests were handed in.

        Requests that were not answered (the batch expired or was cancelled) have an `error` too.

        Raises:
            InvalidRequestError: The batch is not done, or failed before it began.
        """
        batch = self.retrieve_batch(batch_id, **options)
        names = _files_of(batch)
        texts = {name: self.file_content(name, **options) if name else b"" for name in names}
        return self._results(batch, [texts[name] for name in names])

    async def abatch_results(self, batch_id: str, **options: Any) -> list[BatchResult]:
        """Do what `batch_results` does, without blocking the event loop."""
        batch = await self.aretrieve_batch(batch_id, **options)
        texts = [
            await self.afile_content(name, **options) if name else b"" for name in _files_of(batch)
        ]
        return self._results(batch, texts)

    def _results(self, batch: Mapping[str, Any], texts: Sequence[bytes]) -> list[BatchResult]:
        asked, *answered = texts
        found = {line.get("custom_id"): line for text in answered for line in _lines(text)}
        return [
            self._result(line, found.get(line.get("custom_id")), batch) for line in _lines(asked)
        ]

    def _result(
        self, asked: Mapping[str, Any], line: Mapping[str, Any] | None, batch: Mapping[str, Any]
    ) -> BatchResult:
        name = str(asked.get("custom_id"))
        try:
            response = _response(line, asked, batch, self.name)
        except ApiError as error:
            error.backend = error.backend or self.name
            return BatchResult(name, None, error, line)
        response.backend = self.name
        return BatchResult(name, response, None, line)


def batch_file(requests: Sequence[Mapping[str, Any]], endpoint: str) -> Upload:
    """Return requests as the file that a batch is made from.

    Raises:
        InvalidRequestError: There is none, or one is no dictionary, or a `custom_id` is twice.
    """
    if not isinstance(requests, Sequence) or not requests:
        raise InvalidRequestError("requests: an empty list; give at least one request")
    lines: dict[str, bytes] = {}
    for place, request in enumerate(requests):
        if not isinstance(request, Mapping):
            raise InvalidRequestError(
                f"requests[{place}]: {type(request).__name__} given; it is the body of a request"
            )
        if "body" in request:
            line = {"method": "POST", "url": endpoint, **request}
            line.setdefault("custom_id", f"request-{place}")
        else:
            body = dict(request)
            line = {"custom_id": f"request-{place}", "method": "POST", "url": endpoint}
            line["body"] = body
        name = str(line["custom_id"])
        if name in lines:
            raise InvalidRequestError(f"requests[{place}].custom_id: {name!r} is there twice")
        lines[name] = encode(line)
    return Upload("batch.jsonl", b"\n".join([*lines.values(), b""]), "application/jsonl")


def _response(
    line: Mapping[str, Any] | None, asked: Mapping[str, Any], batch: Mapping[str, Any], backend: str
) -> Any:
    if line is None:
        raise ApiError(
            f"not answered: the batch is {batch.get('status')}; hand the request in again",
            code=str(batch.get("status")),
        )
    answer = line.get("response")
    if not isinstance(answer, Mapping) or line.get("error"):
        raise error_from(500, {}, {"error": line.get("error")}, backend=backend)
    status = answer.get("status_code")
    body = answer.get("body")
    if isinstance(status, int) and status >= 400:
        raise error_from(status, {}, body, backend=backend)
    endpoint = str(batch.get("endpoint"))
    if endpoint == "/v1/embeddings":
        given = asked.get("body", {}).get("input")
        count = len(given) if isinstance(given, list) else 1
        return read_embeddings(body, count, backend=backend)
    read = _READERS.get(endpoint) or read_chat
    return read(body)


def _files_of(batch: Mapping[str, Any]) -> list[str | None]:
    """Return the ids of the files of requests, answers and errors; None where there is none."""
    if batch.get("status") not in _ENDED:
        raise InvalidRequestError(
            f"batch_id: {batch.get('id')} is {batch.get('status')}; wait_for_batch() first"
        )
    if batch.get("status") == "failed":
        errors = batch.get("errors")
        raise InvalidRequestError(
            f"batch_id: {batch.get('id')} failed before it began: {errors!r:.300}", body=batch
        )
    return [batch.get(f"{kind}_file_id") for kind in ("input", "output", "error")]


def _lines(text: bytes) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except ValueError as error:
            raise InvalidResponseError(f"line {number} of the batch is not JSON") from error
        if not isinstance(data, dict):
            raise InvalidResponseError(f"line {number} of the batch is no object")
        yield data


class _Bar:
    """Tells of the progress of a batch, to a function or by a bar on stderr."""

    def __init__(self, tell: Progress | None, bar: Any = None) -> None:
        self._tell = tell
        self._bar = bar

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def shows_end(self, batch: Mapping[str, Any]) -> bool:
        """Tell of a batch; say whether it has ended."""
        counts = batch.get("request_counts")
        counts = counts if isinstance(counts, Mapping) else {}
        done = int(counts.get("completed") or 0) + int(counts.get("failed") or 0)
        total = int(counts.get("total") or 0)
        if self._tell is not None:
            self._tell(done, total)
        if self._bar is not None:
            self._bar.total, self._bar.n = total, done
            self._bar.refresh()
        return batch.get("status") in _ENDED


def _bar(progress: Progress | bool | None) -> _Bar:
    if progress is None or progress is False:
        return _Bar(None)
    if callable(progress):
        return _Bar(progress)
    try:
        make: Any = import_module("tqdm").tqdm
    except ImportError as error:
        raise InvalidRequestError(
            "progress=True shows a bar with tqdm, which is not installed: pip install tqdm, or "
            "give a function of (done, total)"
        ) from error
    return _Bar(None, make(unit="request"))
