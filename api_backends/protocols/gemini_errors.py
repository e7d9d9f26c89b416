"""Turn what Google says went wrong into the one error tree.

Google's errors are `{"error": {code, message, status, details: [{"@type", …}]}}`, in a list where
the answer would have been one (https://ai.google.dev/gemini-api/docs/troubleshooting,
https://google.aip.dev/193). What the details say is better than the status: a bad key is a 400, a
quota of a day and one of a minute are both a 429.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from api_backends.errors import (
    ApiError,
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    NotFoundError,
    RateLimitError,
)

from .openai_errors import error_from as general_error

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["error_from", "error_in"]

_BAD_KEY = re.compile(
    r"api key (not valid|not found|expired|invalid)|invalid api key", re.IGNORECASE
)
_MODEL = re.compile(r"\bmodels?/|\bmodel\b", re.IGNORECASE)
_CONTEXT = re.compile(
    r"token count\b.{0,80}\b(exceeds?|only supports)|exceeds? the maximum number of tokens"
    r"|input context is too long|request payload size exceeds",
    re.IGNORECASE | re.DOTALL,
)
_LASTING = re.compile(r"PerDay|\blimit: 0\b")
_RETRY_IN = re.compile(r"retry in ([\d.]+)\s*(ms|s)\b", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d+)?)s")
_REMEDIES: dict[type[ApiError], tuple[str, str]] = {
    AuthenticationError: ("the key was refused", "Check the key (GEMINI_API_KEY)."),
    ModelNotFoundError: ("no such model", "list_models() says what is served."),
    ContextLengthError: (
        "the input is too long",
        "Shorten it; count_tokens() says how long it is.",
    ),
}


def error_from(
    status: int,
    headers: Mapping[str, str],
    body: Any,
    *,
    backend: str,
    model: str | None = None,
) -> ApiError:
    """Return the error that an answer stands for, ready to be raised.

    Args:
        status: HTTP status; where it is below 400, the body's own code decides.
        headers: Headers of the answer.
        body: The answer: parsed JSON, or text where it is not JSON, or None.
        backend: Name of the back end, for the message.
        model: Model asked for.

    Returns:
        An error of the class that fits; `error_type` is Google's status word
        (RESOURCE_EXHAUSTED, …), `code` the reason or the quota's id where the details have one,
        `retry_after` the seconds of `retryDelay`.
    """
    body = _unwrapped(body)
    error = general_error(status, headers, body, backend=backend, model=model)
    report = body.get("error") if isinstance(body, dict) else None
    if not isinstance(report, dict):
        return error
    details = [d for d in _list(report.get("details")) if isinstance(d, dict)]
    reason = next((d["reason"] for d in details if isinstance(d.get("reason"), str)), None)
    text = report["message"] if isinstance(report.get("message"), str) else ""
    error = _narrowed(error, reason, text, backend)
    if reason:
        error.code = reason
    if isinstance(error, RateLimitError):
        _note_quota(error, details, text)
    return error


def error_in(body: Any, *, backend: str = "", model: str | None = None) -> ApiError | None:
    """Return the error that a body of a successful answer carries, or None where it has none."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict) or not body.get("error"):
        return None
    return error_from(200, {}, body, backend=backend, model=model)


def _unwrapped(body: Any) -> Any:
    """Return the object with the error: out of a list, a text, or a text within the object."""
    if isinstance(body, (bytes, bytearray)):
        body = bytes(body).decode("utf-8", "replace")
    if isinstance(body, str):
        body = _json_within(body)
    if isinstance(body, list) and body and isinstance(body[0], dict):
        body = body[0]
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        inner = _json_within(body["error"])
        if isinstance(inner, dict) and isinstance(inner.get("error"), dict):
            return inner
    return body


def _json_within(text: str) -> Any:
    starts = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    if not starts or text.lstrip()[:1] == "<":
        return text
    try:
        return json.loads(text[min(starts) :])
    except (ValueError, RecursionError):
        return text


def _narrowed(error: ApiError, reason: str | None, text: str, backend: str) -> ApiError:
    """Return the error in the class that Google's own words say."""
    wanted: type[ApiError] = type(error)
    if reason == "API_KEY_INVALID" or (
        isinstance(error, InvalidRequestError) and _BAD_KEY.search(text)
    ):
        wanted = AuthenticationError
    elif type(error) is NotFoundError and _MODEL.search(text):
        wanted = ModelNotFoundError
    elif type(error) is InvalidRequestError and _CONTEXT.search(text):
        wanted = ContextLengthError
    if wanted is type(error):
        return error
    what, remedy = _REMEDIES[wanted]
    # The general message has Google's words, without keys; only its advice was another's.
    told = error.message.partition(": ")[2] or text[:300]
    narrowed = wanted(f"{backend or 'the server'}: {what} ({error.status_code}): {told} {remedy}")
    narrowed.__dict__.update(
        {k: v for k, v in error.__dict__.items() if k not in ("message", "is_transient")}
    )
    return narrowed


def _note_quota(error: ApiError, details: list[dict[str, Any]], text: str) -> None:
    """Tell a limit that is soon over from a quota that is used up for the day, or is none."""
    quotas = [
        str(violation["quotaId"])
        for detail in details
        for violation in _list(detail.get("violations"))
        if isinstance(violation, dict) and violation.get("quotaId")
    ]
    if quotas:
        error.code = next((quota for quota in quotas if _LASTING.search(quota)), quotas[0])
    if any(_LASTING.search(quota) for quota in quotas) or _LASTING.search(text):
        error.is_transient = False
        error.message = (
            f"{error.message} This quota is not back in a minute: use another key or model, or "
            "raise it at https://ai.dev/rate-limit."
        )
        error.args = (error.message,)
    error.retry_after = _retry_delay(details, text)


def _retry_delay(details: list[dict[str, Any]], text: str) -> float | None:
    """Return the seconds to wait: of `retryDelay` ("34.4s"), else of the words."""
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, str):
            found = _DURATION.fullmatch(delay.strip())
            if found:
                return float(found[1])
        elif isinstance(delay, dict):  # the same message in its other JSON form
            seconds = delay.get("seconds", 0)
            if isinstance(seconds, (int, float)) and 0 <= seconds < 1e9:
                return float(seconds)
    found = _RETRY_IN.search(text)
    if found is None:
        return None
    try:
        seconds = float(found[1])
    except ValueError:
        return None
    return seconds / 1000 if found[2].lower() == "ms" else seconds


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
