"""What tokens cost, where the caller says so."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError

if TYPE_CHECKING:
    from .types import Usage

__all__ = ["Price", "cost_of", "read_prices"]

_TOKENS = 1e6


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens; `cached` is that of prompt tokens that came from a cache."""

    prompt: float
    completion: float
    cached: float


def read_prices(value: Any) -> dict[str, Price]:
    """Check the setting `prices`: {model or pattern: {"prompt", "completion", "cached"}}.

    Raises:
        ConfigurationError: It is of another shape; the message names the entry.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"prices: {type(value).__name__} given; it is a dictionary like "
            '{"gpt-4o*": {"prompt": 2.5, "completion": 10.0}}, in USD per million tokens'
        )
    return {str(model): _price(f"prices[{model!r}]", entry) for model, entry in value.items()}


def _price(where: str, entry: Any) -> Price:
    from .settings import check_number, suggestion

    if not isinstance(entry, Mapping):
        raise ConfigurationError(
            f'{where}: {type(entry).__name__} given; it is {{"prompt": USD, "completion": USD}}'
        )
    known = ("prompt", "completion", "cached")
    for key in entry:
        if key not in known:
            raise ConfigurationError(f"{where}: no price {key!r}{suggestion(str(key), known)}")
    numbers = {key: check_number(f"{where}.{key}", number) for key, number in entry.items()}
    prompt = numbers.get("prompt", 0.0)
    return Price(prompt, numbers.get("completion", 0.0), numbers.get("cached", prompt))


def cost_of(prices: Mapping[str, Price], model: str, usage: Usage) -> float | None:
    """Return the cost of an answer in USD, None where the model has no price."""
    price = prices.get(model)
    if price is None:
        matching = (p for pattern, p in prices.items() if fnmatch.fnmatchcase(model, pattern))
        price = next(matching, None)
    if price is None:
        return None
    fresh = usage.prompt_tokens - usage.cached_tokens
    prompt = fresh * price.prompt + usage.cached_tokens * price.cached
    return (prompt + usage.completion_tokens * price.completion) / _TOKENS
