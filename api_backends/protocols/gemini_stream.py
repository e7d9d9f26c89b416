"""A streamed answer of Gemini's: events to chunks, and to the whole answer.

https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent. Each event is a
whole answer with the parts that are new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidResponseError
from api_backends.types import StreamChunk, ToolCallDelta

from .gemini_answer import (
    is_answer,
    parts_of,
    read_chat,
    tool_call,
)
from .gemini_calls import CallPieces
from .gemini_errors import error_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from api_backends.types import ChatCompletionResponse

__all__ = ["GeminiStreamReader"]


class _Turn:
    """One candidate, put together from what each event says of it.

    Attributes:
        calls: The parts with calls, the last of which may not be whole yet.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._said: dict[str, Any] = {}
        self._content: dict[str, Any] | None = None
        self._parts: list[Any] = []
        self._texts: list[str] = []  # the pieces of the last part, where that is text
        self._pieces: CallPieces | None = None

    def add(self, candidate: dict[str, Any]) -> None:
        """Add what an event says."""
        for key, value in candidate.items():
            if key == "content":
                if isinstance(value, dict):
                    self._add_content(value)
            elif key in ("citationMetadata", "logprobsResult"):
                # Each event has those of its own piece.
                self._said[key] = _lists_joined(self._said.get(key), value)
            elif value is not None and value != {}:
                self._said[key] = value
        if candidate.get("finishReason") and self._pieces is not None:
            self._pieces.end()
            self._pieces = None

    def shown(self) -> dict[str, Any]:
        """Return the candidate as a call that is not streamed would have it."""
        if self._content is None:
            return dict(self._said)
        content = dict(self._content)
        if self._parts or "parts" in content:
            self._end_text()
            content["parts"] = list(self._parts)
        return {"content": content, **self._said}

    def _add_content(self, content: dict[str, Any]) -> None:
        if self._content is None:
            self._content = {}
        self._content.update(content)
        parts = content.get("parts")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                self._add_part(part)

    def _add_part(self, part: dict[str, Any]) -> None:
        call = part.get("functionCall")
        if isinstance(call, dict):
            self._add_call(part, call)
            return
        last = self._parts[-1] if self._parts else None
        if (
            isinstance(part.get("text"), str)
            and part.keys() <= {"text", "thought"}  # a signature belongs to its own piece
            and last is not None
            and last.keys() == part.keys()
            and last.get("thought") == part.get("thought")
        ):
            self._texts.append(part["text"])
            return
        self._end_text()
        self._parts.append(part)

    def _end_text(self) -> None:
        # Joined once a part: a stream of n pieces stays O(n).
        if self._texts:
            last = self._parts[-1]
            self._parts[-1] = {**last, "text": "".join([last["text"], *self._texts])}
            self._texts = []

    def _add_call(self, part: dict[str, Any], call: dict[str, Any]) -> None:
        if self._pieces is not None and not call.get("name"):
            self._pieces.add(call)
        else:
            if self._pieces is not None:
                self._pieces.end()
            self._pieces = CallPieces(call) if call.get("willContinue") else None
            if self._pieces is not None:
                part = {**part, "functionCall": self._pieces.call}
            self._end_text()
            self._parts.append(part)
            self.calls.append(part)
        if self._pieces is not None and self._pieces.is_whole:
            self._pieces = None


def _lists_joined(had: Any, value: Any) -> Any:
    if not isinstance(had, dict) or not isinstance(value, dict):
        return value
    joined = {**had, **value}
    for key, added in value.items():
        if isinstance(added, list) and isinstance(had.get(key), list):
            joined[key] = [*had[key], *added]
    return joined


