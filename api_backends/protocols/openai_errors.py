"""Turn what an OpenAI-compatible server says went wrong into the one error tree.

Providers agree on the status and on nothing else: the error is an object, a string, a list of
pydantic complaints, a flat message, a page of HTML or nothing. The status and the provider's own
`type` and `code` decide the class; wording decides where they are too coarse (a prompt that is too
long, a model that is not served, a refused content).

Format: https://platform.openai.com/docs/guides/error-codes/api-errors, and what other servers of
the same protocol were seen to answer.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from api_backends.errors import (
    ApiError,
    ApiTimeoutError,
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    InvalidRequestError,
    InvalidResponseError,
    ModelNotFoundError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["error_from", "error_in", "mask_keys"]

_TEXT_LIMIT = 300  # of the provider's own words in a message
_PAGE_LIMIT = 2000  # of a text that is looked at, or kept with the error

# Patterns are texts here: they are compiled with the first error, not with the import.
_CONTEXT = (
    r"context[ _-]?(length|window|size)|maximum (context|prompt|input) length"
    r"|(prompt|input|request|messages?)\b.{0,60}\btoo long|too_many_(prompt_)?tokens"
    r"|exceed_context_size|string_above_max_length|reduce the length of (the|your|either)"
    r"|exceeds? the (model'?s? )?(max(imum)?|limit)[^.]{0,40}\btokens"
    r"|input (tokens?|length)\b.{0,40}\bexceeds?"
    r"|tokens?\b[^.]{0,60}\bexceeds? [^.]{0,40}\b(context|max_model_len|n_ctx)"
)
_CONTENT = (
    r"content[ _-]?(policy|filter|management)|(violat\w+|against) [^.]{0,40}"
    r"(usage (guidelines|polic)|content polic|safety|terms)|safety_check"
    r"|responsible ?ai|data_inspection_failed|(input|prompt|request) (was |has been )?"
    r"(flagged|blocked|rejected (as a result of|by)[^.]{0,30}(safety|moderation))"
    r"|moderation_blocked|content_violation|sensitive content"
)
_MODEL = (
    r"model_?not_?(found|available|supported)|model_decommissioned|invalid_model"
    r"|deploymentnotfound|is not a valid model|invalid model\b|unknown model|no such model"
    r"|model\b[^.;]{0,120}\b(not found|(does|do)(n't| not) exist|not exist"
    r"|is not (available|served|loaded)|deprecated|decommissioned|no longer)"
    r"|supported (api )?model names? (are|is)|no endpoints found for|for this model has ended"
    r"|specified model not found|unable to access model|model name passed"
    r"|^only .{1,4000}\ballowed\b|not a chat model"
)
_QUOTA = (
    r"insufficient[ _](quota|balance|credits?|funds)|billing_(hard_limit|not_active)"
    r"|credit balance|out of credits?|more credits|payment[ _]required|account is not active"
)
_NEVER = r"not supported|cannot use both|requires? --|unsupported"
_STATUS_IN_TEXT = r"\b(?:error|status)(?: code)?:? ?([45]\d\d)\b"
_KEY = (
    r"(?P<label>\b(?:api[ _-]?key(?: provided)?|bearer|authorization|x-api-key)"
    r"[\"']?\s*(?:[:=]\s*|\s(?=\S*[\d*_-]))[\"']?(?:bearer )?)(?P<value>[^\s\"',}]+)"
    r"|\b(?:sk-|gsk_|csk-|xai-|pplx-|hf_|tgp_|nvapi-|r8_|rk_|pk_|fw_)[\w*-]{8,}|\bAIza[\w-]{10,}"
)

_REMEDIES: dict[type[ApiError], str] = {
    ContextLengthError: "Shorten the messages, lower max_tokens, or use a model with more context.",
    ContentFilterError: "Rephrase the input, or use a model with another content policy.",
    ModelNotFoundError: "Check the model's name; list_models() says what is served.",
    NotFoundError: "Check the base URL and what this endpoint offers.",
    AuthenticationError: "Check the API key and that it belongs to this provider.",
    PermissionDeniedError: "Ask for access, or use a key or model that has it.",
    RateLimitError: "Wait and try again, send less at once, or add keys.",
    ApiTimeoutError: "Try again, or ask for less at once.",
    OverloadedError: "Try again shortly, or use another endpoint.",
    ServerError: "Try again; if it stays, look at the server's own log or status page.",
    InvalidRequestError: "Change the request accordingly.",
    InvalidResponseError: "Check the base URL.",
}
_QUOTA_REMEDY = "Add credit or raise the limit at the provider, or use another key."
_HTML_REMEDY = "The base URL is probably wrong: it answers with a web page, not with an API."

_BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    402: RateLimitError,  # the credit is used up
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ApiTimeoutError,
    429: RateLimitError,
    503: OverloadedError,
    529: OverloadedError,
}
# The provider's own words, for errors that come without a status (in a stream, or under HTTP 200).
_BY_WORD: tuple[tuple[str, int], ...] = (
    ("authentication", 401),
    ("invalid_api_key", 401),
    ("unauthorized", 401),
    ("permission", 403),
    ("forbidden", 403),
    ("not_found", 404),
    ("rate_limit", 429),
    ("too_many_requests", 429),
    ("quota", 429),
    ("overloaded", 503),
    ("unavailable", 503),
    ("timeout", 408),
    ("badrequest", 400),
    ("bad_request", 400),
    ("invalid", 400),
    ("unprocessable", 422),
)


class _Report(NamedTuple):
    """What a body says about an error."""

    text: str
    kind: str | None = None
    code: str | None = None
    status: int | None = None
    param: str | None = None
    page: bool = False


def mask_keys(text: str) -> str:
    """Return `text` with everything that looks like a credential replaced by `***`."""
    return re.sub(_KEY, lambda found: (found["label"] or "") + "***", text, flags=re.IGNORECASE)


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
        status: HTTP status; where it is below 400, the body's own code or wording decides.
        headers: Headers of the answer.
        body: The answer: parsed JSON, or text where it is not JSON, or None.
        backend: Name of the back end, for the message.
        model: Model asked for.

    Returns:
        An error of the class that fits, with the provider's `error_type` and `code`, the body
        without keys, and a message of at most about 500 characters that says what to do.
        `retry_after` is left to the caller, who knows the clock.
    """
    report = _report(body)
    effective = _effective_status(status, report)
    cls, transient = _classify(effective, report)
    return cls(
        _message(cls, effective, report, backend, transient),
        backend=backend or None,
        model=model,
        status_code=effective,
        error_type=report.kind,
        code=report.code,
        request_id=_header(headers, "x-request-id") or _header(headers, "request-id"),
        is_transient=transient,
        body=_without_keys(body),
    )


