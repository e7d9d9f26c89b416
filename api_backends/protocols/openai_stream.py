"""A streamed chat answer of OpenAI's protocol: events to chunks, and to the whole answer.

https://platform.openai.com/docs/api-reference/chat-streaming. The reader takes the parsed events
one by one and keeps what the whole answer is made of, so that at the end `response()` is what a
call that is not streamed would have returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidResponseError
from api_backends.types import StreamChunk, ToolCallDelta

from .openai_chat import finish_reason_of, read_chat, reasoning_of, split_content
from .openai_errors import error_in
from .openai_tool_calls import ToolCallAssembler

if TYPE_CHECKING:
    from api_backends.types import ChatCompletionResponse

__all__ = ["ChatStreamReader", "chunks_of"]

_PASSING = frozenset(("choices", "usage", "object", "obfuscation", "p", "x_groq", "error"))
_PLAIN = frozenset((0, None))  # the index of the choice that counts, or none given


class _Turn:
    """What one choice of a stream has said so far."""

    __slots__ = ("audio", "calls", "details", "finish", "parts", "reasoning", "refusal", "role")

    def __init__(self) -> None:
        self.role = ""
        self.parts: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.details: list[dict[str, Any]] = []
        self.audio: dict[str, Any] = {}
        self.calls = ToolCallAssembler()
        self.finish: str | None = None

    def take(
        self, choice: dict[str, Any]
    ) -> tuple[str, str | None, list[ToolCallDelta] | None, str, bool]:
        """Add a choice of an event; return its text, role, calls, reasoning and whether it ends."""
        delta = choice.get("delta")
        if delta.__class__ is not dict:
            # Some answer with the whole message where a piece is expected.
            delta = choice.get("message")
            if delta.__class__ is not dict:
                delta = {}
        text = delta.get("content")
        thought = reasoning_of(delta)
        if text.__class__ is not str:
            text, thinking = split_content(text)
            thought = thought or thinking
        if delta.get("audio") and isinstance(delta["audio"], dict):
            text = self._hear(delta["audio"], text)
        if text:
            self.parts.append(text)
        if thought:
            self.reasoning.append(thought)
        details = delta.get("reasoning_details")
        if details and details.__class__ is list:
            self.details += [detail for detail in details if detail.__class__ is dict]
        refusal = delta.get("refusal")
        if refusal and refusal.__class__ is str:
            self.refusal.append(refusal)
        role = delta.get("role")
        if role and role.__class__ is str:
            self.role = self.role or role
        else:
            role = None
        pieces = delta.get("tool_calls")
        added = self.calls.add(pieces) if pieces and isinstance(pieces, list) else None
        if delta.get("function_call") and isinstance(delta["function_call"], dict):
            added = self.calls.add_legacy(delta["function_call"])
        finish = choice.get("finish_reason")
        ended = bool(finish) and finish.__class__ is str
        if ended and self.finish in (None, "stop"):
            # Some repeat the reason; a lesser one at the end must not replace what was said.
            self.finish = finish
        return text, role, added or None, thought, ended

    def message(self) -> dict[str, Any]:
        """Return the message as an answer that is not streamed has it."""
        text = "".join(self.parts)
        message: dict[str, Any] = {"role": self.role or "assistant", "content": text or None}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.details:
            message["reasoning_details"] = _joined(self.details)
        if self.refusal:
            message["refusal"] = "".join(self.refusal)
        if self.audio:
            message["audio"] = self.audio
        if self.calls:
            message["tool_calls"] = self.calls.as_wire()
        return message

    def _hear(self, audio: dict[str, Any], text: str) -> str:
        for key, value in audio.items():
            if key in ("data", "transcript") and isinstance(value, str):
                self.audio[key] = self.audio.get(key, "") + value
            else:
                self.audio[key] = value
        said = audio.get("transcript")
        return said if not text and isinstance(said, str) else text


class ChatStreamReader:
    """Reads the events of one streamed chat answer.

    Args:
        backend: Name of the back end, for results and errors.
        asks_usage: Whether the request asked for token counts.

    Attributes:
        finished: Whether the server has said that the answer is complete.
    """

    __slots__ = (
        "_asks_usage",
        "_first",
        "_id",
        "_known",
        "_last",
        "_model",
        "_others",
        "_parts",
        "_turn",
        "_usage",
        "backend",
        "finished",
    )

    def __init__(self, *, backend: str = "", asks_usage: bool = False) -> None:
        self.backend = backend
        self.finished = False
        self._asks_usage = asks_usage
        self._id = ""
        self._model = ""
        self._known = False  # id and model, so that the short way need not look for them
        self._turn = _Turn()
        self._parts = self._turn.parts
        self._others: dict[int, _Turn] = {}
        self._usage: dict[str, Any] | None = None
        self._first: dict[str, Any] | None = None
        self._last: dict[str, Any] | None = None

    @property
    def awaits_usage(self) -> bool:
        """Whether token counts were asked for and have not come."""
        return self._asks_usage and self._usage is None

    def read(self, event: dict[str, Any], /) -> StreamChunk | None:
        """Return what an event adds, or None for one that adds nothing by itself.

        None are usage and other remarks without a choice: they come with the last chunk. Events
        of further choices (`n` above 1) add nothing to the text and are found in `raw`.

        Raises:
            ApiError: The event reports an error.
            InvalidResponseError: The event is not one of this protocol.
        """
        # Nearly every event adds a piece of text and nothing else: it takes this short way.
        try:
            (choice,) = event["choices"]
            delta = choice["delta"]
            text = delta["content"]
            if (
                text.__class__ is str
                and (len(delta) == 1 or (len(delta) == 2 and "role" in delta))
                and choice.get("finish_reason") is None
                and choice.get("index") in _PLAIN
                and event.get("usage") is None
                and "error" not in event
                and "error" not in choice
                and self._known
            ):
                parts = self._parts
                if text:
                    parts.append(text)
                self._last = event
                return StreamChunk(
                    self._id,
                    self._model,
                    text,
                    delta.get("role"),
                    None,
                    None,
                    None,
                    None,
                    False,
                    event,
                    parts,
                    len(parts),
                )
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # not such an event: the long way knows what it is
        return self._read_other(event)

    def end(self, saw_done: bool) -> StreamChunk:
        """Return the last chunk, with the reason for the end and the usage.

        Args:
            saw_done: Whether the stream ended with `[DONE]`.

        Raises:
            InvalidResponseError: The stream said that it is complete but held no answer.
        """
        self.finished = self.finished or saw_done
        answer = self.response()
        if self._first is None:
            raise InvalidResponseError(
                f"{self.backend or 'the server'} sent a stream without an answer in it: check that "
                "the base URL is that of an OpenAI-compatible API",
                backend=self.backend or None,
            )
        return StreamChunk(
            self._id,
            self._model,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            done=True,
            raw=self._last,
            _parts=self._parts,
            _end=len(self._parts),
        )

    def response(self) -> ChatCompletionResponse:
        """Return the answer so far; after the end, what a call without a stream would return.

        `raw` is put together in the shape of such an answer, with all choices. `finish_reason` is
        None while the server has not said that the answer is complete.
        """
        raw = {k: v for k, v in (self._first or {}).items() if k not in _PASSING}
        last = self._last or {}
        raw.update({k: v for k, v in last.items() if v is not None and k not in _PASSING})
        raw["id"] = self._id
        raw["model"] = self._model
        raw["object"] = "chat.completion"
        turns = {0: self._turn, **self._others}
        raw["choices"] = [
            {"index": index, "message": turn.message(), "finish_reason": self._stated(turn)}
            for index, turn in sorted(turns.items())
        ]
        if self._usage is not None:
            raw["usage"] = self._usage
        return read_chat(raw, backend=self.backend)

    def _stated(self, turn: _Turn) -> str | None:
        return turn.finish or ("" if self.finished else None)

    def _read_other(self, event: Any) -> StreamChunk | None:
        if event.__class__ is not dict:
            raise InvalidResponseError(
                f"{self.backend or 'the server'} sent an event that is no JSON object: check that "
                "the base URL is that of an OpenAI-compatible API",
                backend=self.backend or None,
                body=event,
            )
        if event.get("usage") is not None or "x_groq" in event:
            self._note_usage(event)
        choices = event.get("choices")
        if choices.__class__ is not list or not choices:
            self._raise_reported(event)
            self._last = event
            return None
        choice = choices[0]
        if (
            choice.__class__ is not dict
            or len(choices) > 1
            or "error" in choice
            or "error" in event
            or "x_groq" in event
        ):
            self._raise_reported(event)
        if self._first is None:
            self._first = event
        if not self._known:
            self._identify(event)
        self._last = event
        return self._chunk(event, choices)

    def _raise_reported(self, event: dict[str, Any]) -> None:
        error = error_in(event, backend=self.backend)
        if error is not None:
            raise error

    def _chunk(self, event: dict[str, Any], choices: list[Any]) -> StreamChunk:
        text, role, thought, finish = "", None, "", None
        calls: list[ToolCallDelta] | None = None
        for choice in choices:
            if choice.__class__ is not dict:
                continue
            index = choice.get("index")
            if index == 0 or index.__class__ is not int:
                said, role, called, thinking, ended = self._turn.take(choice)
                # Two without an index in one event are both the first.
                text, thought = text + said, thought + thinking
                calls = calls + called if calls and called else called or calls
                if ended:
                    self.finished = True
                    has_calls = bool(self._turn.calls)
                    finish = finish_reason_of(self._turn.finish, has_calls=has_calls)
            else:
                if index not in self._others:
                    self._others[index] = _Turn()
                self._others[index].take(choice)
        return StreamChunk(
            self._id,
            self._model,
            text,
            role,
            calls,
            thought or None,
            finish,
            None,
            False,
            event,
            self._parts,
            len(self._parts),
        )

    def _note_usage(self, event: dict[str, Any]) -> None:
        """Keep the latest usage: some servers count along, and only the last count is whole."""
        usage = event.get("usage")
        if usage.__class__ is not dict:
            extra = event.get("x_groq")
            usage = extra.get("usage") if isinstance(extra, dict) else None
        if usage and usage.__class__ is dict:
            self._usage = usage

    def _identify(self, event: dict[str, Any]) -> None:
        # The first events of some servers have an empty id and model.
        identity, model = event.get("id"), event.get("model")
        if not self._id and identity.__class__ is str:
            self._id = identity
        if not self._model and model.__class__ is str:
            self._model = model
        self._known = bool(self._id and self._model)


def chunks_of(response: ChatCompletionResponse) -> list[StreamChunk]:
    """Return a whole answer as the chunks of a stream: for servers that don't stream when asked.

    The first chunk carries everything that was said, the second ends the stream.
    """
    parts = [response.content] if response.content else []
    calls = [
        ToolCallDelta(place, call.id, call.name, call.arguments)
        for place, call in enumerate(response.tool_calls)
    ]
    said = StreamChunk(
        response.id,
        response.model,
        response.content,
        response.role,
        calls or None,
        response.reasoning,
        raw=response.raw,
        _parts=parts,
        _end=len(parts),
    )
    end = StreamChunk(
        response.id,
        response.model,
        finish_reason=response.finish_reason,
        usage=response.usage,
        done=True,
        raw=response.raw,
        _parts=parts,
        _end=len(parts),
    )
    return [said, end]


def _joined(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return reasoning details with the pieces of each joined, as an answer in one has them."""
    joined: list[dict[str, Any]] = []
    for detail in details:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.get("type") == detail.get("type")
            and last.get("index") == detail.get("index")
            and detail.get("type") in ("reasoning.text", "reasoning.summary")
            and (last.get("id") or detail.get("id")) in (detail.get("id"), None)
        ):
            for key, value in detail.items():
                before = last.get(key)
                if key in ("text", "summary") and isinstance(before, str):
                    last[key] = before + (value if isinstance(value, str) else "")
                elif value is not None:
                    last[key] = value
        else:
            joined.append(dict(detail))
    return joined
