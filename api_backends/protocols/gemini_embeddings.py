"""Gemini's embeddings: one text by embedContent, several by batchEmbedContents.

https://ai.google.dev/api/embeddings
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidRequestError, InvalidResponseError
from api_backends.types import EmbeddingResponse, Usage

from .gemini_answer import read_usage
from .gemini_errors import error_in
from .openai_embeddings import read_embeddings as read_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BATCH_LIMIT", "embeddings_body", "read_embeddings"]

BATCH_LIMIT = 100
"""How many texts one request may hold."""

_TASKS = frozenset(
    (
        "TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY",
        "CLASSIFICATION", "CLUSTERING", "QUESTION_ANSWERING", "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    )
)  # fmt: skip
_OPENAI_ONLY = ("encoding_format", "user", "input_type")


def embeddings_body(texts: Sequence[str], model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON body: of embedContent for one text, of batchEmbedContents for several.

    Args:
        texts: At least one.
        model: Model's name, with or without "models/".
        options: `dimensions` (of the vectors), `task_type` (RETRIEVAL_QUERY, …), `title`, and
            others of Gemini's, sent as they are.

    Raises:
        InvalidRequestError: An option that Gemini doesn't have, or of the wrong kind.
    """
    settings = dict(_setting(name, value) for name, value in options.items() if value is not None)
    resource = model if "/" in model else f"models/{model}"
    requests = [
        {"model": resource, "content": {"parts": [{"text": text}]}, **settings} for text in texts
    ]
    return requests[0] if len(requests) == 1 else {"requests": requests}


def _setting(name: str, value: Any) -> tuple[str, Any]:
    """Return an option by Gemini's name, checked."""
    if name in _OPENAI_ONLY:
        raise InvalidRequestError(f"{name}: Gemini's embeddings have no such option")
    native = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
    if native in ("dimensions", "outputDimensionality"):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidRequestError(f"{name} takes a whole number above 0, not {value!r}")
        return "outputDimensionality", value
    if native == "taskType":
        value = str(value).upper()
        if value not in _TASKS:
            raise InvalidRequestError(f"{name}: {value!r} is none of {', '.join(sorted(_TASKS))}")
    return native, value


def read_embeddings(raw: Any, count: int, *, backend: str = "") -> EmbeddingResponse:
    """Return the vectors of an embeddings answer, in the order of the texts.

    Args:
        raw: The answer's JSON: `embedding` of one text, or `embeddings` of several.
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
    found = None
    if isinstance(raw, dict):
        found = raw.get("embeddings")
        found = [raw["embedding"]] if found is None and "embedding" in raw else found
    if not isinstance(found, list):
        raise InvalidResponseError(
            f"{backend or 'the server'} sent no embeddings: check that the model makes them",
            backend=backend or None,
            body=raw,
        )
    vectors = [item.get("values") if isinstance(item, dict) else None for item in found]
    answer = read_vectors({"data": [{"embedding": v} for v in vectors]}, count, backend=backend)
    answer.raw = raw
    usage = read_usage(raw)
    answer.usage = Usage(usage.prompt_tokens, 0, usage.prompt_tokens)
    return answer
