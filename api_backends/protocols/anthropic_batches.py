"""Message batches of Anthropic's API: many requests sent at once, answered within a day.

https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api_backends.engine.json_codec import decode
from api_backends.errors import ApiError, InvalidRequestError, InvalidResponseError
from api_backends.types import ChatCompletionResponse

from .anthropic_answers import read_message
from .anthropic_errors import error_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["BatchResult", "batch_of", "custom_ids", "in_order", "lines_of", "results_of"]

MOST_REQUESTS = 100_000

_OWN_ID = re.compile(r"request-(\d+)")
_ANY_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one request of a batch: a response, or the error in its stead."""

    custom_id: str
    response: ChatCompletionResponse | None = None
    error: ApiError | None = None


def custom_ids(requests: Sequence[Any]) -> list[str]:
    """Return the id of each request: its own `custom_id`, or one that says its place.

    Raises:
        InvalidRequestError: An id is none that the API takes, or used twice.
    """
    if not requests or len(requests) > MOST_REQUESTS:
        raise InvalidRequestError(
            f"requests: {len(requests)} given; a batch has 1 to {MOST_REQUESTS:,}"
        )
    ids: dict[str, None] = {}
    for place, request in enumerate(requests):
        given = request.get("custom_id") if hasattr(request, "get") else None
        identity = f"request-{place}" if given is None else given
        if not isinstance(identity, str) or not _ANY_ID.fullmatch(identity):
            raise InvalidRequestError(
                f"requests[{place}].custom_id: {identity!r}; use 1 to 64 letters, digits, _ and -"
            )
        if identity in ids:
            raise InvalidRequestError(
                f"requests[{place}].custom_id: {identity!r} is used twice; give each its own"
            )
        ids[identity] = None
    return list(ids)


def batch_of(raw: Any) -> dict[str, Any]:
    """Return a batch as the API describes it, checked.

    Raises:
        InvalidResponseError: It is none.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("id"), str):
        raise InvalidResponseError("the answer is no message batch", body=raw)
    return raw


def counts_of(batch: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many requests of a batch are done, and how many there are."""
    counts = batch.get("request_counts")
    known = counts if isinstance(counts, dict) else {}
    numbers = {name: n for name, n in known.items() if isinstance(n, int)}
    total = sum(numbers.values())
    return total - numbers.get("processing", 0), total


def lines_of(body: bytes) -> list[Any]:
    """Read a file of one JSON object a line."""
    return [decode(line) for line in body.splitlines() if line.strip()]


def results_of(lines: Any, *, backend: str) -> list[BatchResult]:
    """Return the results that a file of them holds, in the order of the file.

    Raises:
        InvalidResponseError: The file holds something else.
    """
    results = []
    for line in lines if isinstance(lines, list) else [lines]:
        identity = line.get("custom_id") if isinstance(line, dict) else None
        result = line.get("result") if isinstance(line, dict) else None
        if not isinstance(identity, str) or not isinstance(result, dict):
            raise InvalidResponseError(
                f"{backend} sent a line that is no result of a batch", body=line
            )
        try:
            results.append(BatchResult(identity, response=_response(result, backend)))
        except ApiError as error:
            results.append(BatchResult(identity, error=error))
    return results


def in_order(results: Iterable[BatchResult], order: Sequence[str] | None) -> list[BatchResult]:
    """Return results in the order of the requests: of `order`, or of the places in our own ids."""
    found = list(results)
    if order is not None:
        place = {identity: number for number, identity in enumerate(order)}
        return sorted(found, key=lambda result: place.get(result.custom_id, len(place)))
    numbers = [_OWN_ID.fullmatch(result.custom_id) for result in found]
    if all(numbers):
        return sorted(found, key=lambda r: int(r.custom_id.rpartition("-")[2]))
    return found


def _response(result: Mapping[str, Any], backend: str) -> ChatCompletionResponse:
    kind = result.get("type")
    if kind == "succeeded":
        return read_message(result.get("message"), backend=backend)
    if kind == "errored":
        raise error_from(200, {}, result.get("error"), backend=backend)
    if kind in ("canceled", "expired"):
        raise ApiError(
            f"the request was {kind} before it was answered: send it again",
            backend=backend,
            error_type=kind,
            is_transient=True,
            body=result,
        )
    raise InvalidResponseError(f"{backend} sent a result of type {kind!r}", body=result)