def error_in(
    body: Any, *, backend: str = "", model: str | None = None, status: int = 200
) -> ApiError | None:
    """Return the error that a body of a successful answer carries, or None where it has none.

    Some servers answer 200 and report the error in the body, in an event of a stream, or inside
    the choice that failed.
    """
    if not isinstance(body, dict):
        return None
    if body.get("error"):
        return error_from(status, {}, body, backend=backend, model=model)
    extra = body.get("x_groq")
    if isinstance(extra, dict) and extra.get("error"):
        return error_from(status, {}, extra, backend=backend, model=model)
    choices = body.get("choices")
    if isinstance(choices, list) and choices:
        for choice in choices:
            if isinstance(choice, dict) and choice.get("error"):
                return error_from(status, {}, choice, backend=backend, model=model)
        return None
    if body.get("object") == "error" or body.get("type") == "error" or "detail" in body:
        return error_from(status, {}, body, backend=backend, model=model)
    flat = isinstance(body.get("message"), str) and ("code" in body or "status" in body)
    return error_from(status, {}, body, backend=backend, model=model) if flat else None


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return headers.get(name) or headers.get(name.title())


def _effective_status(status: int, report: _Report) -> int:
    if status >= 400 or report.page:
        return status
    if report.status is not None:
        return report.status
    found = re.search(_STATUS_IN_TEXT, report.text[:_TEXT_LIMIT], re.IGNORECASE)
    if found:
        return int(found[1])
    words = f"{report.kind} {report.code}".lower().replace(" ", "_")
    for word, meaning in _BY_WORD:
        if word in words:
            return meaning
    return 500


def _classify(status: int, report: _Report) -> tuple[type[ApiError], bool | None]:
    """Return the class, and whether the error passes by itself where the class is too coarse."""
    words = f"{report.text[:_PAGE_LIMIT]}\n{report.kind}\n{report.code}"
    if status in (402, 429):
        return RateLimitError, False if status == 402 or _says(_QUOTA, words) else None
    if status in (400, 403, 404, 410, 413, 422, 500) and not report.page:
        if _says(_CONTENT, words) and status not in (404, 410):
            return ContentFilterError, None
        if _says(_CONTEXT, words) and status not in (403, 404, 410):
            return ContextLengthError, None
        if status not in (403, 500) and (report.param == "model" or _says(_MODEL, words)):
            return ModelNotFoundError, None
    known = _BY_STATUS.get(status)
    if known is not None:
        return known, None
    if status == 409:  # a lock that is held at the moment
        return InvalidRequestError, True
    if 400 <= status < 500:
        return InvalidRequestError, None
    if status >= 500:
        # Some servers answer 500 to what they will never do; trying again is of no use.
        return ServerError, False if _says(_NEVER, words) else None
    return InvalidResponseError, None


def _says(pattern: str, words: str) -> bool:
    return re.search(pattern, words, re.IGNORECASE | re.DOTALL) is not None


