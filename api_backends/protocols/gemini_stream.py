"""A streamed answer of Gemini's: events to chunks, and to the whole answer.

https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent. Each event is a
whole answer with the parts that are new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api_backends.errors import InvalidResponseError
from api_backends.types import StreamChunk, ToolCallDelta

from .gemini_answer import (
    finish_reason_of,
    is_answer,
    parts_of,
    read_chat,
    tool_call,
)
from .gemini_errors import error_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from api_backends.types import ChatCompletionResponse

__all__ = ["GeminiStreamReader"]


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
        self._candidates: dict[int, dict[str, Any]] = {}
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
            kept = self._candidates.setdefault(index, {})
            _join(kept, candidate)
            if index == min(self._candidates):
                chunk = self._read_candidate(candidate, event)
        return chunk

    def _read_candidate(self, candidate: dict[str, Any], event: dict[str, Any]) -> StreamChunk:
        parts = parts_of(candidate)
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[ToolCallDelta] = []
        for part in parts:
            text = part.get("text")
            if isinstance(text, str):
                (thoughts if part.get("thought") else texts).append(text)
            if isinstance(part.get("functionCall"), dict):
                calls.append(self._read_call(part))
        delta = "".join(texts)
        if delta:
            self._texts.append(delta)
        reason = None
        if candidate.get("finishReason"):
            self.finished = True
            # Gemini says STOP where it stops for its code to run, and goes on after.
            self._runs_code = bool(parts) and "executableCode" in parts[-1]
            if not self._runs_code:
                reason = finish_reason_of(candidate, has_calls=self._calls > 0)
        elif parts:
            self._runs_code = self._runs_code and "codeExecutionResult" in parts[-1]
        return StreamChunk(
            self._id,
            self._model,
            delta,
            "assistant",
            calls or None,
            "".join(thoughts) or None,
            reason,
            None,
            False,
            event,
            self._texts,
            len(self._texts),
        )

    def _read_call(self, part: dict[str, Any]) -> ToolCallDelta:
        call = tool_call(part["functionCall"], self._id, self._calls)
        signature = part.get("thoughtSignature")
        if self._keep_signature is not None and isinstance(signature, str) and signature:
            self._keep_signature(call.id, signature)
        self._calls += 1
        return ToolCallDelta(self._calls - 1, call.id, call.name, call.arguments)

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
        candidates = [self._candidates[index] for index in sorted(self._candidates)]
        blocked = not candidates and self.finished
        if candidates or blocked or not self._has_begun:
            raw["candidates"] = [_shown(candidate) for candidate in candidates]
        if blocked:
            del raw["candidates"]
        answer = read_chat(raw, backend=self.backend)
        if not candidates and not blocked:
            # Nothing has come yet: that is no block.
            answer.finish_reason, answer.refusal = None, None
        return answer


def _shown(candidate: dict[str, Any]) -> dict[str, Any]:
    """Return a candidate as it stands, safe from what comes after."""
    content = candidate.get("content")
    if not isinstance(content, dict) or not isinstance(content.get("parts"), list):
        return dict(candidate)
    parts = []
    for part in content["parts"]:
        text = part.get("text") if isinstance(part, dict) else None
        parts.append({**part, "text": "".join(text)} if isinstance(text, list) else part)
    return {**candidate, "content": {**content, "parts": parts}}


def _join(kept: dict[str, Any], candidate: dict[str, Any]) -> None:
    """Add what an event says of a candidate to what the events before it said."""
    for key, value in candidate.items():
        had = kept.get(key)
        if key == "content":
            if isinstance(value, dict):
                _join_content(kept.setdefault("content", {}), value)
        elif key in ("citationMetadata", "logprobsResult"):
            # Each event has those of its own piece.
            kept[key] = _lists_joined(had, value)
        elif value is not None and value != {}:
            kept[key] = value


def _join_content(kept: dict[str, Any], content: dict[str, Any]) -> None:
    for key, value in content.items():
        if key == "parts" and isinstance(value, list):
            parts = kept.setdefault("parts", [])
            for part in value:
                _join_part(parts, part)
        elif key != "parts":
            kept[key] = value


def _join_part(parts: list[Any], part: Any) -> None:
    """Add a part: a piece of text to the text before it, unless a signature stands between."""
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        part = {**part, "text": [part["text"]]}
        last = parts[-1] if parts else None
        if (
            isinstance(last, dict)
            and part.keys() <= {"text", "thought"}
            and last.keys() == part.keys()
            and last.get("thought") == part.get("thought")
        ):
            last["text"].extend(part["text"])
            return
    parts.append(part)


def _lists_joined(had: Any, value: Any) -> Any:
    if not isinstance(had, dict) or not isinstance(value, dict):
        return value
    joined = {**had, **value}
    for key, added in value.items():
        if isinstance(added, list) and isinstance(had.get(key), list):
            joined[key] = [*had[key], *added]
    return joined
