"""How many tokens a text or a conversation is: counted where it can be, else an honest estimate."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from typing import Any

from .answers import TokenCount
from .base import BaseApiBackend
from .context_windows import context_window
from .errors import InvalidRequestError
from .messages import normalize_messages

__all__ = ["TokenCounting", "estimate_tokens"]

# https://github.com/openai/openai-cookbook, "How to count tokens": what frames a message.
_PER_MESSAGE, _PER_NAME, _PER_REPLY = 3, 1, 3
_IMAGE_TOKENS = 765  # a high-detail image of 1024 x 1024
_LOAD_SECONDS = 10.0  # tiktoken fetches its tables at their first use


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens a text is, from its length and its script.

    Latin text has about four characters a token; ideographs and kana about one.
    """
    dense = sum(1 for character in text if "\u2e80" <= character <= "\uffef")
    return math.ceil((len(text) - dense) / 4 + dense)


class TokenCounting(BaseApiBackend):
    """`count_tokens` and `get_context_window`."""

    _encodings: dict[str, Any]

    def get_context_window(self, model: str | None = None) -> int | None:
        """Return how many tokens a model takes in one call, None where that is not known."""
        name = self._model(model, self.get_default_model)
        return context_window(self.price_list or self.name, name) if name else None

    def count_tokens(self, messages: Any, model: str | None = None) -> TokenCount:
        """Count the tokens of a text or of messages; nothing is sent to the provider.

        With tiktoken installed text is counted by the model's own encoding (whose tables tiktoken
        fetches once); images and files are always estimated, and so is everything without it.

        Args:
            messages: A text, or messages as for `chat`.
            model: Whose tokens; this back end's default if None.

        Returns:
            An `int` whose `is_estimate` says which of the two it is, and `method` how.
        """
        name = self._model(model, self.get_default_model) or ""
        encoding = self._encoding(name)
        count = estimate_tokens if encoding is None else (lambda text: _encoded(encoding, text))
        method = "about 4 characters a token" if encoding is None else f"tiktoken {encoding.name}"
        if isinstance(messages, str):
            return TokenCount(count(messages), is_estimate=encoding is None, method=method)
        total, guessed = _PER_REPLY, 0
        for message in normalize_messages(messages):
            total += _PER_MESSAGE
            for key, value in message.items():
                texts, others = _texts(value)
                total += sum(count(text) for text in texts) + (_PER_NAME if key == "name" else 0)
                guessed += others
        is_estimate = encoding is None or bool(guessed)
        if guessed:
            method += f"; {guessed} image(s) or file(s) at {_IMAGE_TOKENS} each"
        return TokenCount(total + guessed * _IMAGE_TOKENS, is_estimate=is_estimate, method=method)

    def fits(self, messages: Any, model: str | None = None, *, reply: int = 0) -> bool | None:
        """Say whether messages and a reply of so many tokens fit; None where that isn't known."""
        window = self.get_context_window(model)
        return None if window is None else self.count_tokens(messages, model) + reply <= window

    def _encoding(self, model: str) -> Any:
        """Return tiktoken's encoding of a model; None without it, or without its tables."""
        known = self.__dict__.setdefault("_encodings", {})
        if model not in known:
            known[model] = _loaded(model)
        return known[model]


def _loaded(model: str) -> Any:
    try:
        import tiktoken
    except ImportError:
        return None
    found: list[Any] = []

    def load() -> None:
        try:
            found.append(tiktoken.encoding_for_model(model))
        except KeyError:
            found.append(tiktoken.get_encoding("o200k_base"))

    # On a thread, since tiktoken fetches its tables without a time-out; an error there (no
    # network, a broken cache) means an estimate here.
    thread = threading.Thread(target=_silently, args=(load,), daemon=True, name="tiktoken-tables")
    thread.start()
    thread.join(_LOAD_SECONDS)
    return found[0] if found else None


def _silently(load: Any) -> None:
    import logging

    try:
        load()
    except Exception as error:  # noqa: BLE001 - whatever keeps the tables away: we estimate
        logging.getLogger(__name__).info("tiktoken's tables are not there (%s): estimating", error)


def _encoded(encoding: Any, text: str) -> int:
    return len(encoding.encode(text, disallowed_special=()))


def _texts(value: Any) -> tuple[list[str], int]:
    """Return the texts within a message's field, and the number of things that are none."""
    if isinstance(value, str):
        return [value], 0
    if isinstance(value, Mapping):
        kind = value.get("type")
        if kind in ("image_url", "file", "input_audio"):
            return [], 1
        if kind == "text":
            return _texts(value.get("text"))
        return [json.dumps(value, ensure_ascii=False, default=str)], 0
    if isinstance(value, (list, tuple)):
        pairs = [_texts(item) for item in value]
        return [text for texts, _ in pairs for text in texts], sum(n for _, n in pairs)
    if value is None:
        return [], 0
    raise InvalidRequestError(f"messages: {type(value).__name__} is nothing that has tokens")
