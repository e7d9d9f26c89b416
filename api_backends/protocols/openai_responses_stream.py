"""The Responses API's streams: one event after the other to one chunk after the other.

https://platform.openai.com/docs/api-reference/responses-streaming. Unlike the chunks of chat
completions the events are typed, items are numbered, and the last event holds the whole answer.
"""

from __future__ import annotations

from typing import Any

from ..errors import InvalidResponseError
from ..types import ChatCompletionResponse, StreamChunk, ToolCallDelta
from .openai_chat import call_id
from .openai_errors import error_in
from .openai_responses import read_response, reported_error

__all__ = ["ResponsesStreamReader"]

_LAST = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


class ResponsesStreamReader:
    """Reads the events of one streamed answer.

    Attributes:
        finished: Whether the event that ends an answer has been read.
    """

    def __init__(self, *, backend: str = "") -> None:
        self.backend = backend
        self.finished = False
        self._head: dict[str, Any] = {}
        self._whole: dict[str, Any] | None = None
        self._items: dict[int, dict[str, Any]] = {}
        self._done: set[int] = set()
        self._pieces: dict[tuple[int, str, int], list[str]] = {}
        self._calls: dict[int, ToolCallDelta] = {}
        self._parts: list[str] = []
        self._last: dict[str, Any] | None = None

    def read(self, event: Any, /) -> StreamChunk | None:
        """Return what an event adds; None for one that adds nothing.

        Raises:
            ApiError: The event reports an error.
            InvalidResponseError: The event is not one of this protocol.
        """
        if self.finished:
            return None  # an answer has one end
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str):
            error = error_in(event, backend=self.backend)
            raise error or InvalidResponseError(
                f"{self.backend or 'the server'} sent an event without a type: check that the "
                "base URL is that of an API that has the Responses API",
                backend=self.backend or None,
                body=event,
            )
        self._last = event
        if kind == "error":
            said = event.get("error")
            reported = said if isinstance(said, dict) else {k: event.get(k) for k in _ERROR_KEYS}
            error = reported_error({"status": "failed", "error": reported}, self.backend)
            assert error is not None
            raise error
        response = event.get("response")
        if isinstance(response, dict):
            return self._whole_answer(kind, response)
        index = event.get("output_index")
        return self._piece(kind, event, index if index.__class__ is int else 0)

    def _whole_answer(self, kind: str, response: dict[str, Any]) -> StreamChunk | None:
        begins = not self._head
        self._head = response
        if kind not in _LAST:
            return self._chunk(role="assistant") if begins else None
        self._whole = response
        if kind == "response.failed":
            error = reported_error({"status": "failed", **response}, self.backend)
            if error is not None:
                raise error
        self.finished = True
        # Text that no event brought; a server that doesn't stream sends all of it here.
        output = response.get("output")
        missing = [
            self._item_done(place, item)
            for place, item in enumerate(output if isinstance(output, list) else ())
            if isinstance(item, dict) and place not in self._done
        ]
        return _merged([chunk for chunk in missing if chunk is not None])

    def _piece(self, kind: str, event: dict[str, Any], index: int) -> StreamChunk | None:
        delta = event.get("delta")
        text = delta if isinstance(delta, str) else ""
        part = event.get("content_index", event.get("summary_index"))
        if kind == "response.output_text.delta":
            return self._add(index, "text", part, text)
        if kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            name = "summary" if "summary" in kind else "thought"
            return self._add(index, name, part, text)
        if kind in (
            "response.function_call_arguments.delta",
            "response.custom_tool_call_input.delta",
        ):
            return self._add(index, "call", None, text)
        if kind == "response.refusal.delta":
            self._add(index, "refusal", part, text)
            return None
        item = event.get("item")
        if isinstance(item, dict) and kind == "response.output_item.added":
            self._items[index] = {**item}
            return self._call_begins(index, item)
        if isinstance(item, dict) and kind == "response.output_item.done":
            return self._item_done(index, item)
        return None

    def _add(self, index: int, name: str, part: Any, text: str) -> StreamChunk | None:
        """Take a piece of one part of an item."""
        self._items.setdefault(index, {"type": _ITEM_OF[name]})
        self._keep(index, name, part, text)
        if name == "text":
            if text:
                self._parts.append(text)
            return self._chunk(text)
        if name == "refusal":
            return None
        if name != "call":
            return self._chunk(reasoning=text or None)
        call = self._call(index, self._items[index])
        return self._chunk(calls=[ToolCallDelta(call.index, call.id, "", text)])

    def _keep(self, index: int, name: str, part: Any, text: str) -> None:
        place = (index, name, part if part.__class__ is int else 0)
        self._pieces.setdefault(place, []).append(text)

    def _rest_of(self, index: int, name: str, text: str) -> str:
        """Return the end of a text of which the beginning may have come in pieces."""
        # By length over all parts: some servers number parts one way in events, another in items.
        places = [place for place in self._pieces if place[:2] == (index, name)]
        rest = text[sum(len(piece) for place in places for piece in self._pieces[place]) :]
        self._keep(index, name, max((place[2] for place in places), default=0), rest)
        return rest

    def _call(self, index: int, item: dict[str, Any]) -> ToolCallDelta:
        if index not in self._calls:
            identity = call_id(item.get("call_id")) or call_id(item.get("id"))
            name = item.get("name")
            self._calls[index] = ToolCallDelta(
                len(self._calls), identity, name if isinstance(name, str) else ""
            )
        return self._calls[index]

    def _call_begins(self, index: int, item: dict[str, Any]) -> StreamChunk | None:
        if item.get("type") not in ("function_call", "custom_tool_call"):
            return None
        call = self._call(index, item)
        given = item.get("arguments") or item.get("input")
        said = given if isinstance(given, str) else ""
        self._keep(index, "call", 0, said)
        return self._chunk(calls=[ToolCallDelta(call.index, call.id, call.name, said)])

    def _item_done(self, index: int, item: dict[str, Any]) -> StreamChunk | None:
        """Keep an item as it is in the end; return what its pieces had left out."""
        before = self._items.get(index)
        self._items[index] = item
        self._done.add(index)
        kind = item.get("type")
        if kind == "message":
            return self._rest(index, "text", _listed(item.get("content")))
        if kind == "reasoning":
            chunks = [
                self._rest(index, "summary", _listed(item.get("summary"))),
                self._rest(index, "thought", _listed(item.get("content"))),
            ]
            return _merged([chunk for chunk in chunks if chunk is not None])
        if kind in ("function_call", "custom_tool_call"):
            given = item.get("arguments") or item.get("input")
            new = None if before is not None else self._call_begins(index, item)
            rest = self._rest_of(index, "call", given) if isinstance(given, str) else ""
            if new is not None or not rest:
                return new
            call = self._call(index, item)
            return self._chunk(calls=[ToolCallDelta(call.index, call.id, "", rest)])
        return None

    def _rest(self, index: int, name: str, parts: list[Any]) -> StreamChunk | None:
        """Return the text of the parts that had not come in pieces."""
        texts = [p.get("text") for p in parts if isinstance(p, dict)]
        whole = "".join(text for text in texts if isinstance(text, str))
        rest = self._rest_of(index, name, whole)
        if not rest:
            return None
        if name != "text":
            return self._chunk(reasoning=rest)
        self._parts.append(rest)
        return self._chunk(rest)

    def end(self, saw_done: bool) -> StreamChunk:
        """Return the last chunk, with the reason for the end and the usage.

        Raises:
            InvalidResponseError: The stream said that it is complete but held no answer.
        """
        if not self._head and not self._items:
            raise InvalidResponseError(
                f"{self.backend or 'the server'} sent a stream without an answer in it",
                backend=self.backend or None,
            )
        self.finished = self.finished or saw_done
        if self._whole is not None and not self._whole.get("output"):
            error = reported_error(self._whole, self.backend)
            if error is not None:
                raise error
        answer = self.response()
        chunk = self._chunk()
        chunk.finish_reason, chunk.usage, chunk.done = answer.finish_reason, answer.usage, True
        return chunk

    def response(self) -> ChatCompletionResponse:
        """Return the answer so far; after the end, what a call without a stream would return."""
        whole = self._whole
        if whole is None or not whole.get("output") or not isinstance(whole["output"], list):
            items = [self._item(index) for index in sorted(self._items)]
            whole = {**self._head, **(whole or {}), "object": "response", "output": items}
            if self._whole is None:
                whole["status"] = "completed" if self.finished else "in_progress"
        if whole.get("status") == "failed":
            whole = {**whole, "status": "in_progress"}
        if whole.get("error"):
            whole = {**whole, "error": None}  # raised by `read` or `end`; this is what came
        return read_response(whole, backend=self.backend)

    def _item(self, index: int) -> dict[str, Any]:
        """Return an item as it is so far."""
        item = self._items[index]
        if index in self._done:
            return item
        built: dict[str, Any] = {**item, "content": [], "summary": []}
        for (place, name, _), pieces in sorted(self._pieces.items()):
            if place != index:
                continue
            text = "".join(pieces)
            if name == "call":
                built["input" if item.get("type") == "custom_tool_call" else "arguments"] = text
            else:
                field = "refusal" if name == "refusal" else "text"
                key = "summary" if name == "summary" else "content"
                built[key].append({"type": _PART_TYPES[name], field: text})
        return built

    def _chunk(
        self,
        text: str = "",
        *,
        role: str | None = None,
        reasoning: str | None = None,
        calls: list[ToolCallDelta] | None = None,
    ) -> StreamChunk:
        head, parts = self._head, self._parts
        identity, model = head.get("id"), head.get("model")
        return StreamChunk(
            identity if isinstance(identity, str) else "",
            model if isinstance(model, str) else "",
            text,
            role,
            calls,
            reasoning,
            raw=self._last,
            _parts=parts,
            _end=len(parts),
        )


_ERROR_KEYS = ("message", "code", "param", "error_type")
_ITEM_OF = {
    "text": "message",
    "refusal": "message",
    "summary": "reasoning",
    "thought": "reasoning",
    "call": "function_call",
}


_PART_TYPES = {
    "text": "output_text",
    "refusal": "refusal",
    "summary": "summary_text",
    "thought": "reasoning_text",
}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _merged(chunks: list[StreamChunk]) -> StreamChunk | None:
    """Return chunks that one event gave rise to as one."""
    if len(chunks) < 2:
        return chunks[0] if chunks else None
    last = chunks[-1]
    last.delta = "".join(chunk.delta for chunk in chunks)
    last.reasoning = "".join(chunk.reasoning or "" for chunk in chunks) or None
    last.tool_calls = [call for chunk in chunks for call in chunk.tool_calls or ()] or None
    return last
