"""What the network says went wrong, in words that say what to do."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import requests
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    IncompleteRead,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from ..errors import ApiConnectionError, ApiError, ApiTimeoutError
from .clock import Clock

__all__ = ["connection_error", "is_timeout", "place_of", "reason_of"]


def is_timeout(error: BaseException) -> bool:
    """Say whether a network error means that time ran out."""
    return isinstance(error, (ReadTimeoutError, requests.ReadTimeout, TimeoutError)) or (
        isinstance(error, requests.ConnectionError) and "Read timed out" in str(error)
    )


def connection_error(error: Exception, url: str, started: float, clock: Clock) -> ApiError:
    """Return the error of ours for one that kept a request from being answered.

    Args:
        error: What requests, urllib3 or the system raised.
        url: Where the request went.
        started: When, in monotonic seconds.
        clock: Time.
    """
    place = place_of(url)
    if isinstance(error, (ConnectTimeoutError, requests.ConnectTimeout)) and not isinstance(
        error, NewConnectionError
    ):
        return ApiConnectionError(
            f"{place}: no connection within {clock.now() - started:.1f} s; is the address right, "
            "and the server up?"
        )
    if is_timeout(error):
        return ApiTimeoutError(
            f"{place}: no answer within {clock.now() - started:.1f} s; raise timeout, or ask for "
            "less"
        )
    if isinstance(error, (SSLError, requests.exceptions.SSLError)):
        return ApiConnectionError(
            f"{place}: TLS failed ({reason_of(error)}); check the address, or the CA bundle "
            "(REQUESTS_CA_BUNDLE)",
            is_transient=False,
        )
    if isinstance(error, (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError)):
        return ApiConnectionError(f"{place}: not an address; check api_base", is_transient=False)
    if isinstance(error, (NewConnectionError, ConnectionRefusedError, requests.ConnectionError)):
        return ApiConnectionError(
            f"{place}: can't be reached ({reason_of(error)}); is the address right, and the server "
            "up?"
        )
    if isinstance(error, (ProtocolError, IncompleteRead)):
        return ApiConnectionError(
            f"{place}: the connection broke before an answer ({reason_of(error)})"
        )
    return ApiConnectionError(f"{place}: {reason_of(error)}")


def place_of(url: str) -> str:
    """Return scheme, host and path of a URL: no credentials, no query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


_ADDRESSES = re.compile(r"<[^<>]* at 0x[0-9a-f]+>:? ?|\w*Connection(Pool)?\([^)]*\):? ?")


def reason_of(error: BaseException) -> str:
    """Return the innermost cause of a network error, in a few words."""
    while True:
        inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        inner = inner or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _ADDRESSES.sub("", text)[:200].strip(" .:") or type(error).__name__
