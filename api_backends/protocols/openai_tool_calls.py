"""Put the tool calls of a streamed turn together from their pieces.

By the protocol a piece says by `index` which call it continues; the first one brings the id and
the name. Servers leave the index out, count from 1 or -1, give every call the same one, repeat
the id and the name with every piece or send "" for them, or a whole call at once; whatever they
do, two calls must not run into one, nor one fall apart.
"""

from __future__ import annotations

import json
from typing import Any

from api_backends.types import ToolCallDelta

from .openai_chat import arguments_text, call_id

__all__ = ["ToolCallAssembler"]


class _Call:
    """A call as far as it has come."""

    __slots__ = ("id", "name", "parts", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        self.id = ""
        self.name = ""
        self.parts: list[str] = []

    def is_whole(self) -> bool:
        """Whether the arguments so far are complete JSON, so that another piece is another's."""
        try:
            json.loads("".join(self.parts))
        except ValueError:
            return False
        return True


class ToolCallAssembler:
    """The calls of one turn, in the order in which they began."""

    __slots__ = ("_by_id", "_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, pieces: list[Any]) -> list[ToolCallDelta]:
        """Take the `tool_calls` of a delta; return what each adds.

        The `index` of a returned piece is the call's place in the turn, whatever the server said.
        """
        return [self._continued(p) or self._add(p) for p in pieces if p.__class__ is dict]

    def add_legacy(self, piece: dict[str, Any]) -> list[ToolCallDelta]:
        """Take the `function_call` of a delta: there is only one, and it has no id."""
        return [self._add({"index": 0, "function": piece})]

    def as_wire(self) -> list[dict[str, Any]]:
        """Return the calls as a message that is not streamed holds them."""
        return [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.parts)},
            }
            for call in self._calls
        ]

    def _continued(self, piece: dict[str, Any]) -> ToolCallDelta | None:
        """Take what nearly every piece is: more arguments for the call of its index."""
        try:
            function = piece["function"]
            arguments = function["arguments"]
            if len(function) > 1 or arguments.__class__ is not str or piece.get("id"):
                return None
            call = self._by_index[piece["index"]]
        except (KeyError, TypeError):
            return None
        call.parts.append(arguments)
        return ToolCallDelta(call.position, "", "", arguments)

    def _add(self, piece: dict[str, Any]) -> ToolCallDelta:
        function = piece.get("function")
        if not isinstance(function, dict):
            custom = piece.get("custom")  # a tool that takes free text instead of JSON
            known = custom if isinstance(custom, dict) else {}
            function = {"name": known.get("name"), "arguments": known.get("input")}
        identity = call_id(piece.get("id"))
        name = function.get("name")
        if not isinstance(name, str):
            name = ""
        arguments = arguments_text(function.get("arguments"))
        call = self._call(piece.get("index"), identity, name)
        if identity and not call.id:
            call.id = identity
            self._by_id[identity] = call
        added = ""
        # A name comes whole, in pieces, or again with every piece.
        if name and name != call.name:
            added = name
            call.name += name
        if arguments:
            call.parts.append(arguments)
        return ToolCallDelta(call.position, identity, added, arguments)

    def _call(self, index: Any, identity: str, name: str) -> _Call:
        """Return the call that a piece belongs to, a new one where it begins one."""
        known = self._by_id.get(identity) if identity else None
        if index.__class__ is not int:
            if known is None and (identity or not self._calls):
                return self._begin(None)
            call = known or self._calls[-1]
            begins = known is None and bool(name) and bool(call.parts) and call.is_whole()
            return self._begin(None) if begins else call
        call_here = self._by_index.get(index)
        if call_here is None:
            # A known id under another index is the same call only if it adds no name of its own.
            return known if known is not None and not name else self._begin(index)
        if identity and call_here.id and identity != call_here.id:
            if known is not None:
                return known
            begins = bool(name) or call_here.is_whole()
        else:
            same = bool(identity) and identity == call_here.id
            begins = not same and bool(name) and bool(call_here.parts) and call_here.is_whole()
        return self._begin(index) if begins else call_here

    def _begin(self, index: int | None) -> _Call:
        call = _Call(len(self._calls))
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call
