"""What calls cost: list prices from `prices.json`, or the caller's own; unknown is None."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .errors import ConfigurationError
from .types import Usage

__all__ = ["Price", "PriceList", "cache_writes", "read_prices"]

_FIELDS = ("input", "output", "cached_input", "cache_write")


class Price(NamedTuple):
    """USD per million tokens; None where the provider has no such price."""

    input: float
    output: float | None
    cached_input: float | None = None
    cache_write: float | None = None

    def cost(self, usage: Usage, written: int = 0) -> float | None:
        """Return the cost of an answer in USD; None where a price that it needs is not known.

        Args:
            usage: Its tokens.
            written: How many of the prompt's were written to a cache that costs extra.
        """
        if usage.completion_tokens and self.output is None:
            return None
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        written = min(written, usage.prompt_tokens - cached)
        plain = usage.prompt_tokens - cached - written
        total = plain * self.input + usage.completion_tokens * (self.output or 0.0)
        total += cached * (self.input if self.cached_input is None else self.cached_input)
        total += written * (self.input if self.cache_write is None else self.cache_write)
        return total / 1_000_000


def cache_writes(raw: Any) -> int:
    """Return how many tokens an answer says were written to a cache (Anthropic's name for it)."""
    usage = raw.get("usage") if isinstance(raw, Mapping) else None
    written = usage.get("cache_creation_input_tokens") if isinstance(usage, Mapping) else None
    return written if isinstance(written, int) else 0


def read_prices(value: Any) -> dict[str, Price]:
    """Read the caller's `prices`: a model's name to {"input", "output", "cached_input", …}.

    A pair (input, output) will do, too. USD per million tokens.

    Raises:
        ConfigurationError: It is of another shape.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"prices: {type(value).__name__} given; it is a dictionary like "
            '{"model": {"input": 0.15, "output": 0.6}}, in USD per million tokens'
        )
    return {str(model): _price(str(model), entry) for model, entry in value.items()}


def _price(model: str, entry: Any) -> Price:
    if isinstance(entry, (list, tuple)) and len(entry) == 2:
        entry = {"input": entry[0], "output": entry[1]}
    where = f"prices[{model!r}]"
    if not isinstance(entry, Mapping) or "input" not in entry:
        raise ConfigurationError(
            f'{where}: {entry!r:.80} given; it is {{"input": …, "output": …}} or a pair, in USD '
            "per million tokens"
        )
    for name, number in entry.items():
        if name not in _FIELDS:
            raise ConfigurationError(f"{where}: no price {name!r}; there are {', '.join(_FIELDS)}")
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not is_number or not 0 <= number < float("inf"):
            raise ConfigurationError(f"{where}.{name}: {number!r} is no price; give USD, 0 or more")
    return Price(*(entry.get(name) for name in _FIELDS))  # type: ignore[arg-type]


class PriceList:
    """The prices of one back end's models; the file is read when the first price is asked for."""

    __slots__ = ("_known", "_own", "_provider")

    def __init__(self, provider: str, own: Mapping[str, Price]) -> None:
        self._provider = provider
        self._own = own
        self._known: dict[str, Price] | None = None

    def find(self, *models: str | None) -> Price | None:
        """Return the price of the first of the names that has one."""
        known = self._known
        if known is None:
            self._known = known = {**_listed(self._provider), **self._own}
        for model in models:
            if model:
                price = known.get(model)
                if price is not None:
                    return price
        return None


def _listed(provider: str) -> dict[str, Price]:
    text = Path(__file__).with_name("prices.json").read_text(encoding="utf-8")
    section = json.loads(text).get(provider)
    return read_prices(section["models"]) if isinstance(section, dict) else {}
