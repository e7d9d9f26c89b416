"""JSON as it is sent and received: strict in what we send, patient with what comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..errors import InvalidRequestError

_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def _strict_loads(data: bytes) -> Any:
    """Do what json.loads does, without looking for an encoding and for white space first."""
    text = data.decode()
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


_fast_loads: Callable[[bytes], Any] = _strict_loads
with suppress(ImportError):
    from orjson import loads as _fast_loads

__all__ = ["decode", "encode"]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def encode(data: Any) -> bytes:
    """Return `data` as UTF-8 JSON.

    Raises:
        InvalidRequestError: It holds NaN, an infinity, a lone surrogate, or something that JSON
            has no word for.
    """
    try:
        return _encode(data).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"the request can't be written as JSON ({error}): give numbers, text, lists and "
            "dictionaries only, and no NaN"
        ) from error


def decode(data: bytes) -> Any:
    """Read JSON from bytes; bytes that are not UTF-8 become U+FFFD.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return _fast_loads(data)
    except (ValueError, RecursionError):
        # Garbled bytes, NaN and integers of more than 64 bits are for the standard library.
        try:
            return json.loads(data.decode("utf-8-sig", "replace"))
        except RecursionError:
            raise ValueError("nested too deeply") from None
