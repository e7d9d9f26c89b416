"""The stream of Anthropic's Messages API: events in, chunks and the whole message out.

https://platform.claude.com/docs/en/build-with-claude/streaming. Blocks are built up by their index;
a message that came in pieces ends up as the one that would have come whole, signatures and
citations included, so that it can go back in the next turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

from api_backends.errors import InvalidResponseError
from api_backends.types import ChatCompletionResponse, StreamChunk, ToolCallDelta

from .anthropic_answers import finish_reason_of, not_an_answer, read_message
from .anthropic_errors import error_in

__all__ = ["MessageStreamReader"]

_EventReader = Callable[[Any, dict[str, Any]], "StreamChunk | None"]

# The field of a block that a delta adds text to: type of the block, field of block and of delta.
_TEXT_DELTAS = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "compaction_delta": ("compaction", "content"),
}


class _Block:
    """A content block as far as it has come."""

    __slots__ = ("call", "data", "kind", "parts", "written")

    def __init__(self, data: dict[str, Any], call: int | None) -> None:
        self.data = dict(data)
        self.kind = data.get("type")
        self.parts: dict[str, list[str]] = {}
        self.written: list[str] = []  # the JSON of `input`
        self.call = call  # its place among the calls of the caller's tools

    def add(self, field: str, text: str) -> None:
        parts = self.parts.get(field)
        if parts is None:
            began = self.data.get(field)
            parts = self.parts[field] = [began] if began and isinstance(began, str) else []
        parts.append(text)

    def whole(self) -> dict[str, Any]:
        """Return the block as an answer in one piece holds it."""
        data = dict(self.data)
        for field, parts in self.parts.items():
            data[field] = "".join(parts)
        text = "".join(self.written)
        if text:
            try:
                data["input"] = json.loads(text)
            except ValueError:
                # Cut short. An object is wanted there when the turn goes back; this wrapping is
                # the one that Anthropic recommends for what is no JSON.
                data["input"] = {"INVALID_JSON": text}
        return data


class MessageStreamReader:
    """Reads the events of one answer.

    Args:
        backend: Name of the back end, for results and errors.

    Attributes:
        finished: Whether `message_stop` has come.
    """

    __slots__ = (
        "_blocks",
        "_by_index",
        "_calls",
        "_last",
        "_message",
        "_parts",
        "_role",
        "_usage",
        "backend",
        "finished",
    )

    def __init__(self, *, backend: str = "") -> None:
        self.backend = backend
        self.finished = False
        self._begin()

    def _begin(self) -> None:
        self._message: dict[str, Any] | None = None
        self._usage: dict[str, Any] = {}
        self._blocks: list[_Block] = []
        self._by_index: dict[Any, _Block] = {}
        self._parts: list[str] = []
        self._calls = 0
        self._role: str | None = "assistant"  # said once, with the first chunk
        self._last: Any = None

    def read(self, event: Any, /) -> StreamChunk | None:
        """Return what an event adds, None for one that adds nothing to what the caller sees.

        Raises:
            ApiError: The event reports an error.
            InvalidResponseError: The event is not one of this protocol.
        """
        if event.__class__ is not dict:
            raise not_an_answer(event, self.backend)
        kind = event.get("type")
        if self.finished:
            return None  # the answer is complete: what follows is none of it
        if kind == "content_block_delta":
            return self._delta(event)
        if kind == "error" or (event.get("error") and kind not in self._READERS):
            error = error_in(event, backend=self.backend)
            assert error is not None
            raise error
        if not isinstance(kind, str):
            raise not_an_answer(event, self.backend)
        reader = self._READERS.get(kind)
        # `ping` says nothing, and types that are not known yet are to be passed over.
        return reader(self, event) if reader is not None else None

    def end(self, saw_done: bool) -> StreamChunk:
        """Return the last chunk, with the reason for the end and the usage.

        Raises:
            InvalidResponseError: The stream held no message.
        """
        self.finished = self.finished or saw_done
        if self._message is None:
            raise InvalidResponseError(
                f"{self.backend or 'the server'} sent a stream without a message in it: check that "
                "the base URL is that of Anthropic's Messages API",
                backend=self.backend or None,
            )
        answer = self.response()
        return StreamChunk(
            answer.id,
            answer.model,
            role=self._take_role(),
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            done=True,
            raw=self._last,
            _parts=self._parts,
            _end=len(self._parts),
        )

    def response(self) -> ChatCompletionResponse:
        """Return the answer so far; after the end, what a call without a stream would return.

        `raw` is put together in the shape of such an answer. `finish_reason` is None while the
        server has not said why the answer ended.
        """
        raw: dict[str, Any] = dict(self._message or {"type": "message", "role": "assistant"})
        raw.pop("error", None)
        raw["content"] = [block.whole() for block in self._blocks]
        if self._usage:
            raw["usage"] = dict(self._usage)
        written = {
            place: "".join(block.written)
            for place, block in enumerate(self._blocks)
            if block.written
        }
        return read_message(raw, backend=self.backend, arguments=written)

    # -- events ---------------------------------------------------------------------------------

    def _started(self, event: dict[str, Any]) -> StreamChunk | None:
        message = event.get("message")
        if not isinstance(message, dict):
            raise not_an_answer(event, self.backend)
        if self._message is not None:
            if self._message.get("id") == message.get("id"):
                return None  # said twice
            self._begin()  # a gateway asked again: this answer counts, not what came before
        self._message = {**message, "type": "message"}
        self._note_usage(message.get("usage"))
        chunk = None
        began = message.get("content")
        for place, block in enumerate(began if isinstance(began, list) else ()):
            chunk = self._begun({"index": place, "content_block": block}) or chunk
        return chunk

    def _begun(self, event: dict[str, Any]) -> StreamChunk | None:
        data = event.get("content_block")
        if not isinstance(data, dict) or self._message is None:
            raise not_an_answer(event, self.backend)
        block = self._open(event.get("index"), data)
        if block.call is not None:
            identity, name = data.get("id"), data.get("name")
            piece = ToolCallDelta(
                block.call,
                identity if isinstance(identity, str) else "",
                name if isinstance(name, str) else "",
            )
            return self._chunk(event, calls=[piece])
        to = data.get("to")
        if block.kind == "fallback" and isinstance(to, dict) and isinstance(to.get("model"), str):
            self._message["model"] = to["model"]  # who goes on where another refused
        field = "thinking" if block.kind == "thinking" else "text"
        text = data.get(field)
        if block.kind in ("text", "thinking") and text and isinstance(text, str):
            return self._said(event, block.kind == "thinking", text)
        return None

    def _open(self, index: Any, data: dict[str, Any]) -> _Block:
        call = None
        if data.get("type") == "tool_use":
            call, self._calls = self._calls, self._calls + 1
        block = _Block(data, call)
        self._blocks.append(block)
        self._by_index[index if isinstance(index, int) else len(self._blocks) - 1] = block
        return block

    def _delta(self, event: dict[str, Any]) -> StreamChunk | None:
        delta = event.get("delta")
        if delta.__class__ is not dict or self._message is None:
            raise not_an_answer(event, self.backend)
        kind = delta.get("type")
        index = event.get("index")
        block = self._by_index.get(index if isinstance(index, int) else len(self._blocks) - 1)
        known = _TEXT_DELTAS.get(kind) if isinstance(kind, str) else None
        if known is not None:
            name, field = known
            text = delta.get(field)
            if not isinstance(text, str):
                raise not_an_answer(event, self.backend)
            if block is None:  # gateways forget to begin it
                block = self._open(index, {"type": name, field: ""})
            if block.kind != name:
                return None  # of a kind not known here
            block.add(field, text)
            return self._said(event, name == "thinking", text) if name != "compaction" else None
        if block is None:
            raise not_an_answer(event, self.backend)
        if kind == "input_json_delta":
            return self._wrote(event, block, delta.get("partial_json"))
        if kind == "signature_delta":
            block.data["signature"] = delta.get("signature")
        elif kind == "citations_delta":
            cited = block.data.get("citations")
            block.data["citations"] = [*(cited if isinstance(cited, list) else []),
                                       delta.get("citation")]  # fmt: skip
        return None

    def _wrote(self, event: dict[str, Any], block: _Block, text: Any) -> StreamChunk | None:
        if not isinstance(text, str):
            raise not_an_answer(event, self.backend)
        if not text:
            return None
        block.written.append(text)
        if block.call is None:
            return None  # a call of Anthropic's own tools
        return self._chunk(event, calls=[ToolCallDelta(block.call, arguments=text)])

    def _stopped(self, event: dict[str, Any]) -> StreamChunk | None:
        index = event.get("index")
        block = self._by_index.get(index) if isinstance(index, int) else None
        if block is None or block.call is None or block.written:
            return None
        # Its input came whole with its beginning, or it has none.
        given = block.data.get("input")
        text = json.dumps({} if given is None else given, ensure_ascii=False)
        block.written.append(text)
        return self._chunk(event, calls=[ToolCallDelta(block.call, arguments=text)])

    def _ending(self, event: dict[str, Any]) -> StreamChunk | None:
        if self._message is None:
            raise not_an_answer(event, self.backend)
        delta = event.get("delta")
        self._message.update(delta if isinstance(delta, dict) else {})
        self._note_usage(event.get("usage"))
        for name, value in event.items():
            if name not in ("type", "delta", "usage", "error"):
                self._message[name] = value
        self._message["type"] = "message"
        reason = finish_reason_of(self._message.get("stop_reason"))
        return self._chunk(event, finish=reason) if reason else None

    def _ended(self, event: dict[str, Any]) -> None:
        if self._message is None:
            raise not_an_answer(event, self.backend)
        self.finished = True

    # -- parts ----------------------------------------------------------------------------------

    def _note_usage(self, usage: Any) -> None:
        # The counts at the end are of all of the answer; some servers repeat a part of them only.
        if isinstance(usage, dict):
            known = {name: count for name, count in usage.items() if count is not None}
            self._usage = {**self._usage, **known} if self._usage else dict(usage)

    def _said(self, event: dict[str, Any], is_thought: bool, text: str) -> StreamChunk | None:
        if not text:
            return None
        if is_thought:
            return self._chunk(event, thought=text)
        self._parts.append(text)
        return self._chunk(event, text)

    def _chunk(
        self,
        event: dict[str, Any],
        text: str = "",
        *,
        calls: list[ToolCallDelta] | None = None,
        thought: str | None = None,
        finish: str | None = None,
    ) -> StreamChunk:
        self._last = event
        message = self._message or {}
        identity, model = message.get("id"), message.get("model")
        return StreamChunk(
            identity if identity.__class__ is str else "",
            model if model.__class__ is str else "",
            text,
            self._take_role(),
            calls,
            thought,
            finish,
            None,
            False,
            event,
            self._parts,
            len(self._parts),
        )

    def _take_role(self) -> str | None:
        role, self._role = self._role, None
        return role

    # By the event's type; made once the functions are there.
    _READERS: ClassVar[dict[str, _EventReader]] = {
        "message_start": _started,
        "content_block_start": _begun,
        "content_block_stop": _stopped,
        "message_delta": _ending,
        "message_stop": _ended,
    }
