"""Function calls whose arguments come piece by piece.

https://ai.google.dev/api/caching#FunctionCall: with `streamFunctionCallArguments` a call begins
with its name and `willContinue`; each piece after that says by a JSON path which value it brings,
or goes on with; the last one, often empty, doesn't continue.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from api_backends.errors import InvalidResponseError

__all__ = ["CallPieces"]

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\[(?:'([^']*)'|"([^"]*)")\]""")
_LONGEST = 100_000


class CallPieces:
    """The call that is being written.

    Attributes:
        call: What there is of it, in the shape of a call that comes whole.
    """

    def __init__(self, first: dict[str, Any]) -> None:
        known = first.get("args")
        self.call: dict[str, Any] = {
            **{key: value for key, value in first.items() if key != "partialArgs"},
            "args": dict(known) if isinstance(known, dict) else {},
        }
        self._unfinished: str | None = None
        self._take(first)

    @property
    def is_whole(self) -> bool:
        """Whether its last piece has come."""
        return not self.call.get("willContinue")

    def add(self, piece: dict[str, Any]) -> None:
        """Take the next piece."""
        if isinstance(piece.get("args"), dict):
            self.call["args"].update(piece["args"])
        if piece.get("id") and not self.call.get("id"):
            self.call["id"] = piece["id"]
        self._take(piece)
        if not piece.get("willContinue"):
            self.end()

    def end(self) -> None:
        """Take it that nothing more comes."""
        self.call.pop("willContinue", None)

    def _take(self, piece: dict[str, Any]) -> None:
        values = piece.get("partialArgs")
        for value in values if isinstance(values, list) else ():
            if isinstance(value, dict) and isinstance(value.get("jsonPath"), str):
                self._set(value)

    def _set(self, value: dict[str, Any]) -> None:
        path = value["jsonPath"]
        steps = _steps(path)
        if not steps:
            return
        holder: Any = self.call["args"]
        for step, following in pairwise(steps):
            held = _get(holder, step)
            if not isinstance(held, list if isinstance(following, int) else dict):
                held = [] if isinstance(following, int) else {}
                _put(holder, step, held)
            holder = held
        brought = _value(value)
        had = _get(holder, steps[-1])
        if self._unfinished == path and isinstance(had, str) and isinstance(brought, str):
            brought = had + brought
        _put(holder, steps[-1], brought)
        self._unfinished = path if value.get("willContinue") else None


def _steps(path: str) -> list[str | int]:
    """Return the names and places of a JSON path like $.recipe.steps[0]."""
    steps: list[str | int] = []
    for found in _STEP.finditer(path):
        name, place, quoted, other = found.groups()
        if place is not None:
            if len(place) > 6 or int(place) > _LONGEST:
                raise InvalidResponseError(f"a function's arguments have a place {path[:80]!r}")
            steps.append(int(place))
        else:
            steps.append(next(n for n in (name, quoted, other) if n is not None))
    # Arguments are an object: a place as the first step would be none of its.
    return steps if steps and isinstance(steps[0], str) else []


def _value(value: dict[str, Any]) -> Any:
    for key in ("stringValue", "numberValue", "boolValue"):
        if key in value:
            return value[key]
    return None


def _get(holder: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return holder[step] if step < len(holder) else None
    return holder.get(step)


def _put(holder: Any, step: str | int, value: Any) -> None:
    if isinstance(step, int):
        holder.extend([None] * (step + 1 - len(holder)))
    holder[step] = value
