"""Turn what Anthropic's API says went wrong into the one error tree.

https://platform.claude.com/docs/en/api/errors. The shape is `{"type": "error", "error": {"type",
"message"}, "request_id"}`, in an answer, in an event of a stream, and in the results of a batch.
What stands in front of the API (proxies, gateways) has other shapes, read as everywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from api_backends.errors import ApiError, RateLimitError

from . import openai_errors
from .openai_errors import mask_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["error_from", "error_in"]

# For errors that come without a status of their own.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# A used-up credit or a spending limit comes as an invalid request.
_QUOTA = r"credit balance is too low|usage limits?\b[^.]*\. You will regain access"
_MODEL = r"model: \S+$"


def error_from(
    status: int, headers: Mapping[str, str], body: Any, *, backend: str, model: str | None = None
) -> ApiError:
    """Return the error that an answer stands for, ready to be raised.

    Args:
        status: HTTP status; where it is below 400, the error's own type decides.
        headers: Headers of the answer, in lower case.
        body: The answer: parsed JSON, or text where it is not JSON, or None.
        backend: Name of the back end, for the message.
        model: Model asked for.
    """
    inner = body.get("error") if isinstance(body, dict) else None
    kind = inner.get("type") if isinstance(inner, dict) else None
    text = inner.get("message") if isinstance(inner, dict) else None
    if status < 400 and isinstance(kind, str):
        status = _STATUS.get(kind, status)
    said = text[:2000] if isinstance(text, str) else ""
    if status == 400 and re.search(_QUOTA, said, re.IGNORECASE):
        error: ApiError = _out_of_credit(status, said, kind, backend, model, body)
    elif status == 404 and re.match(_MODEL, said) and isinstance(inner, dict):
        # The shared reading knows a complaint about the model by this mark of OpenAI's.
        marked = {**body, "error": {**inner, "param": "model"}}
        error = openai_errors.error_from(status, headers, marked, backend=backend, model=model)
        error.body["error"].pop("param")
    else:
        error = openai_errors.error_from(status, headers, body, backend=backend, model=model)
    if isinstance(body, dict) and isinstance(body.get("request_id"), str):
        error.request_id = error.request_id or body["request_id"]
    return error


def error_in(body: Mapping[str, Any], *, backend: str = "") -> ApiError | None:
    """Return the error that a body or an event of a successful answer carries, None if none."""
    if body.get("type") == "error" or body.get("error"):
        return error_from(200, {}, body, backend=backend)
    return None


def _out_of_credit(
    status: int, said: str, kind: Any, backend: str, model: str | None, body: Any
) -> RateLimitError:
    return RateLimitError(
        f"{backend or 'the server'} answered {status}: {mask_keys(said[:300])} Add credit or "
        "raise the limit at the provider, or use another key.",
        backend=backend or None,
        model=model,
        status_code=status,
        error_type=kind if isinstance(kind, str) else None,
        is_transient=False,
        body=body,
    )