class GeminiStreamReader:
    """Reads the events of one answer.

    Args:
        backend: Name of the back end, for results and errors.
        keep_signature: Is told the id of each call that has a thought signature, and that.

    Attributes:
        finished: Whether Gemini has said that the answer is complete.
    """

    def __init__(
        self, *, backend: str = "", keep_signature: Callable[[str, str], None] | None = None
    ) -> None:
        self.backend = backend
        self.finished = False
        self._keep_signature = keep_signature
        self._id = ""
        self._model = ""
        self._texts: list[str] = []
        self._calls = 0
        self._raw: dict[str, Any] = {}
        self._turns: dict[int, _Turn] = {}
        self._last: dict[str, Any] | None = None
        self._has_begun = False
        self._runs_code = False

    @property
    def awaits_usage(self) -> bool:
        """Whether more is to come after all: a STOP at code that runs is none."""
        return self._runs_code

    def read(self, event: Any, /) -> StreamChunk | None:
        """Return what an event adds, or None for one that adds nothing by itself.

        Raises:
            ApiError: The event reports an error.
            InvalidResponseError: The event is not one of this API.
        """
        error = error_in(event, backend=self.backend)
        if error is not None:
            raise error
        if not is_answer(event):
            raise InvalidResponseError(
                f"{self.backend or 'the server'} sent an event that is none of Gemini's: check "
                "that the base URL is that of the Gemini API",
                backend=self.backend or None,
                body=event,
            )
        self._last = event
        for key, value in event.items():
            if key != "candidates" and value is not None:
                self._raw[key] = value
        self._identify(event)
        candidates = event.get("candidates")
        if not candidates:
            self._read_blocked(event)
            return None
        self._has_begun = True
        chunk = None
        for candidate in candidates:
            index = candidate.get("index")
            index = index if isinstance(index, int) else 0
            turn = self._turns.setdefault(index, _Turn())
            turn.add(candidate)
            if index == min(self._turns):
                chunk = self._read_candidate(candidate, turn, event)
        return chunk

    def _read_candidate(
        self, candidate: dict[str, Any], turn: _Turn, event: dict[str, Any]
    ) -> StreamChunk:
        parts = parts_of(candidate)
        texts: list[str] = []
        thoughts: list[str] = []
        for part in parts:
            text = part.get("text")
            if isinstance(text, str):
                (thoughts if part.get("thought") else texts).append(text)
        delta = "".join(texts)
        calls = self._read_calls(turn)
        if delta:
            self._texts.append(delta)
        if candidate.get("finishReason"):
            self.finished = True
            # Gemini says STOP also where it stops for its code to run, and goes on after.
            self._runs_code = bool(parts) and "executableCode" in parts[-1]
        elif parts:
            self._runs_code = self._runs_code and "codeExecutionResult" in parts[-1]
        return StreamChunk(
            self._id,
            self._model,
            delta,
            "assistant",
            calls or None,
            "".join(thoughts) or None,
            None,  # the reason comes with the last chunk: only the end of the stream is one
            None,
            False,
            event,
            self._texts,
            len(self._texts),
        )

    def _read_calls(self, turn: _Turn) -> list[ToolCallDelta]:
        """Return the calls that are whole now and were not before."""
        read: list[ToolCallDelta] = []
        for part in turn.calls[self._calls :]:
            if part["functionCall"].get("willContinue"):
                break
            call = tool_call(part["functionCall"], self._id, self._calls)
            signature = part.get("thoughtSignature")
            if self._keep_signature is not None and isinstance(signature, str) and signature:
                self._keep_signature(call.id, signature)
            read.append(ToolCallDelta(self._calls, call.id, call.name, call.arguments))
            self._calls += 1
        return read

    def _read_blocked(self, event: dict[str, Any]) -> None:
        feedback = event.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._has_begun = True
            self.finished = True

    def _identify(self, event: dict[str, Any]) -> None:
        identity, model = event.get("responseId"), event.get("modelVersion")
        if not self._id and isinstance(identity, str):
            self._id = identity
        if not self._model and isinstance(model, str):
            self._model = model

    def end(self, saw_done: bool) -> StreamChunk:
        """Return the last chunk, with the reason for the end and the usage.

        Raises:
            InvalidResponseError: The stream held no answer.
        """
        self.finished = self.finished or saw_done
        if not self._has_begun:
            raise InvalidResponseError(
                f"{self.backend or 'the server'} sent a stream without an answer in it: check that "
                "the base URL is that of the Gemini API",
                backend=self.backend or None,
            )
        answer = self.response()
        return StreamChunk(
            self._id,
            self._model,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            done=True,
            raw=self._last,
            _parts=self._texts,
            _end=len(self._texts),
        )

    def response(self) -> ChatCompletionResponse:
        """Return the answer so far; after the end, what a call without a stream would return.

        `raw` is put together in the shape of such an answer: the parts as they came, pieces of one
        text joined, signatures at their parts.
        """
        raw = {**self._raw, "responseId": self._id}
        if not self._id:
            del raw["responseId"]
        candidates = [self._turns[index].shown() for index in sorted(self._turns)]
        if candidates:
            raw["candidates"] = candidates
        elif not self.finished:
            raw["candidates"] = []
        answer = read_chat(raw, backend=self.backend)
        if not candidates and not self.finished:
            # Nothing has come yet: that is no block.
            answer.finish_reason, answer.refusal = None, None
        return answer
