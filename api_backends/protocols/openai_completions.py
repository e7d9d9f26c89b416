"""Text completions: the API before chat, which base models and other servers still have.

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..base import BaseApiBackend
from ..chat_stream import ChatStream
from ..errors import InvalidRequestError
from ..exchange import ENGINE_OPTIONS, Exchange, split_options
from ..options import check_options
from ..routes import Request, awaitable, blocking
from ..types import ChatCompletionResponse, StreamChunk
from .openai_chat import read_chat
from .openai_stream import ChatStreamReader

__all__ = ["CompletionRoutes", "CompletionStreamReader", "read_completion"]


def _as_chat(raw: Any, place: str) -> Any:
    """Return a text completion as a chat answer (`message`) or chat event (`delta`)."""
    choices = raw.get("choices") if isinstance(raw, dict) else None
    if not isinstance(choices, list):
        return raw
    return {**raw, "choices": [_choice(choice, place) for choice in choices]}


def _choice(choice: Any, place: str) -> Any:
    if not isinstance(choice, Mapping) or not isinstance(choice.get("text"), str):
        return choice
    return {**choice, place: {"content": choice["text"]}}


def read_completion(raw: Any, *, backend: str = "") -> ChatCompletionResponse:
    """Read a text completion; of several choices the first counts, `raw` has all.

    Raises:
        ApiError: The answer reports an error, or is none of this API.
    """
    answer = read_chat(_as_chat(raw, "message"), backend=backend)
    answer.raw = raw
    return answer


class CompletionStreamReader(ChatStreamReader):
    """Reads the events of a streamed text completion."""

    __slots__ = ()

    def read(self, event: Any, /) -> StreamChunk | None:
        """Return what an event adds; see `ChatStreamReader.read`."""
        chunk = super().read(_as_chat(event, "delta"))
        if chunk is not None:
            chunk.raw = event
        return chunk


class CompletionRoutes(BaseApiBackend):
    """Completion of texts."""

    default_completion_model: ClassVar[str] = "gpt-3.5-turbo-instruct"

    def _complete(
        self, prompt: Any, model: str | None = None, **options: Any
    ) -> Request[ChatCompletionResponse]:
        """Continue a text; the result has the shape of a chat's.

        Args:
            prompt: A text, a list of texts, or a list of tokens.
            model: Model; this back end's default if None.
            options: `max_tokens`, `temperature`, `suffix`, `echo`, `logprobs`, …, and the engine's.
        """
        body, ours = self._completion_body(prompt, model, options)
        return self._request(
            "POST",
            "/completions",
            json=body,
            model=body["model"],
            read=lambda raw: read_completion(raw, backend=self.name),
            **ours,
        )

    complete, acomplete = blocking(_complete), awaitable(_complete)

    def stream_complete(self, prompt: Any, model: str | None = None, **options: Any) -> ChatStream:
        """Do what `complete` does, and get the text as it is written."""
        body, ours = self._completion_body(prompt, model, options)
        body.update(stream=True)
        body.setdefault("stream_options", {"include_usage": True})
        exchange: Exchange = self._exchange(
            "/completions", body, split_options(ours), body["model"], stream=True
        )
        exchange.read_answer = lambda raw: read_completion(raw, backend=self.name)
        exchange.reader = lambda _: CompletionStreamReader(backend=self.name)
        stream, lease = self._engine.open(exchange.call, exchange.open)
        stream.lease = lease
        return stream

    def _completion_body(
        self, prompt: Any, model: str | None, options: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        if not isinstance(prompt, (str, list)) or not prompt:
            raise InvalidRequestError(f"prompt: {prompt!r:.80}; give a text or a list of texts")
        if options.get("stream"):
            raise InvalidRequestError("stream: leave it out; stream_complete() gives pieces")
        model = self._model(model, lambda: self.default_completion_model)
        ours = {name: options.pop(name) for name in ENGINE_OPTIONS if name in options}
        check_options(options)
        return {"model": model, "prompt": prompt, **options}, ours
