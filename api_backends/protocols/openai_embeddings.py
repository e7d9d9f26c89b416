"""The embeddings half of OpenAI's protocol.

https://platform.openai.com/docs/api-reference/embeddings. Vectors are asked for as base64: four
bytes a number instead of about twelve, and no text to parse.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidRequestError, InvalidResponseError
from api_backends.types import EmbeddingResponse

from .openai_chat import read_usage
from .openai_errors import error_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["embeddings_body", "read_embeddings"]


def embeddings_body(
    texts: str | Sequence[str], model: str | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the JSON body of an embeddings request.

    Args:
        texts: One text or several.
        model: Model to ask for; None where the server has only one.
        options: The provider's own options, sent as they are. `encoding_format` is "base64"
            unless it is given; `encoding_format=None` leaves it out, for servers that refuse it.

    Raises:
        InvalidRequestError: `texts` is empty or holds something other than text.
    """
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, (list, tuple)):
        raise InvalidRequestError(
            f"texts must be a text or a list of texts, not {type(texts).__name__}"
        )
    if not texts:
        raise InvalidRequestError("texts is empty: give at least one text to embed")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidRequestError(f"texts[{place}] must be text, not {type(text).__name__}")
        if not text:
            raise InvalidRequestError(f"texts[{place}] is empty: leave it out, or give it words")
    body: dict[str, Any] = {"input": list(texts), **options}
    if model:
        body["model"] = model
    if "encoding_format" not in options:
        body["encoding_format"] = "base64"
    elif options["encoding_format"] is None:
        del body["encoding_format"]
    return body


def read_embeddings(raw: Any, count: int, *, backend: str = "") -> EmbeddingResponse:
    """Return the vectors of an embeddings answer, in the order of the texts.

    Args:
        raw: The answer's JSON: vectors as lists of numbers, or base64 of little-endian float32.
        count: How many texts were sent.
        backend: Name of the back end, for results and errors.

    Returns:
        `embeddings` of shape (count, dimensions), float32.

    Raises:
        ApiError: The answer reports an error, though its status was a success.
        InvalidResponseError: Vectors are missing, too many, of unequal length, or no numbers.
    """
    error = error_in(raw, backend=backend)
    if error is not None:
        raise error
    data = raw.get("data") if isinstance(raw, dict) else None
    if not isinstance(data, list):
        raise _bad("an answer without a list `data` of embeddings", backend, raw)
    if len(data) != count:
        raise _bad(f"{len(data)} embeddings for {count} texts", backend, None)
    model = raw.get("model")
    return EmbeddingResponse(
        _array(_in_order(data, backend), backend),
        model if isinstance(model, str) else "",
        read_usage(raw),
        raw,
        backend,
    )


def _in_order(data: list[Any], backend: str) -> list[Any]:
    """Return the vectors as they come, sorted by `index` where the items have one."""
    vectors: list[Any] = [None] * len(data)
    for place, item in enumerate(data):
        if not isinstance(item, dict) or item.get("embedding") is None:
            raise _bad(f"no vector in data[{place}]", backend, None)
        index = item.get("index")
        if index.__class__ is not int:
            index = place
        if not 0 <= index < len(data) or vectors[index] is not None:
            raise _bad(f"index {index} twice or out of range in data[{place}]", backend, None)
        vectors[index] = item["embedding"]
    return vectors


def _array(vectors: list[Any], backend: str) -> npt.NDArray[np.float32]:
    import numpy as np

    rows = []
    for place, vector in enumerate(vectors):
        if isinstance(vector, str):
            try:
                row = np.frombuffer(base64.b64decode(vector, validate=True), dtype="<f4")
            except (binascii.Error, ValueError) as error:
                raise _bad(f"vector {place} is not base64 of float32", backend, None) from error
        else:
            try:
                with np.errstate(over="ignore"):  # becomes infinity, which is refused below
                    row = np.asarray(vector, dtype=np.float32)
            except (TypeError, ValueError, OverflowError) as error:
                raise _bad(f"vector {place} is not a list of numbers", backend, None) from error
        if row.ndim != 1 or not row.size:
            raise _bad(f"vector {place} is not a list of numbers", backend, None)
        rows.append(row)
    sizes = {row.size for row in rows}
    if len(sizes) > 1:
        raise _bad(f"vectors of different lengths: {sorted(sizes)}", backend, None)
    array = np.stack(rows).astype(np.float32, copy=False) if rows else np.zeros((0, 0), np.float32)
    if not math.isfinite(float(array.sum(dtype=np.float64))) and not np.isfinite(array).all():
        raise _bad("vectors that hold NaN or infinity", backend, None)
    return array


def _bad(what: str, backend: str, body: Any) -> InvalidResponseError:
    return InvalidResponseError(
        f"{backend or 'the server'} answered {what}: check that the model makes embeddings and "
        "that the base URL is right",
        backend=backend or None,
        body=body,
    )
