"""The texts that a caller wants embedded, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import InvalidRequestError

__all__ = ["checked_texts"]


def checked_texts(texts: Any) -> list[str]:
    """Return the texts to embed as a list, one text as a list of one.

    Raises:
        InvalidRequestError: There is none, or one is no text.
    """
    listed = [texts] if isinstance(texts, str) else texts
    if not isinstance(listed, Sequence) or isinstance(listed, (bytes, bytearray)) or not listed:
        raise InvalidRequestError(f"texts: {texts!r:.80}; give a string, or a list of at least one")
    for index, text in enumerate(listed):
        if not isinstance(text, str) or not text.strip():
            raise InvalidRequestError(
                f"texts[{index}]: {text!r:.80} is no text; every entry is a string with something "
                "in it"
            )
    return list(listed)
