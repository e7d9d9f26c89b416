"""The one error tree: whatever answers, whatever goes wrong, callers catch `ApiError` or a child.

Every error says what to do about it, and carries what is known: `backend, endpoint_id, model,
status_code, error_type, code, request_id, retry_after, attempts, is_transient, body`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .types import ChatCompletionResponse

__all__ = [
    "ApiConnectionError",
    "ApiError",
    "ApiTimeoutError",
    "AuthenticationError",
    "BackendClosedError",
    "CircuitOpenError",
    "ConfigurationError",
    "ContentFilterError",
    "ContextLengthError",
    "InvalidRequestError",
    "InvalidResponseError",
    "MissingCredentialsError",
    "ModelNotFoundError",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "QueueFullError",
    "RateLimitError",
    "ServerError",
    "StreamInterruptedError",
]


class ApiError(Exception):
    """Base of every error that a back end, the engine, a device or the core raises.

    Args:
        message: What happened and what to do about it.
        backend: Name of the back end (or device) that failed.
        endpoint_id: Id of the endpoint within it.
        model: Model asked for.
        status_code: HTTP status, where there was an answer.
        error_type: The provider's own word for the kind of error.
        code: The provider's own error code, as text.
        request_id: The caller's or the provider's id of the request.
        retry_after: Seconds to wait that the provider asked for.
        attempts: Requests sent for this call, this one included.
        is_transient: Whether the same call may succeed later; the class's default if None.
        body: The provider's answer, keys removed.
    """

    transient = False
    """Whether errors of this class usually pass by themselves."""

    should_retry: bool | None = None
    """What the server itself said about sending the same request again, where it did."""

    def __init__(
        self,
        message: str = "",
        *,
        backend: str | None = None,
        endpoint_id: str | None = None,
        model: str | None = None,
        status_code: int | None = None,
        error_type: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        attempts: int = 0,
        is_transient: bool | None = None,
        body: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.backend = backend
        self.endpoint_id = endpoint_id
        self.model = model
        self.status_code = status_code
        self.error_type = error_type
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.attempts = attempts
        self.is_transient = self.transient if is_transient is None else is_transient
        self.body = body

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process boundaries (celery, multiprocessing): keep every field.
        return _rebuild, (type(self), self.message, self.__dict__.copy())


def _rebuild(cls: type[ApiError], message: str, state: dict[str, Any]) -> ApiError:
    error = cls(message)
    error.__dict__.update(state)
    return error


class ConfigurationError(ApiError, ValueError):
    """A setting is missing, misspelt or of the wrong kind; nothing was sent."""


class MissingCredentialsError(ConfigurationError):
    """No key was found for a back end that needs one."""


class InvalidRequestError(ApiError, ValueError):
    """The request can't be honoured as it is: status 400, 413 or 422, or refused before sending."""


class ContextLengthError(InvalidRequestError):
    """The input is longer than the model's context."""


class ContentFilterError(InvalidRequestError):
    """The provider refused the input by its content policy."""


class AuthenticationError(ApiError):
    """The key is missing or not accepted: status 401."""


class PermissionDeniedError(ApiError):
    """The key is valid but may not do this: status 403."""


class NotFoundError(ApiError):
    """No such route or object: status 404."""


class ModelNotFoundError(NotFoundError):
    """The endpoint doesn't serve the model asked for."""


class RateLimitError(ApiError):
    """Too many requests, or a quota is used up: status 429. `retry_after` says when to return."""

    transient = True


class ServerError(ApiError):
    """The server failed: status 5xx."""

    transient = True


class OverloadedError(ServerError):
    """The server is overloaded or still loading: status 503 or 529."""


class ApiConnectionError(ApiError, ConnectionError):
    """The endpoint could not be reached, or the connection broke before a whole answer."""

    transient = True


class ApiTimeoutError(ApiError, TimeoutError):
    """The answer did not come within the call's `timeout`."""

    transient = True


class StreamInterruptedError(ApiError):
    """A stream ended before its end. `partial` is the answer so far."""

    transient = True

    def __init__(
        self, message: str = "", *, partial: ChatCompletionResponse | None = None, **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.partial = partial


class InvalidResponseError(ApiError):
    """The answer is not what the protocol says it is."""


class QueueFullError(ApiError):
    """`queue_size` calls are waiting already; this one was not taken."""

    transient = True


class CircuitOpenError(ApiError):
    """Every usable endpoint failed too often and rests. `retry_at`: when one is tried again.

    `retry_at` is seconds since the epoch (`time.time()`); `retry_after` the seconds until then.
    """

    transient = True

    def __init__(self, message: str = "", *, retry_at: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_at = retry_at


class BackendClosedError(ApiError):
    """`close()` was called on this back end: make a new one."""