def _message(
    cls: type[ApiError], status: int, report: _Report, backend: str, transient: bool | None
) -> str:
    said = mask_keys(report.text[:_PAGE_LIMIT])
    if len(said) > _TEXT_LIMIT:
        said = said[: _TEXT_LIMIT - 1].rstrip() + "…"
    remedy = _REMEDIES[cls]
    if report.page:
        remedy = _HTML_REMEDY if status < 500 else _REMEDIES[cls]
    elif transient is False:
        remedy = _QUOTA_REMEDY if cls is RateLimitError else _REMEDIES[InvalidRequestError]
    word = report.kind or report.code or ""
    words = str(status) if word in ("", str(status)) else f"{status} {word}"
    if said and said[-1] not in ".!?…":
        said += "."
    return f"{backend or 'the server'} answered {words[:80]}: {said or 'no explanation.'} {remedy}"


def _report(body: Any) -> _Report:
    if isinstance(body, (bytes, bytearray)):
        body = bytes(body).decode("utf-8", "replace")
    if isinstance(body, str):
        return _report_of_text(body)
    if isinstance(body, list):  # Google wraps its errors in a list
        return _report(body[0]) if body and isinstance(body[0], dict) else _Report(_plain(body))
    if not isinstance(body, dict):
        return _Report("")
    error = body.get("error")
    if isinstance(error, dict):
        return _report_of_object(error, body)
    if isinstance(error, list) and error:
        return _Report("; ".join(_plain(item) for item in error))
    if error and error is not True:
        # xAI says the code in words beside the error's text; TGI names an error_type.
        kind = body.get("error_type") or body.get("type")
        return _Report(_plain(error), _word(kind), _word(body.get("code")), _status(body))
    if body.get("detail"):
        return _Report(_detail(body["detail"]), _word(body.get("type")), _word(body.get("code")))
    return _report_of_object(body, body)


def _report_of_object(error: Mapping[str, Any], body: Mapping[str, Any]) -> _Report:
    text = next((_plain(error[key]) for key in ("message", "msg", "error") if error.get(key)), "")
    param = error.get("param")
    kinds = (error.get("type"), error.get("status"), body.get("type"))
    kind = next((_word(word) for word in kinds if isinstance(word, str) and word), None)
    status = _status(error) or _status(body)
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("raw"):  # OpenRouter: what its provider said
        inner = _report(_parsed(metadata["raw"]))
        who = metadata.get("provider_name")
        text = f"{text} ({who}): {inner.text}" if isinstance(who, str) else f"{text}: {inner.text}"
        kind = kind or inner.kind
    if not text:
        text = _plain(error) if error else ""
    return _Report(text, kind, _word(error.get("code")), status, _word(param))


def _report_of_text(text: str) -> _Report:
    head = text.lstrip()[:300].lower()
    if head.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")) or "<html" in head:
        title = re.search(r"<title[^>]*>([^<]{1,120})", text)
        named = f" titled {title[1].strip()!r}" if title else ""
        return _Report(f"a web page{named}", page=True)
    parsed = _parsed(text)
    return _report(parsed) if isinstance(parsed, (dict, list)) else _Report(text.strip())


def _detail(detail: Any) -> str:
    """Return FastAPI's `detail`: a text, or a list of {loc, msg}."""
    if isinstance(detail, dict):
        return _plain(detail.get("message") or detail.get("error") or detail)
    if not isinstance(detail, list):
        return _plain(detail)
    said = []
    for item in detail:
        if isinstance(item, dict) and isinstance(item.get("msg"), str):
            place = item.get("loc")
            named = ".".join(map(str, place)) + ": " if isinstance(place, list) else ""
            said.append(named + item["msg"])
        else:
            said.append(_plain(item))
    return "; ".join(said)


def _parsed(text: Any) -> Any:
    if isinstance(text, str) and text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    try:
        return json.dumps(value, default=str)
    except RecursionError:
        return "(nested beyond reason)"


def _word(value: Any) -> str | None:
    """Return a provider's code or type as text; codes are numbers, texts or null."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value)[:120] or None


def _status(error: Mapping[str, Any]) -> int | None:
    for key in ("status_code", "code", "raw_status_code", "status", "http_status"):
        value = error.get(key)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and 400 <= value <= 599:
            return int(value)
    return None


def _without_keys(body: Any, depth: int = 0) -> Any:
    if isinstance(body, (bytes, bytearray)):
        body = bytes(body[: _PAGE_LIMIT * 4]).decode("utf-8", "replace")
    if isinstance(body, str):
        return mask_keys(body[:_PAGE_LIMIT] if depth == 0 else body)
    if depth > 20:  # nobody nests errors this deep; a hostile body must not exhaust the stack
        return None
    if isinstance(body, dict):
        return {key: _without_keys(value, depth + 1) for key, value in body.items()}
    if isinstance(body, list):
        return [_without_keys(value, depth + 1) for value in body]
    return body
