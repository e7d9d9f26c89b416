"""How much a model reads: from the providers' model pages, in `context_windows.json`."""

from __future__ import annotations

import difflib
import json
import re
from functools import lru_cache
from pathlib import Path

__all__ = ["context_window", "known_models", "nearest_models"]

_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{4})$")


@lru_cache(maxsize=1)
def _windows() -> dict[str, dict[str, int]]:
    text = Path(__file__).with_name("context_windows.json").read_text(encoding="utf-8")
    return {name: rows for name, rows in json.loads(text).items() if isinstance(rows, dict)}


def context_window(provider: str, model: str) -> int | None:
    """Return a model's context window in tokens, None where it is not known.

    A fine-tuned model ("ft:BASE:…") and a dated one have that of what they are made from.
    """
    rows = _windows().get(provider, {})
    name = model.strip().removeprefix("openai/") if provider == "openai" else model.strip()
    if name.startswith("ft:"):
        name = name.split(":")[1]
    found = rows.get(name)
    return found if found is not None else rows.get(_DATED.sub("", name))


def known_models(provider: str) -> list[str]:
    """Return the models of a provider that are known by name."""
    return list(_windows().get(provider, {}))


def nearest_models(model: str, providers: tuple[str, ...]) -> list[str]:
    """Return up to three known models whose names come nearest to `model`."""
    names = [name for provider in providers for name in known_models(provider)]
    return difflib.get_close_matches(model.strip().lower(), names, n=3, cutoff=0.75)
